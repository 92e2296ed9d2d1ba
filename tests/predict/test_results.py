"""Kept answers: never another's, never stale, computed once under a stampede, and left out on request."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from service.database import now
from service.errors import Invalid
from service.predict.results import Caching, NullAnswers, Results, answer_key
from service.registry.resolution import DefaultRef, ResolvedVersion
from service.registry.signature import Signature
from service.tenants.principal import Principal
from tests.predict.workers import SECRET, Answers, PredictWorker
from tests.registry.workers import at_once, classifier, regression

VERSION = ResolvedVersion(
    "ten_1", "acme", "m", 1, None, "sha256:aa", 1, "Ridge", ("predict",), None, Signature.of_numbers(1), {}, "", "exact"
)
X = np.array([[1.0]])


def answer(results: Results, caching: Caching = Caching(), value: bytes = b"1") -> tuple[bytes, str]:  # noqa: B008
    return results.answer(VERSION, ("predict",), X, caching, lambda: value)


def test_a_second_call_finds_the_answer_of_the_first() -> None:
    results = Results(Answers(), SECRET)
    assert answer(results) == (b"1", "miss")
    assert answer(results, value=b"2") == (b"1", "hit")


def test_no_cache_computes_anew_and_keeps_that() -> None:
    results = Results(Answers(), SECRET)
    answer(results)
    assert answer(results, Caching(read=False), b"2") == (b"2", "bypass")
    assert answer(results, value=b"3") == (b"2", "hit")


def test_no_store_keeps_nothing() -> None:
    answers = Answers()
    results = Results(answers, SECRET)
    assert answer(results, Caching(write=False)) == (b"1", "miss")
    assert answer(results, Caching(read=False, write=False)) == (b"1", "bypass")
    assert answers.kept == {}


def test_without_a_store_every_call_is_computed() -> None:
    results = Results(NullAnswers())
    assert answer(results) == (b"1", "bypass")
    assert answer(results, value=b"2") == (b"2", "bypass")
    assert NullAnswers().get("key") is None


def test_a_key_depends_on_everything_that_the_answer_depends_on() -> None:
    text = np.array(["a", "b"], dtype=object)
    keys = [
        answer_key(VERSION, ("predict",), X, SECRET),
        answer_key(replace(VERSION, tenant_id="ten_2"), ("predict",), X, SECRET),
        answer_key(replace(VERSION, digest="sha256:bb"), ("predict",), X, SECRET),
        answer_key(replace(VERSION, plan_digest="aa"), ("predict",), X, SECRET),
        answer_key(VERSION, ("predict_proba",), X, SECRET),
        answer_key(VERSION, ("predict", "predict_proba"), X, SECRET),
        answer_key(VERSION, ("predict_proba", "predict"), X, SECRET),
        answer_key(VERSION, ("predict",), np.array([[1.0, 1.0]]), SECRET),
        answer_key(VERSION, ("predict",), np.array([[1.0], [1.0]]), SECRET),
        answer_key(VERSION, ("predict",), X.astype(np.int64), SECRET),
        answer_key(VERSION, ("predict",), text, SECRET),
        answer_key(VERSION, ("predict",), np.array(["ab"], dtype=object), SECRET),
        answer_key(VERSION, ("predict",), np.array([1, 2], dtype=object), SECRET),
        answer_key(VERSION, ("predict",), np.array([1.0, 2.0], dtype=object), SECRET),
        answer_key(VERSION, ("predict",), np.array([True, 2], dtype=object), SECRET),
        answer_key(VERSION, ("predict",), X, b"another secret.."),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == answer_key(replace(VERSION, number=9, alias="production"), ("predict",), X.copy(), SECRET)
    assert keys[0].startswith("ten_1/sha256:aa/")


def test_a_stampede_computes_once() -> None:
    results = Results(Answers(), SECRET)
    together = threading.Barrier(500)
    computed = []

    def compute() -> bytes:
        computed.append(1)
        return b"1"

    def call() -> tuple[bytes, str]:
        together.wait()
        return results.answer(VERSION, ("predict",), X, Caching(), compute)

    answers = at_once([call] * 500)
    assert len(computed) == 1
    assert {value for value, _ in answers if not isinstance(value, Exception)} == {b"1"}  # type: ignore[misc]
    assert sorted(outcome for _, outcome in answers)[-2:] == ["hit", "miss"]  # type: ignore[misc]


def test_a_failure_goes_to_all_who_wait_and_is_not_kept() -> None:
    answers = Answers()
    results = Results(answers, SECRET)
    begun, go_on = threading.Event(), threading.Event()
    failures: list[Invalid] = []

    def fail() -> bytes:
        begun.set()
        go_on.wait()
        raise Invalid("no")

    def call() -> None:
        with pytest.raises(Invalid) as caught:
            results.answer(VERSION, ("predict",), X, Caching(), fail)
        failures.append(caught.value)

    threads = [threading.Thread(target=call) for _ in range(5)]
    threads[0].start()
    begun.wait()
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(failures) == 5
    assert answers.kept == {}
    assert answer(results) == (b"1", "miss")


def test_no_answer_is_ever_stale_or_another_s(worker: PredictWorker, acme: Principal) -> None:
    other = worker.principal("other")
    for principal, slopes in ((acme, (1.0, 2.0)), (other, (3.0, 4.0))):
        for slope in slopes:
            worker.upload(principal, data=regression(slope))
        worker.aliases.move(principal, "m", "production", 1)

    def ask(principal: Principal) -> tuple[bytes, str]:
        prediction = worker.caching_predictor.predict(principal, "m", DefaultRef(), [[10.0]])
        return prediction.outputs_json, prediction.cache

    assert [ask(acme)[1], ask(acme)[1], ask(other)[1], ask(other)[1]] == ["miss", "hit", "miss", "hit"]
    for _ in range(3):
        for version, value in ((2, 20), (1, 10)):
            worker.aliases.move(acme, "m", "production", version)
            assert float(ask(acme)[0].decode().split("[")[1].split("]")[0]) == pytest.approx(value)
            assert float(ask(other)[0].decode().split("[")[1].split("]")[0]) == pytest.approx(30)


def test_a_kept_answer_counts_its_rows_like_any_other(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme, data=classifier())
    for _ in range(3):
        worker.caching_predictor.predict(acme, "m", DefaultRef(), [[1.0, 0.0]])
    worker.usage.flush()
    today = worker.usage.report(acme.tenant_id, now().date(), now().date()).data
    assert [(row.requests, row.rows) for row in today] == [(3, 3)]

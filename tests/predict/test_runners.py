"""Whatever becomes of a model's process, nobody but the caller whose rows it ran is told so."""

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from service.errors import Conflict, DeadlineExceeded, Invalid, ModelCrashed, ModelwardError, Unavailable
from service.predict.runners import Runner
from service.registry.resolution import DefaultRef, ResolvedVersion, VersionRef
from service.tenants.principal import Principal
from tests.predict.crashers import HARMFUL, HARMLESS, crasher, hanger, smuggled
from tests.predict.workers import PredictWorker
from tests.registry.workers import artifact
from tests.servers.subprocesses import wait_until

good, bad = np.array(HARMLESS), np.array(HARMFUL)


@pytest.fixture
def neighbours(worker: PredictWorker, acme: Principal) -> ResolvedVersion:
    """An honest version that only scikit-learn can run."""
    worker.upload(acme, "honest", artifact(KNeighborsClassifier(1).fit([[0.0], [1.0]], ["no", "yes"])))
    return worker.resolution.resolve(acme, "honest", DefaultRef())


@contextlib.contextmanager
def running(worker: PredictWorker, version: ResolvedVersion, **settings: Any) -> Iterator[Runner]:
    runner = worker.running(**settings).of(version)
    try:
        yield runner
    finally:
        runner.close()


def asked(runner: Runner, X: np.ndarray, seconds: float | None = None) -> Any:
    return runner.run(X, "predict", None, seconds).tolist()


def busy(worker: PredictWorker, version: ResolvedVersion) -> bool:
    return bool(worker.described(version).get("busy"))


def test_a_crash_costs_the_caller_whose_rows_it_was_and_the_next_is_answered(
    worker: PredictWorker, acme: Principal
) -> None:
    version = smuggled(worker, acme, crasher())
    with running(worker, version) as runner:
        assert asked(runner, good) == [0]
        before = worker.child_of(version)
        with pytest.raises(ModelCrashed):
            asked(runner, bad)
        assert asked(runner, good) == [0]
        assert worker.child_of(version) != before


def test_who_waited_with_the_one_that_crashed_is_answered(worker: PredictWorker, acme: Principal) -> None:
    version = smuggled(worker, acme, crasher())
    with running(worker, version) as runner, ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            worker.confinement.forgive(f"{version.tenant_id}/{version.digest}")
            rows = [bad if number == 3 else good for number in range(8)]
            futures = list(pool.map(lambda X: pool_result(runner, X), rows))
            assert [isinstance(each, ModelCrashed) for each in futures] == [number == 3 for number in range(8)]
            assert [each for each in futures if not isinstance(each, ModelCrashed)] == [[0]] * 7


def pool_result(runner: Runner, X: np.ndarray) -> Any:
    try:
        return asked(runner, X)
    except ModelwardError as error:
        return error


def test_a_version_that_crashes_again_and_again_is_quarantined_by_the_system(
    worker: PredictWorker, acme: Principal
) -> None:
    version = smuggled(worker, acme, crasher())
    with running(worker, version) as runner:
        for _ in range(3):
            with pytest.raises(ModelCrashed):
                asked(runner, bad)
    with pytest.raises(Conflict) as refusal:
        worker.predictor.predict(acme, "m", VersionRef(version.number), HARMLESS)
    assert refusal.value.reason == "version_quarantined"
    (event, *_) = worker.audit.list(acme.tenant_id).data
    assert (event.actor, event.action, event.target) == ("system", "version.quarantine", "models/m/versions/1")


def test_a_quarantined_version_that_was_released_is_started_again(worker: PredictWorker, acme: Principal) -> None:
    version = smuggled(worker, acme, crasher())
    with running(worker, version) as runner:
        for _ in range(3):
            with pytest.raises(ModelCrashed):
                asked(runner, bad)
        # Who resolved it before goes on, and it is condemned but once.
        worker.versions.condemn(acme.tenant_id, "m", version.number, "again")
        assert asked(runner, good) == [0]
    assert worker.actions(acme).count(("version.quarantine", "ok")) == 1


def test_a_version_that_cannot_be_stopped_is_not_started_either(
    worker: PredictWorker, acme: Principal, caplog: pytest.LogCaptureFixture
) -> None:
    version = replace(smuggled(worker, acme, crasher()), number=99)
    with running(worker, version) as runner:
        for rows in (bad, bad, bad, good, good):
            with pytest.raises(ModelCrashed):
                asked(runner, rows)
    assert "cannot be stopped" in caplog.text


def test_a_model_that_hangs_costs_its_caller_the_deadline_and_the_next_is_answered(
    worker: PredictWorker, acme: Principal
) -> None:
    version = smuggled(worker, acme, hanger())
    with running(worker, version, predict_seconds=0.5) as runner:
        assert asked(runner, good) == [0]
        with pytest.raises(DeadlineExceeded):
            asked(runner, bad)
        assert eventually_answered(runner) == [0]


def eventually_answered(runner: Runner) -> Any:
    """The answer, once the child that hangs has been ended: until then callers wait for it as long as they do."""
    for _ in range(10):
        with contextlib.suppress(DeadlineExceeded):
            return asked(runner, good)
    return None


def test_who_waits_behind_one_that_hangs_is_answered_by_the_next_child(worker: PredictWorker, acme: Principal) -> None:
    version = smuggled(worker, acme, hanger())
    with running(worker, version, predict_seconds=20) as runner, ThreadPoolExecutor(2) as pool:
        assert asked(runner, good) == [0]
        hanging = pool.submit(asked, runner, bad, 0.5)
        wait_until(lambda: busy(worker, version), "the child is busy")
        assert asked(runner, good) == [0]
        with pytest.raises(DeadlineExceeded):
            hanging.result()


def test_a_late_answer_reaches_nobody(worker: PredictWorker, acme: Principal, long: bool) -> None:
    rows = np.arange(200_000.0).reshape(-1, 1)
    worker.upload(acme, "slow", artifact(KNeighborsRegressor(1, algorithm="brute").fit(rows[:2000], range(2000))))
    version = worker.resolution.resolve(acme, "slow", DefaultRef())
    with running(worker, version) as runner:
        for number in range(1000 if long else 50):
            with contextlib.suppress(DeadlineExceeded):
                asked(runner, rows[number : number + 500], 0.001)
            assert asked(runner, rows[number : number + 1]) == [number]


def test_a_child_that_was_killed_is_replaced_and_nobody_notices(
    worker: PredictWorker, neighbours: ResolvedVersion
) -> None:
    with running(worker, neighbours) as runner:
        for _ in range(5):
            assert asked(runner, np.array([[0.0], [1.0]])) == ["no", "yes"]
            child = worker.child_of(neighbours)
            assert child is not None
            os.kill(child, signal.SIGKILL)


def test_a_fork_server_that_was_killed_is_replaced_and_nobody_notices(
    worker: PredictWorker, neighbours: ResolvedVersion
) -> None:
    with running(worker, neighbours) as runner:
        assert asked(runner, good) == ["no"]
        os.kill(worker.confinement.status()["pid"], signal.SIGKILL)
        assert asked(runner, good) == ["no"]


def test_a_child_that_is_killed_each_time_is_not_asked_for_ever(worker: PredictWorker, acme: Principal) -> None:
    version = smuggled(worker, acme, hanger())
    with running(worker, version) as runner, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(asked, runner, bad)
        while not hanging.done():
            if busy(worker, version) and (child := worker.child_of(version)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        with pytest.raises(Unavailable) as refusal:
            hanging.result()
    assert refusal.value.reason == "confinement_unavailable"


def test_callers_that_wait_together_have_each_their_own_answer_and_their_own_error(
    worker: PredictWorker, acme: Principal
) -> None:
    rows = np.arange(300.0).reshape(-1, 1)
    worker.upload(acme, "m", artifact(KNeighborsRegressor(1).fit(rows, range(300))))
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    with running(worker, version) as runner, ThreadPoolExecutor(16) as pool:
        asked(runner, rows[:1])
        wanted = [rows[number : number + 1 + number % 3] for number in range(290)]
        wanted[100::50] = [np.full((1, 1), np.nan)] * len(wanted[100::50])
        answers = list(pool.map(lambda X: pool_result(runner, X), wanted))
    for X, answer in zip(wanted, answers, strict=True):
        if np.isnan(X).any():
            assert isinstance(answer, Invalid)
            assert answer.reason == "prediction_failed"
        else:
            assert answer == X.ravel().tolist()


def test_a_version_over_what_its_process_may_use_is_told_to_send_fewer_rows(
    worker: PredictWorker, acme: Principal
) -> None:
    rows = np.random.default_rng(0).normal(size=(20_000, 10))
    worker.upload(acme, "m", artifact(KNeighborsClassifier(20_000, algorithm="brute").fit(rows, [0, 1] * 10_000)))
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    with running(worker, version, predict_bytes=64 << 20) as runner:
        assert len(asked(runner, rows[:1])) == 1
        with pytest.raises(Invalid) as refusal:
            asked(runner, rows)
        assert "send fewer rows" in refusal.value.detail
        assert len(asked(runner, rows[:1])) == 1


def test_connections_are_kept_between_calls_and_let_go_at_the_end(
    worker: PredictWorker, neighbours: ResolvedVersion
) -> None:
    with running(worker, neighbours) as runner:
        asked(runner, good)
        opened = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            asked(runner, good)
        assert len(list(Path("/proc/self/fd").iterdir())) == opened
    assert len(list(Path("/proc/self/fd").iterdir())) == opened - 1
    # A request that was under way when the runtime was dropped still has its answer.
    assert asked(runner, good) == ["no"]
    assert len(list(Path("/proc/self/fd").iterdir())) == opened - 1

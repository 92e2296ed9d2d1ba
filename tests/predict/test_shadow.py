"""Live answers are held against scikit-learn in the background, and a form that differs is taken out."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPRegressor

from service.errors import Unauthenticated, Unavailable
from service.predict.predictor import Predictor
from service.predict.results import NullAnswers, Results
from service.predict.shadow import MOST_ROWS, MOST_WAITING, Answer, Shadow
from service.registry.resolution import DefaultRef, ResolvedVersion
from service.registry.tables import Version
from service.telemetry import Telemetry
from service.tenants.principal import Principal
from tests.predict.workers import PredictWorker
from tests.registry.workers import artifact
from tests.servers.subprocesses import wait_until

X, y = load_diabetes(return_X_y=True)
FLOAT32 = {"one": "onnx-float32", "many": "onnx-float32"}


class Heard(Telemetry):
    """Counts what it hears of checks."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()

    def shadow_checked(self, result: str) -> None:
        self.results[result] += 1


class Watched:
    """A predictor whose every answer is checked, and what came of it."""

    def __init__(self, worker: PredictWorker, share: float = 1.0) -> None:
        self.worker = worker
        self.heard = Heard()
        self.away = False
        self.shadow = Shadow(self.withdraw, self.heard, share, pause=0.01)
        self.predictor = Predictor(
            worker.resolution, worker.loaded, Results(NullAnswers()), worker.usage, worker.telemetry, self.shadow
        )

    def withdraw(self, version: ResolvedVersion, form: str, reason: str) -> None:
        if self.away:
            raise Unavailable("The database is away.")
        self.worker.versions.withdraw(version.tenant_id, version.model, version.number, form, reason)

    def predict(self, principal: Principal, rows: Any, outputs: tuple[str, ...] = ("predict",)) -> tuple[str, ...]:
        """Predict, and return the names of what answered."""
        return self.predictor.predict(principal, "m", DefaultRef(), rows.tolist(), outputs).runtimes

    def heard_of(self, result: str, count: int = 1) -> None:
        wait_until(lambda: self.heard.results[result] >= count, f"{count} checks are {result}")


@pytest.fixture
def watched(worker: PredictWorker) -> Iterator[Watched]:
    watched = Watched(worker)
    watched.shadow.start()
    yield watched
    watched.shadow.close()


def network() -> MLPRegressor:
    return MLPRegressor(hidden_layer_sizes=(8,), random_state=0, max_iter=50, tol=1.0).fit(X, y)


def upload_with_a_form_that_differs(worker: PredictWorker, principal: Principal) -> None:
    """Upload a network, and have its row name a form that rounds to float32, as if admission had not seen it."""
    worker.upload(principal, data=artifact(network()))
    with worker.database.write(principal.tenant_id) as session:
        worker.epochs.bump(session, principal.tenant_id)
        row = session.get_one(Version, (principal.tenant_id, "m", 1))
        row.runtime = row.runtime | {
            "backend": "onnx-float32",
            "methods": {"predict": row.runtime["methods"]["predict"] | FLOAT32},
        }


def test_a_form_that_differs_is_taken_out_here_and_for_good(
    watched: Watched, worker: PredictWorker, acme: Principal
) -> None:
    upload_with_a_form_that_differs(worker, acme)
    assert watched.predict(acme, X[:3]) == ("onnx-float32",)
    watched.heard_of("different")
    wait_until(lambda: watched.predict(acme, X[:3]) == ("native",), "scikit-learn answers")
    wait_until(lambda: worker.versions.get(acme, "m", 1).runtime["backend"] == "isolated", "the registry knows")
    shown = worker.versions.get(acme, "m", 1).runtime
    assert (shown["methods"]["predict"]["one"], shown["methods"]["predict"]["many"]) == ("native", "native")
    assert "rows of a request" in shown["withdrawn"]["onnx-float32"]["reason"]
    event = worker.audit.list(acme.tenant_id, action="runtime.withdraw").data[0]
    assert (event.actor, event.target, event.outcome) == ("system", "models/m/versions/1", "ok")
    assert event.details["runtime"] == "onnx-float32"


def test_it_is_taken_out_once_whoever_finds_it(worker: PredictWorker, acme: Principal) -> None:
    upload_with_a_form_that_differs(worker, acme)
    again = (acme.tenant_id, "m", 1, "onnx-float32", "differed")
    assert [worker.versions.withdraw(*again) for _ in range(2)] == [True, False]
    assert not worker.versions.withdraw(acme.tenant_id, "m", 9, "onnx-float32", "differed")
    assert len(worker.audit.list(acme.tenant_id, action="runtime.withdraw").data) == 1


def test_what_another_form_answers_stays(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme, data=artifact(LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True))))
    before = worker.versions.get(acme, "m", 1).runtime
    with worker.database.write(acme.tenant_id) as session:
        row = session.get_one(Version, (acme.tenant_id, "m", 1))
        proba = row.runtime["methods"]["predict_proba"] | FLOAT32
        row.runtime = before | {"methods": before["methods"] | {"predict_proba": proba}}
    worker.versions.withdraw(acme.tenant_id, "m", 1, "onnx-float32", "differed")
    after = worker.versions.get(acme, "m", 1).runtime
    assert (after["backend"], after["parity"]) == (before["backend"], before["parity"])
    assert after["methods"]["predict"] == before["methods"]["predict"]
    assert after["methods"]["predict_proba"]["one"] == "native"


def test_answers_that_agree_change_nothing(watched: Watched, worker: PredictWorker, acme: Principal) -> None:
    X, y = load_iris(return_X_y=True)
    labels = np.array(["a", "b", "c"], dtype=object)[y]
    worker.upload(acme, data=artifact(LogisticRegression(max_iter=1000).fit(X, labels)))
    outputs = ("predict", "predict_proba", "decision_function")
    assert "native" not in watched.predict(acme, X, outputs)
    watched.heard_of("equal", 3)
    assert set(watched.heard.results) == {"equal"}
    assert "native" not in watched.predict(acme, X[:1], outputs)


def test_what_scikit_learn_answered_itself_is_not_checked(worker: PredictWorker, acme: Principal) -> None:
    watched = Watched(worker)
    worker.upload(acme, data=artifact(KNeighborsClassifier().fit(X, y > 100)))
    for _ in range(2 * MOST_WAITING):
        watched.predict(acme, X[:1])
    assert watched.heard.results == {}


def test_more_than_can_be_checked_is_dropped_and_delays_nobody(worker: PredictWorker, acme: Principal) -> None:
    watched = Watched(worker)
    worker.upload(acme, data=artifact(network()))
    for _ in range(MOST_WAITING + 3):
        assert watched.predict(acme, X[:1]) == ("onnx",)
    assert watched.heard.results == {"dropped": 3}
    watched.shadow.close()


def test_a_check_that_cannot_be_made_proves_nothing(worker: PredictWorker, acme: Principal) -> None:
    watched = Watched(worker)
    worker.upload(acme, data=artifact(network()))
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    runtime = worker.loaded.get(version)
    watched.shadow.check(Answer(version, runtime, np.full((1, 10), np.nan), {"predict": ("onnx", np.zeros(1))}))
    assert watched.heard.results == {"failed": 1}
    assert watched.predict(acme, X[:1]) == ("onnx",)


def test_a_difference_that_cannot_be_written_holds_here_and_is_written_later(
    watched: Watched, worker: PredictWorker, acme: Principal
) -> None:
    upload_with_a_form_that_differs(worker, acme)
    watched.away = True
    watched.predict(acme, X[:3])
    watched.heard_of("different")
    assert watched.predict(acme, X[:3]) == ("native",)
    assert worker.versions.get(acme, "m", 1).runtime["backend"] == "onnx-float32"
    watched.away = False
    wait_until(lambda: worker.versions.get(acme, "m", 1).runtime["backend"] == "isolated", "the registry knows")


def test_a_difference_that_can_never_be_written_is_not_told_for_ever(worker: PredictWorker, acme: Principal) -> None:
    upload_with_a_form_that_differs(worker, acme)
    tried: list[str] = []

    def refuse(version: ResolvedVersion, form: str, reason: str) -> None:
        tried.append(form)
        raise Unauthenticated("The tenant was deleted.")

    watched = Watched(worker)
    watched.shadow = Shadow(refuse, watched.heard, 1.0, pause=0.01)
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    for _ in range(2):
        given = {"predict": ("onnx-float32", np.zeros(3))}
        watched.shadow.check(Answer(version, worker.loaded.get(version), X[:3], given))
    assert tried == ["onnx-float32"] * 2


def test_a_version_that_is_gone_is_forgotten(worker: PredictWorker, acme: Principal) -> None:
    upload_with_a_form_that_differs(worker, acme)
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    watched = Watched(worker)
    watched.shadow.start()
    with contextlib.closing(watched.shadow):
        runtime = worker.loaded.get(version)
        runtime.run_native(X[:1], "predict")
        worker.models.delete(acme, "m")
        watched.shadow.offer(version, runtime, X[:3], {"predict": np.zeros(3)}, {"predict": "onnx-float32"})
        watched.heard_of("different")
    assert worker.audit.list(acme.tenant_id, action="runtime.withdraw").data == []


class Recording:
    """Records the rows that it is asked for."""

    size_bytes = 0

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def run_native(self, X: Any, method: str, seconds: float | None = None) -> Any:
        self.asked.append(X)
        return X[:, 0]


def test_some_rows_of_a_large_answer_are_checked(worker: PredictWorker, acme: Principal) -> None:
    watched = Watched(worker)
    worker.upload(acme, data=artifact(network()))
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    runtime: Any = Recording()
    rows = np.arange(10_000.0).reshape(-1, 1)
    watched.shadow.start()
    with contextlib.closing(watched.shadow):
        watched.shadow.offer(version, runtime, rows, {"predict": rows[:, 0]}, {"predict": "onnx"})
        watched.heard_of("equal")
    assert [len(asked) for asked in runtime.asked] == [MOST_ROWS]


@pytest.mark.parametrize("share", [1.0, 0.1, 0.001])
def test_a_share_of_the_answers_is_due(share: float) -> None:
    shadow = Shadow(lambda *_: None, Telemetry(), share)
    due = sum(shadow.due() for _ in range(200_000))
    assert due == pytest.approx(200_000 * share, rel=0.5)


def test_an_answer_that_breaks_the_check_ends_no_checking(worker: PredictWorker, acme: Principal) -> None:
    watched = Watched(worker)
    worker.upload(acme, data=artifact(network()))
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    broken: Any = None
    whole: Any = Recording()
    watched.shadow.start()
    with contextlib.closing(watched.shadow):
        for runtime in (broken, whole):
            watched.shadow.offer(version, runtime, X[:2], {"predict": X[:2, 0]}, {"predict": "onnx"})
        watched.heard_of("equal")

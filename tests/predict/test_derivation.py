"""Forms are derived in children; one that dies costs whoever waits for it, and nobody else anything."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from service.errors import Conflict, DeadlineExceeded, ModelCrashed, ModelwardError, Unavailable
from service.predict.derivation import Derivation
from service.predict.loaded import LoadedModels
from service.registry.resolution import DefaultRef, ResolvedVersion, VersionRef
from service.telemetry import Telemetry
from service.tenants.principal import Principal
from tests.predict.workers import PredictWorker
from tests.registry.workers import artifact
from tests.servers.subprocesses import wait_until

X, y = load_iris(return_X_y=True)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def version(worker: PredictWorker, acme: Principal) -> ResolvedVersion:
    """A version that has a form."""
    worker.upload(acme, data=artifact(LogisticRegression(max_iter=1000).fit(X, y)))
    return worker.resolution.resolve(acme, "m", DefaultRef())


def loading(worker: PredictWorker, target: str, **settings: Any) -> LoadedModels:
    """What loads versions, and runs another of the tests' targets in the child."""
    derivation = Derivation(worker.running(**settings), f"tests.confinement.targets:{target}")
    return LoadedModels(worker.store, derivation, worker.runners, 1 << 30, Telemetry())


@pytest.mark.parametrize(
    ("target", "settings", "error"),
    [
        ("crash", {}, ModelCrashed),
        ("fail", {}, ModelCrashed),
        ("leave", {}, ModelCrashed),
        ("echo", {}, ModelCrashed),
        ("babble", {}, ModelCrashed),
        ("spin", {"predict_seconds": 1}, DeadlineExceeded),
        ("sleep", {"predict_seconds": 0.2}, DeadlineExceeded),
    ],
)
def test_a_child_that_does_not_answer_is_told_of_and_the_next_one_is_asked(
    worker: PredictWorker, version: ResolvedVersion, target: str, settings: Any, error: type[ModelwardError]
) -> None:
    with pytest.raises(error) as refusal:
        loading(worker, target, **settings).get(version)
    assert "version 1 of m" in refusal.value.detail.lower()
    (given, by) = worker.loaded.get(version).run(X, "predict")
    assert (by, given.shape) == ("numpy", (150,))


@pytest.mark.parametrize(("target", "settings"), [("crash", {}), ("sleep", {"predict_seconds": 0.1})])
def test_a_version_whose_children_die_again_and_again_is_quarantined(
    worker: PredictWorker, acme: Principal, version: ResolvedVersion, target: str, settings: Any
) -> None:
    loaded = loading(worker, target, **settings)
    for _ in range(3):
        with pytest.raises((ModelCrashed, DeadlineExceeded)):
            loaded.get(version)
    with pytest.raises(Conflict) as refusal:
        worker.predictor.predict(acme, "m", VersionRef(1), X[:1].tolist())
    assert refusal.value.reason == "version_quarantined"


def test_who_is_killed_from_outside_is_asked_again_and_is_not_to_blame(
    worker: PredictWorker, acme: Principal, version: ResolvedVersion
) -> None:
    loaded = loading(worker, "sleep")
    with ThreadPoolExecutor(1) as pool:
        for _ in range(3):
            asked = pool.submit(loaded.get, version)
            killed = {killed_child(worker) for _ in range(2)}
            with pytest.raises(ModelCrashed):
                asked.result()
            assert len(killed) == 2
    assert worker.predictor.predict(acme, "m", VersionRef(1), X[:1].tolist()).runtimes == ("numpy",)


def killed_child(worker: PredictWorker) -> int:
    """Kill the child that derives, and return which it was once it is gone."""
    wait_until(lambda: deriving(worker) != set(), "a child derives")
    (child,) = deriving(worker)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: child not in deriving(worker), "it is gone")
    return child


def deriving(worker: PredictWorker) -> set[int]:
    """The children that do not stay."""
    status = worker.confinement.status()
    children = Path(f"/proc/{status['pid']}/task/{status['pid']}/children").read_text().split()
    return set(map(int, children)) - {each["pid"] for each in status["residents"]}


def test_a_version_that_cannot_be_stopped_is_not_derived_again(
    worker: PredictWorker, version: ResolvedVersion, caplog: pytest.LogCaptureFixture
) -> None:
    loaded, stranger = loading(worker, "crash"), replace(version, number=99)
    for _ in range(4):
        with pytest.raises(ModelCrashed):
            loaded.get(stranger)
    assert caplog.text.count("cannot be stopped") == 1


def test_what_takes_too_much_memory_to_derive_runs_in_the_version_s_own_child(
    worker: PredictWorker, version: ResolvedVersion
) -> None:
    runtime = loading(worker, "exhaust").get(version)
    (given, by) = runtime.run(X, "predict")
    assert (by, given.shape) == ("numpy", (150,))
    assert worker.child_of(version) is not None
    runtime.close()


def test_more_than_fits_is_not_sent(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme, data=artifact(RandomForestClassifier(20, random_state=0).fit(X, y)))
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    data = worker.store.get(version.tenant_id, version.digest)
    derivation = Derivation(worker.runners)
    assert derivation.forms(version, data, {"onnx"}, 1000) == {}
    assert set(derivation.forms(version, data, {"onnx"}, 1 << 20)) == {"onnx"}


def test_a_file_that_is_no_estimator_is_said_to_be_unreadable(worker: PredictWorker, version: ResolvedVersion) -> None:
    with pytest.raises(Unavailable) as refusal:
        Derivation(worker.runners).forms(version, b"not an estimator", {"numpy"}, 1 << 20)
    assert refusal.value.reason == "artifact_unreadable"


def test_forms_that_an_estimator_has_not_are_left_out(worker: PredictWorker, version: ResolvedVersion) -> None:
    data = worker.store.get(version.tenant_id, version.digest)
    forms = Derivation(worker.runners).forms(version, data, {"numpy", "treelite"}, 1 << 20)
    assert set(forms) == {"numpy"}
    np.testing.assert_array_equal(
        forms["numpy"].run(X, "predict"), LogisticRegression(max_iter=1000).fit(X, y).predict(X)
    )

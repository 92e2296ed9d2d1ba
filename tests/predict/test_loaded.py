"""Models in memory: each loaded once, bounded in bytes, checked before use, and never half there."""

import contextlib
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier

from service import schema
from service.artifacts import serialization
from service.bootstrap import CONFINED
from service.confinement import Confinement
from service.database import Database
from service.errors import Unavailable
from service.predict.anatomy import footprint
from service.predict.runtimes import CONNECTION_BYTES
from service.registry.resolution import DefaultRef, ResolvedVersion
from service.telemetry import Telemetry
from service.tenants.principal import Principal
from tests.predict.workers import PredictWorker
from tests.registry.workers import artifact, at_once, regression


class Loads(Telemetry):
    """Counts loads and remembers the bytes that were reported."""

    def __init__(self) -> None:
        self.count = 0
        self.totals: list[int] = []

    def model_loaded(self, seconds: float) -> None:
        self.count += 1

    def loaded_bytes(self, total: int) -> None:
        self.totals.append(total)


@pytest.fixture
def versions(worker: PredictWorker, acme: Principal) -> list[ResolvedVersion]:
    """Four models of about the same size."""
    found = []
    for index in range(4):
        worker.upload(acme, f"m{index}", regression(float(index + 1)))
        found.append(worker.resolution.resolve(acme, f"m{index}", DefaultRef()))
    return found


def size(worker: PredictWorker, version: ResolvedVersion) -> int:
    return worker.loaded.get(version).size_bytes


def test_a_version_is_loaded_once_however_many_ask(worker: PredictWorker, versions: list[ResolvedVersion]) -> None:
    loads = Loads()
    loaded = worker.loading(telemetry=loads)
    together = threading.Barrier(50)

    def call() -> int:
        together.wait()
        return id(loaded.get(versions[0]))

    assert len(set(at_once([call] * 50))) == 1
    assert loads.count == 1
    assert loads.totals == [loaded.total_bytes]


def test_the_least_recently_used_go_when_the_bytes_run_out(
    worker: PredictWorker, versions: list[ResolvedVersion]
) -> None:
    most = max(size(worker, version) for version in versions)
    loads = Loads()
    loaded = worker.loading(2 * most, loads)
    loaded.get(versions[0])
    loaded.get(versions[1])
    loaded.get(versions[0])
    loaded.get(versions[2])
    assert loaded.known(versions[1]) is None
    assert loaded.known(versions[0]) is not None
    assert loads.count == 3
    assert max(loads.totals) <= 2 * most


def test_the_budget_holds_under_parallel_loads(worker: PredictWorker, versions: list[ResolvedVersion]) -> None:
    most = max(size(worker, version) for version in versions)
    loads = Loads()
    loaded = worker.loading(2 * most, loads)
    answers = at_once(
        [
            lambda version=version: loaded.get(version).run(np.array([[10.0]]), "predict")[0][0]
            for version in versions * 6
        ]
    )
    assert [round(float(answer), 6) for answer in answers] == [10.0, 20.0, 30.0, 40.0] * 6  # type: ignore[arg-type]
    assert max(loads.totals) <= 2 * most
    assert loaded.total_bytes <= 2 * most


def test_a_model_over_the_machine_s_budget_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'modelward.db'}"
    schema.upgrade(url)
    database = Database(url)
    with contextlib.closing(Confinement(preload=CONFINED, budget_bytes=64 << 20)) as narrow:
        worker = PredictWorker(database, tmp_path / "artifacts", narrow)
        acme = worker.principal()
        rows = np.random.default_rng(0).normal(size=(100_000, 100))
        worker.upload(acme, data=artifact(KNeighborsClassifier(algorithm="brute").fit(rows, [0, 1] * 50_000)))
        version = worker.resolution.resolve(acme, "m", DefaultRef())
        with pytest.raises(Unavailable) as refusal:
            worker.loaded.get(version)
        assert refusal.value.reason == "model_too_large"
        assert worker.child_of(version) is None
    database.dispose()


def test_evicted_versions_leave_their_children_to_others(worker: PredictWorker, acme: Principal) -> None:
    found = []
    for number in range(3):
        worker.upload(acme, f"m{number}", artifact(KNeighborsClassifier(1).fit([[0.0], [1.0]], [number, number + 1])))
        found.append(worker.resolution.resolve(acme, f"m{number}", DefaultRef()))
    loaded = worker.loading(2 * CONNECTION_BYTES)
    runtimes = [loaded.get(version) for version in found]
    assert loaded.known(found[0]) is None
    assert worker.child_of(found[0]) is not None
    # A request that was under way goes on with what it has.
    assert runtimes[0].run(np.array([[1.0]]), "predict")[0].tolist() == [1]
    loaded.close()
    assert loaded.known(found[2]) is None


def test_altered_bytes_are_refused_and_a_repair_is_seen(
    worker: PredictWorker, acme: Principal, versions: list[ResolvedVersion]
) -> None:
    version = versions[0]
    data = worker.store.get(acme.tenant_id, version.digest)
    path = worker.store.path(acme.tenant_id, version.digest)  # type: ignore[attr-defined]
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Unavailable) as caught:
        worker.loaded.get(version)
    assert caught.value.reason == "artifact_corrupt"
    path.write_bytes(data)
    assert worker.loaded.get(version).run(np.array([[10.0]]), "predict")[0][0] == pytest.approx(10.0)


def test_equal_bytes_share_a_runtime_in_a_tenant_and_never_across(worker: PredictWorker, acme: Principal) -> None:
    other = worker.principal("other")
    runtimes = []
    for principal, model in ((acme, "a"), (acme, "b"), (other, "a")):
        worker.upload(principal, model)
        runtimes.append(worker.loaded.get(worker.resolution.resolve(principal, model, DefaultRef())))
    assert runtimes[0] is runtimes[1]
    assert runtimes[2] is not runtimes[0]


@pytest.mark.parametrize("plan", [{}, {"predict": {"one": "numpy", "many": "numpy"}}], ids=["in a child", "here"])
def test_bytes_that_are_no_estimator_are_refused(
    worker: PredictWorker, acme: Principal, plan: dict[str, dict[str, str]]
) -> None:
    worker.upload(acme)
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    digest = worker.store.put(acme.tenant_id, b"not an estimator")
    stranger = replace(version, digest=digest, plan=plan)
    with pytest.raises(Unavailable) as caught:
        worker.loaded.get(stranger)
    assert caught.value.reason == "artifact_unreadable"


@pytest.mark.parametrize(
    ("estimator", "least"),
    [
        (LinearRegression(), 8 * 1000),
        (KNeighborsClassifier(), 8 * 1000 * 200),
        (RandomForestClassifier(20, random_state=0), 20 * 3 * 64),
        (HistGradientBoostingClassifier(max_iter=5), 5_000),
    ],
)
def test_the_bytes_of_a_model_cover_its_arrays(estimator: object, least: int) -> None:
    X = np.random.default_rng(0).normal(size=(200, 1000))
    estimator.fit(X, (X[:, 0] > 0).astype(int))  # type: ignore[attr-defined]
    loaded = serialization.load(serialization.dump(estimator))
    assert footprint(loaded) >= least


def test_views_of_one_array_are_counted_once() -> None:
    base = np.zeros(1000)
    assert footprint([base[:500], base[500:], base]) < 8_000 + 2_000
    assert footprint(np.array([base, None], dtype=object)) >= 8_000
    assert footprint(partial(np.add, base, out=base)) >= 8_000

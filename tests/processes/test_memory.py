"""A machine holds a large model once, however many workers serve it, and a worker holds no scikit-learn for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.neighbors import KNeighborsClassifier

from tests.processes.conftest import METRICS_TOKEN, Installation
from tests.servers.modelward import Modelward
from tests.servers.subprocesses import wait_until

COLUMNS = 100
FEW, FEW_ROWS = 2, 30_000
MANY, MANY_ROWS = 20, 62_500
MANY_BYTES = 1.5 * (1 << 30)
"""What four workers may take together that serve a gigabyte of models."""

CALLS = 24
"""To each model, each over a connection of its own, which is more than enough to meet every worker."""


def large(seed: int, rows: int) -> bytes:
    """A model of so many rows, which only scikit-learn can run."""
    X = np.random.default_rng(seed).normal(size=(rows, COLUMNS))
    return bytes(skops.io.dumps(KNeighborsClassifier(1, algorithm="brute").fit(X, X[:, 0] > 0)))


@pytest.fixture
def installation(modelward: Callable[..., Modelward], redis_url: str, tmp_path: Path) -> Installation:
    server = modelward(
        database_url=f"sqlite:///{tmp_path / 'modelward.db'}",
        redis_url=redis_url,
        metrics_token=METRICS_TOKEN,
        allow_sqlite=True,
        cached_answers_seconds=0,
    )
    made = Installation(server)
    made.tenant("acme")
    return made


def upload(installation: Installation, models: int, rows: int) -> None:
    with installation.caller("acme") as caller:
        for number in range(models):
            caller.uploaded(f"large{number}", large(number, rows))


def load(installation: Installation, models: int) -> None:
    """Have every worker answer for every model."""
    for call in range(CALLS):
        with installation.caller("acme") as caller:
            for number in range(models):
                assert caller.predict(f"large{number}", [[call / CALLS] * COLUMNS]).status_code == 200


def test_a_large_model_is_held_once_by_all_workers_together(installation: Installation) -> None:
    size = FEW * FEW_ROWS * COLUMNS * 8
    installation.server.settings["workers"] = 2
    installation.server.start()
    upload(installation, FEW, FEW_ROWS)
    workers = workers_of(installation.server)
    before = sum(map(own_bytes, workers))
    load(installation, FEW)
    assert sum(map(own_bytes, workers)) - before < size
    children = children_of(serving(installation.server))
    assert len(children) == FEW
    assert size < sum(map(own_bytes, children)) < 1.7 * size
    assert [worker for worker in workers if "sklearn" in Path(f"/proc/{worker}/maps").read_text()] == []


@pytest.mark.timeout(1800)
def test_a_gigabyte_of_models_fits_beside_four_workers(installation: Installation, long: bool) -> None:
    models, rows, counts = (MANY, MANY_ROWS, (1, 2, 4)) if long else (1, FEW_ROWS, (4,))
    installation.server.start()
    upload(installation, models, rows)
    installation.server.stop()
    lines = []
    for workers in counts:
        installation.server.settings["workers"] = workers
        installation.server.start()
        serving(installation.server)
        empty = held_bytes(installation.server)
        load(installation, models)
        full = held_bytes(installation.server)
        installation.server.stop()
        lines.append(f"{workers} workers: {empty >> 20} MB before, {full >> 20} MB with {models} models loaded")
    print("", *lines, sep="\n")
    assert full < MANY_BYTES


def held_bytes(server: Modelward) -> int:
    """The memory of all processes of a server; what several share is counted once."""
    return sum(mapped_bytes(each, "Pss") for each in processes_of(server))


def own_bytes(process: int) -> int:
    """What a process has written itself, and shares with nobody."""
    return mapped_bytes(process, "Private_Dirty")


def mapped_bytes(process: int, kind: str) -> int:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{kind}:")).split()[1])


def processes_of(server: Modelward) -> list[int]:
    assert server.child is not None
    found = [server.child.pid]
    for each in found:
        found += children_of(each)
    return found


def workers_of(server: Modelward) -> list[int]:
    assert server.child is not None
    return [each for each in children_of(server.child.pid) if "confinement" not in command_of(each)]


def serving(server: Modelward) -> int:
    """The fork server, which is a fork of what has imported; it is there a little later than the workers."""
    assert server.child is not None
    (keeper,) = (each for each in children_of(server.child.pid) if "confinement" in command_of(each))
    wait_until(lambda: children_of(keeper) != [], "the fork server has imported everything")
    (found,) = children_of(keeper)
    return found


def children_of(process: int) -> list[int]:
    threads = Path(f"/proc/{process}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def command_of(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text()

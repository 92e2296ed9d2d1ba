"""kill -9 of every process of the server, again and again, amid uploads and promotes: nothing acknowledged is lost."""

import hashlib
import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import httpx2
import pytest

from service.artifacts.store import open_store
from tests.processes.calling import Caller
from tests.processes.conftest import METRICS_TOKEN, Installation
from tests.processes.estimators import constant
from tests.servers.modelward import Modelward
from tests.servers.subprocesses import wait_until

KILLS, KILLS_LONG = 3, 20
LONGEST_WORK = 1.5
MODEL = "survivor"
ALIASES = ("production", "next")

Work = Callable[..., None]


@dataclass
class Acknowledged:
    """What the server said it had done.

    :param versions: digest and value of each version.
    :param moves: version and reason of each move of an alias, after a first one to nowhere.
    """

    versions: dict[int, tuple[str, float]] = field(default_factory=dict)
    moves: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: {alias: [(0, "")] for alias in ALIASES})


@pytest.mark.timeout(900)
def test_what_was_acknowledged_outlives_every_kill(
    database_url: str, redis_url: str, modelward: Callable[..., Modelward], long: bool
) -> None:
    server = modelward(
        database_url=database_url, redis_url=redis_url, metrics_token=METRICS_TOKEN, workers=2, allow_sqlite=True
    )
    installation = Installation(server)
    installation.tenant("acme")
    acknowledged = Acknowledged()
    chance = random.Random(20)
    for _ in range(KILLS_LONG if long else KILLS):
        server.start()
        work_until_killed(installation, acknowledged, chance.uniform(0, LONGEST_WORK))
    server.start()
    check(installation, acknowledged)
    check_sweep(installation)
    check(installation, acknowledged)


def work_until_killed(installation: Installation, acknowledged: Acknowledged, seconds: float) -> None:
    """Upload and promote in several threads, and kill the server so long after the first new answer."""
    stopped = threading.Event()
    before = len(acknowledged.versions)
    work: list[Work] = [upload, upload, *(partial(promote, alias=alias) for alias in ALIASES)]
    threads = [threading.Thread(target=until, args=(stopped, installation, each, acknowledged)) for each in work]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(acknowledged.versions) > before, "a first upload")
        stopped.wait(seconds)
        installation.server.kill()
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def until(
    stopped: threading.Event,
    installation: Installation,
    work: Work,
    acknowledged: Acknowledged,
) -> None:
    with installation.caller("acme") as caller, suppress(httpx2.TransportError):
        while not stopped.is_set():
            work(caller, acknowledged)


def upload(caller: Caller, acknowledged: Acknowledged) -> None:
    value = random.random()
    made = caller.uploaded(MODEL, constant(value), tags={"value": repr(value)})
    acknowledged.versions[made["version"]] = (made["digest"], value)


def promote(caller: Caller, acknowledged: Acknowledged, alias: str) -> None:
    """Move the alias to a version that it is not at: only that is a move."""
    # A move whose answer was lost in a kill has made it another than the last one that was acknowledged.
    current = caller.client.get(f"/v1/models/{MODEL}/aliases/{alias}").json().get("version")
    others = [version for version in list(acknowledged.versions) if version != current]
    if not others:
        return
    version, reason = random.choice(others), f"{random.random()}"
    response = caller.move(MODEL, version, alias, reason)
    assert response.status_code == 200, response.text
    acknowledged.moves[alias].append((version, reason))


def check(installation: Installation, acknowledged: Acknowledged) -> None:
    """Every acknowledged write is there, and whatever is there is whole."""
    with installation.caller("acme") as caller:
        check_versions(caller, acknowledged)
        for alias in ALIASES:
            check_moves(caller, acknowledged, alias)


def check_versions(caller: Caller, acknowledged: Acknowledged) -> None:
    versions = {row["version"]: row for row in caller.every(f"/v1/models/{MODEL}/versions")}
    for number, (digest, value) in acknowledged.versions.items():
        assert versions[number]["digest"] == digest
        assert versions[number]["tags"] == {"value": repr(value)}
    for number, row in versions.items():
        assert row["status"] == "ready"
        artifact = caller.client.get(f"/v1/models/{MODEL}/versions/{number}/artifact").content
        assert f"sha256:{hashlib.sha256(artifact).hexdigest()}" == row["digest"]
        answer = caller.predict(MODEL, [[0.25, 0.75]], at=f"/versions/{number}")
        assert answer.json()["outputs"]["predict"] == pytest.approx([float(row["tags"]["value"])])


def check_moves(caller: Caller, acknowledged: Acknowledged, alias: str) -> None:
    """Acknowledged moves are in the ledger, in their order, among ones that lost their answer; the last one holds."""
    path = f"/v1/models/{MODEL}/aliases/{alias}"
    history = sorted(caller.every(f"{path}/history"), key=lambda move: move["sequence"])
    assert [move["sequence"] for move in history] == list(range(1, len(history) + 1))
    kept = iter((move["to_version"], move["reason"]) for move in history)
    assert [move for move in acknowledged.moves[alias][1:] if move not in kept] == []
    assert [move["from_version"] for move in history[1:]] == [move["to_version"] for move in history[:-1]]
    assert caller.client.get(path).json()["version"] == history[-1]["to_version"]


def check_sweep(installation: Installation) -> None:
    """The sweep finds bytes that no version names, removes these alone, and misses nothing."""
    server = installation.server
    store = open_store(str(server.directory / "modelward-data" / "artifacts"))
    planted = f"{installation.ids['acme']}/{store.put(installation.ids['acme'], b'left behind')}"
    found = server.json("sweep", "--dry-run", "--older-than-seconds", "0")
    assert planted in found["orphaned"]
    assert found["missing"] == []
    assert server.json("sweep", "--older-than-seconds", "0")["orphaned"] == found["orphaned"]
    assert server.json("sweep", "--older-than-seconds", "0")["orphaned"] == []


def test_nothing_goes_on_serving_when_the_main_process_alone_is_killed(
    modelward: Callable[..., Modelward], redis_url: str, database_url: str
) -> None:
    server = modelward(database_url=database_url, redis_url=redis_url, workers=2, allow_sqlite=True)
    server.run("migrate")
    server.start()
    assert server.child is not None
    server.child.send(signal.SIGKILL)
    assert server.child.wait() == -signal.SIGKILL
    wait_until(lambda: not server.listens(), "the port is free again", seconds=5)
    server.start()

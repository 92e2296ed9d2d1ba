"""Models that crash or hang harm the caller whose rows it was, and nobody else, however often they do."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.neighbors import KNeighborsRegressor

from tests.predict.crashers import HARMFUL, HARMLESS, NOWHERE, ROOT
from tests.processes.calling import Answer, Caller, Load
from tests.processes.conftest import METRICS_TOKEN, Installation
from tests.processes.crashers import smuggle
from tests.servers.modelward import Modelward
from tests.servers.subprocesses import wait_until

CRASHES, CRASHES_LONG = 10, 100
CRASHES_UNTIL_CONDEMNED = 3
BACK_WITHIN = 1.0
PREDICT_SECONDS = 2
HONEST = np.arange(100.0).reshape(-1, 1)

Make = Callable[[Installation, str], Caller]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, redis_of_production: object) -> Iterator[Installation]:
    """`modelward serve` with two workers on SQLite, and a victim with a model that only scikit-learn can run."""
    directory = tmp_path_factory.mktemp("crashers")
    server = Modelward(
        directory,
        database_url=f"sqlite:///{directory / 'modelward.db'}",
        redis_url=redis_of_production.url,  # type: ignore[attr-defined]
        metrics_token=METRICS_TOKEN,
        allow_sqlite=True,
        workers=2,
        predict_seconds=PREDICT_SECONDS,
        cached_answers_seconds=0,
    )
    made = Installation(server)
    for slug in ("attacker", "victim"):
        made.tenant(slug)
    server.start()
    with made.caller("victim") as victim:
        victim.uploaded("honest", skops.io.dumps(KNeighborsRegressor(1).fit(HONEST, HONEST.ravel())))
        assert asked(victim, 7).status_code == 200
    yield made
    server.stop()


def asked(caller: Caller, number: int):
    return caller.predict("honest", [[float(number % len(HONEST))]])


def victim_of(installation: Installation, threads: int = 2) -> Load:
    return Load(lambda: installation.caller("victim"), asked, threads)


def unharmed(load: Load) -> bool:
    """Whether every answer was the right one."""
    return load.refused() == [] and all(len(answer.body["outputs"]["predict"]) == 1 for answer in load.answers)


def test_a_model_that_crashes_again_and_again_harms_nobody_else_and_is_quarantined(
    installation: Installation, caller: Make, long: bool
) -> None:
    attacker = caller(installation, "attacker")
    models = range(-(-(CRASHES_LONG if long else CRASHES) // CRASHES_UNTIL_CONDEMNED))
    for number in models:
        smuggle(installation, "attacker", f"crasher{number}", NOWHERE, serial=number)
    with victim_of(installation) as quiet:
        quiet.wait_for(200)
    with victim_of(installation) as load:
        for number in models:
            crash_until_condemned(attacker, f"crasher{number}")
        load.wait_for(20)
    assert unharmed(load)
    print(f"\np99 of the victim: {p99(quiet):.4f} s alone, {p99(load):.4f} s beside {len(models)} models that crashed")
    events = attacker.every("/v1/audit")
    condemned = [event for event in events if event["action"] == "version.quarantine"]
    assert {event["target"] for event in condemned} == {f"models/crasher{number}/versions/1" for number in models}
    assert {event["actor"] for event in condemned} == {"system"}
    assert len(condemned) == len(models)


def crash_until_condemned(caller: Caller, model: str) -> None:
    def refusal(rows: list[list[float]]) -> tuple[int, str]:
        response = caller.predict(model, rows, at="/versions/1")
        return response.status_code, response.json().get("code", "answered")

    for _ in range(CRASHES_UNTIL_CONDEMNED):
        assert refusal(HARMLESS) == (200, "answered")
        assert refusal(HARMFUL) == (502, "model_crashed")
    wait_until(lambda: refusal(HARMLESS) == (409, "version_quarantined"), "every worker has heard that it is stopped")


def p99(load: Load) -> float:
    return float(np.quantile([answer.received - answer.sent for answer in load.answers], 0.99))


def test_a_model_that_hangs_costs_its_caller_a_504_and_the_next_one_is_answered(
    installation: Installation, caller: Make
) -> None:
    attacker = caller(installation, "attacker")
    smuggle(installation, "attacker", "hanger", ROOT)
    assert attacker.predict("hanger", HARMLESS).status_code == 200
    with victim_of(installation) as load, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(attacker.predict, "hanger", HARMFUL)
        late = hanging.result()
        assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
        with installation.caller("attacker") as another:
            assert another.predict("hanger", HARMLESS).json()["outputs"] == {"predict": [0]}
        load.wait_for(20)
    assert unharmed(load)


def test_two_workers_share_one_child(installation: Installation) -> None:
    with installation.caller("victim") as victim:
        victim.uploaded("shared", skops.io.dumps(KNeighborsRegressor(2).fit(HONEST, HONEST.ravel())))
    before = residents_of(installation)
    for _ in range(24):
        # Each connection is accepted by whichever worker comes first.
        with installation.caller("victim") as each:
            assert each.predict("shared", [[3.0]]).status_code == 200
    assert len(residents_of(installation) - before) == 1


@pytest.mark.parametrize("which", ["the fork server", "the child"])
def test_what_is_killed_is_back_within_a_second_and_nobody_notices(installation: Installation, which: str) -> None:
    with victim_of(installation, threads=4) as load:
        load.wait_for(50)
        for _ in range(3):
            children = residents_of(installation)
            for each in {parent_of(child) for child in children} if which == "the fork server" else children:
                os.kill(each, signal.SIGKILL)
            wait_until(partial(answered_after, load, time.monotonic()), "it is answered again")
            load.wait_for(20)
    assert unharmed(load)
    assert slowest(load) < BACK_WITHIN


def answered_after(load: Load, moment: float) -> bool:
    return any(answer.sent > moment and answer.status == 200 for answer in load.answers)


def slowest(load: Load) -> float:
    """The longest that anybody waited, through every kill."""

    def seconds(answer: Answer) -> float:
        return answer.received - answer.sent

    return max(map(seconds, load.answers))


def residents_of(installation: Installation) -> set[int]:
    """The processes that hold models: children of what serves, which is a fork of what has imported."""
    assert installation.server.child is not None
    keepers = [each for each in children_of(installation.server.child.pid) if "service.confinement" in command_of(each)]
    return {child for keeper in keepers for serving in children_of(keeper) for child in children_of(serving)}


def children_of(process: int) -> list[int]:
    found = []
    for thread in Path(f"/proc/{process}/task").iterdir():
        found += [int(pid) for pid in (thread / "children").read_text().split()]
    return found


def command_of(process: int) -> str:
    return Path(f"/proc/{process}/cmdline").read_text()


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[1])

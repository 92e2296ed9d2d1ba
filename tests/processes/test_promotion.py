"""A promote is seen by every worker within a second, and fails no request."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.processes.calling import Answer, Caller, Load
from tests.processes.conftest import Installation
from tests.processes.estimators import constant

SEEN_WITHIN = 1.0
VERSIONS = 20
PROMOTES = 500
PAUSE = 0.06
"""Seconds from one promote to the next: going round all versions takes longer than a promote may go unseen."""

CONNECTIONS = 48
"""New connections that are opened to meet both of two workers, all but certainly."""

ROW = [[0.5, 0.5]]


@dataclass(frozen=True, slots=True)
class Promote:
    """A promote: the version, and when it was asked for and acknowledged."""

    version: int
    sent: float
    acknowledged: float


@pytest.fixture(scope="module")
def versions(production: Installation) -> list[int]:
    """Versions of the model `steps`; each answers its own number."""
    caller = production.caller("acme")
    numbers = [caller.uploaded("steps", constant(float(number)))["version"] for number in range(1, VERSIONS + 1)]
    caller.close()
    return numbers


def ask(caller: Caller, number: int):
    return caller.predict("steps", [[number / 1000, 0.0]])


def test_a_promote_is_seen_by_both_workers_within_a_second(
    production: Installation, caller: Callable[[Installation, str], Caller], versions: list[int]
) -> None:
    owner = caller(production, "acme")
    for version in (versions[0], versions[-1], versions[0]):
        assert owner.move("steps", version).status_code == 200
        promoted = time.monotonic()
        ask_until_seen(production, version, promoted + SEEN_WITHIN)
        assert set(versions_seen(production)) == {version}


def ask_until_seen(production: Installation, version: int, deadline: float) -> None:
    """Wait for the first round in which every answer names the version, at most until the deadline."""
    while time.monotonic() < deadline and set(versions_seen(production)) != {version}:
        pass


def versions_seen(production: Installation) -> list[int]:
    """Ask over many new connections at once, and return the versions that answered."""

    def one(number: int) -> int:
        caller = production.caller("acme")
        try:
            return int(ask(caller, number).json()["version"])
        finally:
            caller.close()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(CONNECTIONS)))


def test_hundreds_of_promotes_under_load_fail_no_request_and_every_answer_was_right_in_its_time(
    production: Installation, caller: Callable[[Installation, str], Caller], versions: list[int]
) -> None:
    owner = caller(production, "acme")
    promotes = [promote(owner, versions[0])]
    with Load(lambda: production.caller("acme"), ask) as load:
        started = time.monotonic()
        for number in range(1, PROMOTES):
            time.sleep(max(0.0, started + number * PAUSE - time.monotonic()))
            promotes.append(promote(owner, versions[number % len(versions)]))
        load.wait_for(20)
    assert load.refused() == []
    assert len(load.answers) > PROMOTES
    assert [answer for answer in load.answers if not was_right(answer, promotes)] == []


def promote(owner: Caller, version: int) -> Promote:
    sent = time.monotonic()
    response = owner.move("steps", version)
    assert response.status_code == 200, response.text
    return Promote(version, sent, time.monotonic())


def was_right(answer: Answer, promotes: list[Promote]) -> bool:
    """Whether the answer came from the version it names, and that one served at some moment it may speak of."""
    version = answer.body["version"]
    if abs(answer.body["outputs"]["predict"][0] - version) > 1e-9:
        return False
    ends = [later.acknowledged for later in promotes[1:]] + [float("inf")]
    return any(
        each.version == version and each.sent <= answer.received and answer.sent <= end + SEEN_WITHIN
        for each, end in zip(promotes, ends, strict=True)
    )

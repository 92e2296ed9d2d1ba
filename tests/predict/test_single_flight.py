"""One computation per key at a time, and nothing left behind."""

import threading

import pytest

from service.errors import DeadlineExceeded
from service.predict.single_flight import SingleFlight
from service.server.waiting import OnLoopError
from tests.registry.workers import at_once


def test_callers_of_one_key_share_a_computation() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    waiting = threading.Barrier(2)
    computed: list[int] = []

    def compute() -> int:
        waiting.wait()
        computed.append(1)
        return 7

    leader = threading.Thread(target=lambda: computed.append(flights.do("a", compute)))
    leader.start()
    waiting.wait()
    leader.join()
    assert computed == [1, 7]
    assert at_once([lambda: flights.do("b", lambda: 1), lambda: flights.do("c", lambda: 2)]) == [1, 2]


def test_a_failure_is_not_remembered() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    with pytest.raises(ZeroDivisionError):
        flights.do("a", lambda: 1 // 0)
    assert flights.do("a", lambda: 1) == 1


def test_one_that_hangs_does_not_keep_those_who_want_the_same() -> None:
    flights: SingleFlight[str, int] = SingleFlight(patience=0.05)
    begun, release = threading.Event(), threading.Event()

    def hang() -> int:
        begun.set()
        release.wait(20)
        return 7

    answers: list[int] = []
    leader = threading.Thread(target=lambda: answers.append(flights.do("a", hang)))
    leader.start()
    assert begun.wait(20)
    with pytest.raises(DeadlineExceeded):
        flights.do("a", lambda: 1)
    release.set()
    leader.join()
    assert answers == [7]


def test_who_waits_for_one_that_cannot_be_computed_on_the_loop_computes_it() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    begun, release = threading.Event(), threading.Event()

    def on_the_loop() -> int:
        begun.set()
        release.wait(20)
        raise OnLoopError

    def lead() -> None:
        with pytest.raises(OnLoopError):
            flights.do("a", on_the_loop)

    leader, answers = threading.Thread(target=lead), list[int]()
    follower = threading.Thread(target=lambda: answers.append(flights.do("a", lambda: 7)))
    leader.start()
    assert begun.wait(20)
    follower.start()
    release.set()
    leader.join()
    follower.join()
    assert answers == [7]

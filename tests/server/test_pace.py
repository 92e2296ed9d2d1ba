"""A route earns the loop by what it takes, loses it when it is slow, and not because the machine was busy once."""

import pytest

from service.server.pace import (
    FAST_SECONDS,
    FIRST_PENALTY,
    LAST_PENALTY,
    PATIENT_SECONDS,
    SAMPLES,
    STALL_SECONDS,
    STALLS_APART,
    Pace,
)

QUICK = FAST_SECONDS / 20
OTHER = "GET/other"


class Clock:
    """Goes on when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    """With two routes that have earned the loop."""
    pace = Pace(clock)
    earn(pace)
    earn(pace, OTHER)
    return pace


def earn(pace: Pace, key: str = "GET/one") -> bool:
    for _ in range(SAMPLES):
        pace.ran_in_thread(key, QUICK, QUICK)
    return pace.is_quick(key)


def test_a_route_earns_the_loop_by_quick_runs_in_a_row() -> None:
    pace = Pace()
    assert not pace.is_quick("GET/one")
    for processor, wall in ((FAST_SECONDS, FAST_SECONDS), (QUICK, PATIENT_SECONDS)):
        for _ in range(SAMPLES - 1):
            pace.ran_in_thread("GET/one", QUICK, QUICK)
        pace.ran_in_thread("GET/one", wall, processor)
        assert not pace.is_quick("GET/one")
    assert earn(pace)


def test_one_long_run_is_no_reason_and_slow_ones_in_a_row_are(pace: Pace) -> None:
    for _ in range(50):
        pace.ran_on_loop("GET/one", QUICK)
        pace.ran_on_loop("GET/one", STALL_SECONDS * 0.9)
        assert pace.is_quick("GET/one")
        for _ in range(20):
            pace.ran_on_loop("GET/one", QUICK)
    for _ in range(3):
        pace.ran_on_loop("GET/one", 3 * FAST_SECONDS)
    assert not pace.is_quick("GET/one")
    assert pace.is_quick(OTHER)


def test_a_route_that_is_a_little_too_slow_loses_the_loop(pace: Pace) -> None:
    for _ in range(50):
        pace.ran_on_loop("GET/one", 1.1 * FAST_SECONDS)
    assert not pace.is_quick("GET/one")


def test_each_time_it_takes_longer_to_come_back_and_a_good_while_makes_up_for_it(pace: Pace, clock: Clock) -> None:
    penalty = FIRST_PENALTY
    for _ in range(8):
        pace.waits("GET/one")
        assert not earn(pace)
        clock.now += penalty * 0.9
        assert not earn(pace)
        clock.now += penalty * 0.2
        assert earn(pace)
        penalty = min(2 * penalty, LAST_PENALTY)
    clock.now += 2 * LAST_PENALTY
    pace.waits("GET/one")
    clock.now += FIRST_PENALTY * 1.1
    assert earn(pace)


def test_two_stalls_soon_after_each_other_keep_everything_off_the_loop_for_a_while(pace: Pace, clock: Clock) -> None:
    pace.ran_on_loop("GET/one", STALL_SECONDS)
    assert pace.is_quick("GET/one")
    clock.now += 1.1 * STALLS_APART
    pace.ran_on_loop("GET/one", STALL_SECONDS)
    assert pace.is_quick(OTHER)
    clock.now += 0.5 * STALLS_APART
    pace.ran_on_loop("GET/one", STALL_SECONDS)
    assert not pace.is_quick("GET/one")
    assert not pace.is_quick(OTHER)
    clock.now += 1.1 * FIRST_PENALTY
    assert pace.is_quick(OTHER)


def test_what_waits_for_another_process_is_off_the_loop_at_once(pace: Pace) -> None:
    pace.waits("GET/one")
    assert not pace.is_quick("GET/one")
    assert pace.is_quick(OTHER)

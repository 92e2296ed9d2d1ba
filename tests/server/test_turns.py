"""Callers take turns, by their weights."""

from collections import Counter

import pytest

from service.server.turns import REMEMBERED, Turns


def test_a_caller_with_many_requests_is_ahead_of_nobody_by_more_than_one() -> None:
    turns: Turns[str] = Turns()
    for number in range(4):
        turns.add("busy", f"busy {number}")
    turns.add("one", "one 0")
    turns.add("two", "two 0")
    turns.add("two", "two 1")
    assert turns.callers == 3
    taken = [turns.next() for _ in range(7)]
    assert taken == ["busy 0", "one 0", "two 0", "busy 1", "two 1", "busy 2", "busy 3"]
    assert not turns


def test_who_comes_later_has_the_next_turn() -> None:
    turns: Turns[int] = Turns()
    for number in range(100):
        turns.add("busy", number)
    turns.next()
    turns.add("late", 1000)
    assert [turns.next() for _ in range(2)] == [1000, 1]


@pytest.mark.parametrize("weight", [1, 4, 64])
def test_where_both_have_enough_waiting_each_has_turns_by_its_weight(weight: int) -> None:
    turns: Turns[tuple[str, int]] = Turns()
    for number in range(1000):
        turns.add("light", ("light", number))
        turns.add("heavy", ("heavy", number), weight)
    taken = Counter(turns.next()[0] for _ in range(10 * (weight + 1)))
    assert abs(taken["light"] - 10) <= 1


def test_one_who_comes_again_and_again_has_no_more_than_its_share() -> None:
    """Its queue is empty after each of its turns, and it is back before the next."""
    turns: Turns[tuple[str, int]] = Turns()
    for number in range(100):
        turns.add("waits", ("waits", number))
    taken: Counter[str] = Counter()
    for number in range(50):
        turns.add("comes", ("comes", number))
        taken[turns.next()[0]] += 1
    assert abs(taken["comes"] - taken["waits"]) <= 1


def test_who_was_away_has_saved_nothing_up() -> None:
    turns: Turns[tuple[str, int]] = Turns()
    turns.add("away", ("away", -1))
    for number in range(300):
        turns.add("busy", ("busy", number))
    for _ in range(200):
        turns.next()
    for number in range(100):
        turns.add("away", ("away", number))
    taken = Counter(turns.next()[0] for _ in range(20))
    assert taken == {"away": 10, "busy": 10}


def test_callers_that_are_gone_are_forgotten() -> None:
    turns: Turns[tuple[str, int]] = Turns()
    for number in range(10 * REMEMBERED):
        turns.add("busy", ("busy", number))
        turns.add(f"caller {number}", ("once", number))
        turns.next()
        turns.next()
        turns.add("busy", ("busy", -1 - number))
    assert len(turns._shares) <= REMEMBERED + 2


def test_what_waits_already_keeps_its_place_and_has_no_second_turn() -> None:
    turns: Turns[str] = Turns()
    for item in ("first", "second", "first", "first"):
        turns.add("busy", item)
    assert turns.next() == "first"
    turns.add("busy", "first")
    assert [turns.next() for _ in range(2)] == ["second", "first"]
    assert not turns


def test_where_nothing_waits_there_is_no_turn() -> None:
    with pytest.raises(IndexError):
        Turns[int]().next()

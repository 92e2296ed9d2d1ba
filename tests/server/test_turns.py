"""Callers take turns."""

import pytest

from service.server.turns import Turns


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


def test_who_comes_later_has_the_next_turn_but_those_that_wait() -> None:
    turns: Turns[int] = Turns()
    for number in range(100):
        turns.add("busy", number)
    turns.next()
    turns.add("late", 1000)
    assert [turns.next() for _ in range(2)] == [1, 1000]


def test_what_waits_already_keeps_its_place_and_has_no_second_turn() -> None:
    turns: Turns[str] = Turns()
    for item in ("first", "second", "first", "first"):
        turns.add("busy", item)
    assert turns.next() == "first"
    turns.add("busy", "first")
    assert [turns.next() for _ in range(2)] == ["second", "first"]
    assert not turns


def test_where_nothing_waits_there_is_no_turn() -> None:
    with pytest.raises(KeyError):
        Turns[int]().next()

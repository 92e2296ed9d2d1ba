"""A key whose children die again and again is out for a while; a death now and then is not held against it."""

import pytest

from service.confinement import strikes
from service.confinement.strikes import MOST, Strikes


def test_so_many_deaths_in_a_row_and_a_key_is_out_and_no_other() -> None:
    counted = Strikes()
    for _ in range(MOST - 1):
        counted.count("dies")
        counted.count("slow", patience=1.0)
        assert not counted.out("dies")
    counted.count("dies")
    assert counted.out("dies")
    assert not counted.out("slow")
    assert not counted.out("other")


def test_one_that_was_forgiven_begins_anew() -> None:
    counted = Strikes()
    for _ in range(MOST):
        counted.count("dies")
    counted.forgive("dies")
    assert not counted.out("dies")
    counted.count("dies")
    assert not counted.out("dies")


def test_one_that_is_out_may_try_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strikes, "OUT_SECONDS", 0.0)
    counted = Strikes()
    for _ in range(MOST):
        counted.count("dies")
    assert not counted.out("dies")
    counted.count("dies")
    assert not counted.out("dies")


def test_deaths_that_lie_far_apart_are_not_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strikes, "SECONDS", -1.0)
    counted = Strikes()
    for _ in range(MOST):
        counted.count("dies")
        counted.count("stuck", patience=10.0)
    assert not counted.out("dies")
    assert counted.out("stuck")


def test_of_very_many_keys_those_that_died_first_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strikes, "REMEMBERED", 10)
    counted = Strikes()
    for _ in range(MOST - 1):
        counted.count("first")
    for number in range(10):
        counted.count(str(number))
    counted.count("first")
    assert not counted.out("first")

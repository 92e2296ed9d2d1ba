import logging
import threading

import pytest

from service.errors import Unavailable
from service.tenants.background import Background


class Act:
    """Fails at first, then goes on, and says so."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.succeeded = threading.Event()

    def __call__(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.succeeded.set()


def test_a_failing_act_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    act = Act(Unavailable("the database is away"), RuntimeError("a surprise"))
    background = Background("looking", 0.001, act)
    with caplog.at_level(logging.WARNING):
        background.start()
        assert act.succeeded.wait(10)
        background.close()
    unavailable, surprise = caplog.records
    assert (unavailable.getMessage(), unavailable.exc_info) == ("looking failed: the database is away", None)
    assert surprise.exc_info


def test_it_starts_once_and_starts_again_after_it_was_closed() -> None:
    act = Act()
    background = Background("counted", 0.001, act)
    background.start()
    background.start()
    assert [thread.name for thread in threading.enumerate()].count("counted") == 1
    background.close()
    background.close()
    assert "counted" not in [thread.name for thread in threading.enumerate()]
    act.succeeded.clear()
    background.start()
    assert act.succeeded.wait(10)
    background.close()

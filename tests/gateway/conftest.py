"""The small application behind the gateway, on SQLite, with and without Redis."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gateway.application import Running, run, settings_of

Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts applications of one test, each on a database of its own; keywords are settings, ``plan`` the tenant's."""
    started: list[Running] = []

    def one(*, plan: str = "standard", **settings: object) -> Running:
        directory = tmp_path / str(len(started))
        directory.mkdir()
        started.append(run(settings_of(directory, **settings), plan=plan))
        return started[-1]

    yield one
    for running in started:
        running.close()


@pytest.fixture
def running(start: Start) -> Running:
    return start()

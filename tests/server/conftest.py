"""Servers: one that the tests of a module share, and those of one test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.running import Server, Start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"), body_seconds=1, threads=4)
    yield running
    running.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers of one test; their directory is ``tmp_path``."""
    started: list[Server] = []

    def one(**settings: object) -> Server:
        started.append(Server(tmp_path, **settings))
        return started[-1]

    yield one
    for running in started:
        running.close()

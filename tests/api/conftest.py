"""What the tests of the HTTP interface stand on: the whole application on SQLite, and callers of it."""

from collections.abc import Iterator

import pytest

from tests.api.callers import Caller, World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The application with an operator and two tenants that have models; tests make their own things in it."""
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.close()


@pytest.fixture
def acme(world: World) -> Caller:
    """A tenant-admin of the tenant ``acme``, which has the model ``iris``."""
    return world.acme


@pytest.fixture
def globex(world: World) -> Caller:
    """A tenant-admin of the tenant ``globex``, which has the model ``secret``."""
    return world.globex


@pytest.fixture
def operator(world: World) -> Caller:
    """An operator."""
    return world.operator


@pytest.fixture
def nobody(world: World) -> Caller:
    """A caller without a credential."""
    return world.nobody

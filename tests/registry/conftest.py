"""What the tests of the registry stand on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service import schema
from service.confinement import Confinement
from service.database import Database
from service.tenants.principal import Principal
from tests.registry.workers import Worker


@pytest.fixture(scope="session")
def confinement() -> Iterator[Confinement]:
    """One fork server for all uploads."""
    confinement = Confinement()
    yield confinement
    confinement.close()


@pytest.fixture
def worker(tmp_path: Path, confinement: Confinement) -> Iterator[Worker]:
    """One process over SQLite."""
    url = f"sqlite:///{tmp_path / 'modelward.db'}"
    schema.upgrade(url)
    database = Database(url)
    yield Worker(database, tmp_path / "artifacts", confinement)
    database.dispose()


@pytest.fixture
def either_worker(database_url: str, tmp_path: Path, confinement: Confinement) -> Iterator[Worker]:
    """One process over each database in turn."""
    schema.upgrade(database_url)
    database = Database(database_url, pool_size=8)
    yield Worker(database, tmp_path / "artifacts", confinement)
    database.dispose()


@pytest.fixture
def another_worker(either_worker: Worker, tmp_path: Path, confinement: Confinement) -> Worker:
    """A second process over what ``either_worker`` has."""
    return Worker(either_worker.database, tmp_path / "artifacts", confinement)


@pytest.fixture
def acme(worker: Worker) -> Principal:
    """Who may do everything in a tenant."""
    return worker.principal("acme")

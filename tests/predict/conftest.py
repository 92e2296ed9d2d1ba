"""What the tests of the predict path stand on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service import schema
from service.bootstrap import CONFINED
from service.confinement import Confinement
from service.database import Database
from service.tenants.principal import Principal
from tests.predict.workers import PredictWorker


@pytest.fixture(scope="session")
def confinement() -> Iterator[Confinement]:
    """One fork server for all uploads."""
    confinement = Confinement(preload=CONFINED)
    yield confinement
    confinement.close()


@pytest.fixture
def worker(tmp_path: Path, confinement: Confinement) -> Iterator[PredictWorker]:
    """One process over SQLite."""
    url = f"sqlite:///{tmp_path / 'modelward.db'}"
    schema.upgrade(url)
    database = Database(url)
    worker = PredictWorker(database, tmp_path / "artifacts", confinement)
    yield worker
    worker.loaded.close()
    database.dispose()


@pytest.fixture
def acme(worker: PredictWorker) -> Principal:
    """Who may do everything in a tenant."""
    return worker.principal("acme")

"""The predict path as one process has it, over the registry's worker."""

import threading
from pathlib import Path
from typing import Any

from service.confinement import Confinement
from service.database import Database
from service.predict.derivation import Derivation
from service.predict.loaded import LoadedModels
from service.predict.predictor import Predictor
from service.predict.results import AnswerStore, NullAnswers, Results
from service.predict.runners import Runners
from service.registry.resolution import ResolvedVersion
from service.telemetry import Telemetry
from service.tenants.usage import Usage
from tests.registry.workers import Worker

SECRET = b"thirty-two bytes for the tests.."


class Answers:
    """Keeps answers in memory, and counts how often it was asked."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.asked = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        with self._lock:
            self.asked += 1
            return self.kept.get(key)

    def set(self, key: str, value: bytes) -> None:
        with self._lock:
            self.kept[key] = value


class PredictWorker(Worker):
    """A worker of the registry that also predicts."""

    def __init__(self, database: Database, directory: Path, confinement: Confinement) -> None:
        super().__init__(database, directory, confinement)
        self.confinement = confinement
        self.answers = Answers()
        self.usage = Usage(database)
        self.runners = self.running()
        self.loaded = self.loading()
        self.predictor = self.predicting(NullAnswers())
        self.caching_predictor = self.predicting(self.answers)

    def running(self, **settings: Any) -> Runners:
        """Return what runs versions in children."""
        return Runners(self.confinement, self.store, self.telemetry, self._condemn, **settings)

    def loading(self, budget_bytes: int = 1 << 30, telemetry: Telemetry | None = None) -> LoadedModels:
        """Return an empty store of loaded models."""
        return LoadedModels(
            self.store, Derivation(self.runners), self.runners, budget_bytes, telemetry or self.telemetry
        )

    def child_of(self, version: ResolvedVersion) -> int | None:
        """Return the process that holds a version, ``None`` where there is none."""
        return self.described(version).get("pid")

    def described(self, version: ResolvedVersion) -> dict[str, Any]:
        """Return what the fork server says about the process that holds a version."""
        key = f"{version.tenant_id}/{version.digest}"
        return next((each for each in self.confinement.status()["residents"] if each["key"] == key), {})

    def _condemn(self, version: ResolvedVersion) -> None:
        self.versions.condemn(version.tenant_id, version.model, version.number, "crashed")

    def predicting(self, answers: AnswerStore) -> Predictor:
        """Return a predictor that keeps answers there."""
        return Predictor(self.resolution, self.loaded, Results(answers, SECRET), self.usage, self.telemetry)

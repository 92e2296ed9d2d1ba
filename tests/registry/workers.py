"""The registry as one process has it: real parts over a real database and a real directory."""

import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import skops.io
from sklearn.linear_model import LinearRegression, LogisticRegression

from service.artifacts.admission import Admission
from service.artifacts.store import open_store
from service.confinement import Confinement
from service.database import PLATFORM, Database
from service.errors import ModelwardError
from service.ids import random_name
from service.registry.aliases import Aliases
from service.registry.models import Models
from service.registry.resolution import Resolution
from service.registry.sweep import Sweep
from service.registry.versions import Metadata, Versions
from service.registry.views import VersionView
from service.telemetry import Telemetry
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs
from service.tenants.principal import PlanLimits, Principal
from service.tenants.scopes import Scope
from service.tenants.tables import Tenant

T = TypeVar("T")

PLAN = PlanLimits("standard", 6000, 6000, None, 100, 1 << 30, 1 << 24, 8)


class Worker:
    """One process over ``database`` and the artifacts under ``directory``."""

    def __init__(self, database: Database, directory: Path, confinement: Confinement) -> None:
        self.database = database
        self.telemetry = Telemetry()
        self.epochs = Epochs(database, interval=0.05, stale_seconds=900)
        self.audit = Audit(database)
        self.store = open_store(str(directory))
        self.models = Models(database, self.epochs, self.audit, self.store)
        self.aliases = Aliases(database, self.epochs, self.audit)
        self.versions = Versions(
            database,
            self.epochs,
            self.audit,
            self.store,
            Admission(confinement, seconds=60, memory_bytes=2 << 30),
            self.aliases,
            self.telemetry,
        )
        self.resolution = Resolution(database, self.epochs)
        self.sweep = Sweep(database, self.store)

    def principal(self, slug: str = "acme", **limits: Any) -> Principal:
        """Make a tenant, and return a principal that may do everything in it."""
        tenant_id = f"ten_{random_name()}"
        with self.database.write(PLATFORM) as session:
            session.add(Tenant(id=tenant_id, slug=f"{slug}-{tenant_id[-8:]}", name=slug, plan="standard"))
        return Principal(tenant_id, slug, "key_1", frozenset(Scope), replace(PLAN, **limits))

    def upload(self, principal: Principal, model: str = "m", data: bytes | None = None, **metadata: Any) -> VersionView:
        """Upload an artifact, by default a small regression."""
        return self.versions.upload(principal, model, data or regression(1.0), Metadata(**metadata))

    def actions(self, principal: Principal) -> list[tuple[str, str]]:
        """Return action and outcome of each audit event of the tenant, the oldest first."""
        return [(event.action, event.outcome) for event in reversed(self.audit.list(principal.tenant_id).data)]


def artifact(estimator: object) -> bytes:
    """Return the bytes of a ``.skops`` file, as a client would send them."""
    buffer = io.BytesIO()
    skops.io.dump(estimator, buffer)
    return buffer.getvalue()


def regression(slope: float) -> bytes:
    """Return a regression that answers ``slope * x0``."""
    X = np.arange(4.0).reshape(-1, 1)
    return artifact(LinearRegression(fit_intercept=False).fit(X, slope * X.ravel()))


def classifier(labels: Iterable[Any] = ("no", "yes")) -> bytes:
    """Return a classifier of two features."""
    X = np.array([[0.0, 1.0], [1.0, 0.0], [0.2, 0.9], [0.8, 0.1]])
    first, second = labels
    return artifact(LogisticRegression().fit(X, [first, second, first, second]))


def at_once(calls: Iterable[Callable[[], T]]) -> list[T | ModelwardError]:
    """Make calls in as many threads, and return what each returned or was refused with."""

    def made(call: Callable[[], T]) -> T | ModelwardError:
        try:
            return call()
        except ModelwardError as error:
            return error

    calls = list(calls)
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(made, calls))

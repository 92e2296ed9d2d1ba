"""The servers that are compared: Flask applications on granian, and Modelward in both of its forms."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import joblib
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token

from service.artifacts import serialization
from tests.benchmarks.apps import JWT_SECRET
from tests.benchmarks.asking import CACHED, FRESH, Asked, Case, checking, label_of_list
from tests.benchmarks.estimators import MODELS
from tests.benchmarks.load import request
from tests.processes.calling import Caller
from tests.servers.modelward import ROOT, Modelward
from tests.servers.subprocesses import LOOPBACK, Child, free_port, wait_until

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@contextmanager
def granian(app: str, directory: Path, *, workers: int, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Serve a Flask application of ``apps`` on granian, one blocking thread in each worker; give its URL."""
    port = free_port()
    flags = ["--interface", "wsgi", "--host", LOOPBACK, "--port", str(port), "--no-ws", "--log-level", "warning"]
    threads = ["--workers", str(workers), "--blocking-threads", "1", "--factory"]
    command = [sys.executable, "-m", "granian", *flags, *threads, f"tests.benchmarks.apps:{app}"]
    inherited = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT), **(environment or {})}
    child = Child(command, directory / f"{app}-{port}.log", environment=inherited, directory=directory)
    try:
        wait_until(lambda: _answers(f"http://{LOOPBACK}:{port}/", child), f"{app} answers", seconds=60)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        # granian waits for connections that are kept alive.
        child.kill()


def _answers(url: str, child: Child) -> bool:
    if child.returncode is not None:
        raise RuntimeError(f"it ended with {child.returncode}:\n{child.text()[-2000:]}")
    try:
        httpx2.get(url, timeout=5)
    except httpx2.TransportError:
        return False
    return True


@dataclass
class Estimators:
    """The models, fitted here, and in a file for the Flask applications."""

    fitted: dict[str, Any]
    file: Path

    @classmethod
    def fit(cls, slugs: Sequence[str], directory: Path) -> "Estimators":
        """Fit those models."""
        fitted = {slug: MODELS[slug].fitted() for slug in slugs}
        file = directory / "models.joblib"
        joblib.dump(fitted, file)
        return cls(fitted, file)

    def only(self, slugs: Sequence[str]) -> "Estimators":
        """Return those of these models that are there."""
        return Estimators({slug: self.fitted[slug] for slug in slugs if slug in self.fitted}, self.file)

    @property
    def environment(self) -> dict[str, str]:
        """What the Flask applications find them by."""
        return {"MODELS_FILE": str(self.file)}


@contextmanager
def hello(directory: Path, workers: int) -> Iterator[Case]:
    """Serve what everything is compared with."""
    with granian("hello", directory, workers=workers) as url:
        yield Case("Flask hello", "", "", workers, url, [request(url, "/", method="GET")], lambda: 0)


@contextmanager
def bare_flask(directory: Path, estimators: Estimators, workers: int) -> Iterator[list[Case]]:
    """Serve the application that does nothing but predict."""
    with granian("bare", directory, workers=workers, environment=estimators.environment) as url:
        yield list(_flask_cases("bare Flask", url, estimators, workers, {}))


@contextmanager
def usual_stack(directory: Path, estimators: Estimators, workers: int, redis: str = "") -> Iterator[list[Case]]:
    """Serve the application with the usual extensions around it, in memory or on Redis."""
    environment = {**estimators.environment, "USUAL_REDIS_URL": redis}
    name = f"Flask and the usual extensions, {'Redis' if redis else 'memory'}"
    with granian("usual", directory, workers=workers, environment=environment) as url:
        yield list(_flask_cases(name, url, estimators, workers, {"Authorization": f"Bearer {_token()}"}))


def _flask_cases(
    name: str, url: str, estimators: Estimators, workers: int, headers: Mapping[str, str]
) -> Iterator[Case]:
    for slug, fitted in estimators.fitted.items():
        asked = Asked(url, f"/{slug}", label_of_list, headers)
        yield Case(name, slug, "", workers, url, asked.requests(), checking(asked, fitted))


def _token() -> str:
    app = Flask("issuer")
    app.config |= {"JWT_SECRET_KEY": JWT_SECRET, "JWT_ACCESS_TOKEN_EXPIRES": False}
    JWTManager(app)
    with app.app_context():
        token: str = create_access_token("benchmark")
    return token


@dataclass
class Footprint:
    """Seconds to ``/readyz``, and resident and proportional bytes of each process, the largest first."""

    start_seconds: float
    resident_bytes: list[int]
    proportional_bytes: list[int]


PLAN: Final = {
    "slug": "benchmark",
    "name": "Benchmark",
    "key_requests_per_minute": 10_000_000,
    "tenant_requests_per_minute": 10_000_000,
    "rows_per_day": 100_000_000_000,
    "max_models": 1000,
    "max_bytes": 1 << 40,
    "max_body_bytes": 256 << 20,
    "max_concurrency": 256,
}


class ModelwardSystem:
    """Modelward with every guard on, and the models in a tenant whose plan is never reached.

    :param server: has its settings; ``prepare`` says which of its two forms runs.
    """

    def __init__(self, name: str, server: Modelward, workers: int) -> None:
        self.name = name
        self.server = server
        self.workers = workers
        self.key = self.admin_key = ""
        self.footprint: Footprint | None = None

    def start_up(self) -> None:
        """Start it as ``modelward up`` does, and raise the limits of its tenant."""
        self._start("up")
        found = json.loads((Path(str(self.server.settings["data_dir"])) / "quickstart.json").read_text())
        self.key = found["api_key"]
        self.admin_key = found["admin_api_key"]
        self._raise_limits("demo")

    def start_serve(self) -> None:
        """Start it as ``modelward serve`` does, and make a tenant whose limits are raised."""
        self.server.run("migrate")
        self.admin_key = self.server.json("key", "create", "--platform-admin")["key"]
        self.key = self.server.json("tenant", "create", "demo")["api_key"]
        self._start("serve")
        self._raise_limits("demo")

    def _start(self, command: str) -> None:
        began = time.perf_counter()
        self.server.start(command)
        seconds = time.perf_counter() - began
        self.footprint = Footprint(seconds, *_memory(self.server))

    def _raise_limits(self, tenant: str) -> None:
        """Put a tenant on a plan whose limits are never reached and always counted."""
        headers = {"X-API-Key": self.admin_key}
        httpx2.post(f"{self.server.url}/v1/admin/plans", json=PLAN, headers=headers).raise_for_status()
        url = f"{self.server.url}/v1/admin/tenants/{tenant}"
        httpx2.patch(url, json={"plan": PLAN["slug"]}, headers=headers).raise_for_status()

    def upload(self, estimators: Estimators, *, key: str = "") -> None:
        """Upload the models, into the tenant of another key where one is given."""
        with Caller(self.server.url, key or self.key) as caller:
            for slug, fitted in estimators.fitted.items():
                caller.uploaded(slug, serialization.dump(fitted))

    def cases(self, estimators: Estimators, modes: Sequence[str]) -> Iterator[Case]:
        """Yield a case for each model and mode."""
        for slug, fitted in estimators.fitted.items():
            asked = Asked(self.server.url, f"/v1/models/{slug}/predict", _label_of_outputs, {"X-API-Key": self.key})
            for mode in modes:
                headers = {"Cache-Control": "no-store"} if mode == FRESH else {}
                sent = asked.requests(repeated=mode == CACHED, headers=headers)
                yield Case(self.name, slug, mode, self.workers, self.server.url, sent, checking(asked, fitted))


def _label_of_outputs(answer: dict[str, Any]) -> Sequence[Any]:
    return list(answer["outputs"]["predict"])


def _memory(server: Modelward) -> tuple[list[int], list[int]]:
    """Return resident and proportional bytes of each process of a server, the largest first."""
    assert server.child is not None
    resident, proportional = [], []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) != server.child.pid:
                continue
            fields = dict(line.split(":", 1) for line in (process / "smaps_rollup").read_text().splitlines()[1:])
        except (ProcessLookupError, FileNotFoundError):
            continue
        resident.append(int(fields["Rss"].split()[0]) * 1024)
        proportional.append(int(fields["Pss"].split()[0]) * 1024)
    return sorted(resident, reverse=True), sorted(proportional, reverse=True)

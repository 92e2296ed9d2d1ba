"""Prometheus series through prometheus-flask-exporter, with every label bounded.

What every request counts gathers for a quarter of a second (``service.gateway.tallies``);
the worker that shows its series settles first. Where several workers share a directory
each writes the files of a slot, held by a lock that ends with its process; a worker that
replaces a dead one goes on in its files, so that restarts add none and nothing that was
written is lost.
"""

import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Final

from flask import Response, current_app, request
from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    values,
)
from prometheus_flask_exporter import PrometheusMetrics
from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics

from service.config import shared_metrics
from service.gateway.context import Exchange
from service.gateway.tallies import OTHER, Children, TalliedCounter, TalliedHistogram, Tallies
from service.telemetry import Telemetry
from service.tenants.background import Background

REQUEST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PREDICTION_BUCKETS: Final = (0.00001, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MOST_MODELS: Final = 1000
EXTENSION: Final = "modelward.metrics"
NO_ROUTE: Final = "none"
SETTLE_SECONDS: Final = 0.25


def exposition() -> Response:
    """Return every series of the application under way, those of all its workers."""
    metrics: Metrics = current_app.extensions[EXTENSION]
    return metrics.exposition()


class Metrics(Telemetry):
    """What is measured, and the exposition of it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        shared = shared_metrics()
        if shared is None:
            self._exporter = PrometheusMetrics(None, path=None, export_defaults=False, registry=self.registry)
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=self.registry)
        else:
            _take_slot(shared)
            self._exporter = GunicornInternalPrometheusMetrics(
                None, path=None, export_defaults=False, registry=self.registry
            )
        self._make_series()
        self._tallies = (self._requests, self._predictions, self._rows, self._lookups)
        self._settler = Background("metrics", SETTLE_SECONDS, self.settle)

    def _make_series(self) -> None:
        of_model = ("tenant", "model", "version")
        self._requests = Tallies(
            self._histogram("http_request_duration", "Requests", ("method", "route", "status"), REQUEST_BUCKETS), 10_000
        )
        self._predictions = Tallies(
            self._histogram("prediction_duration", "Runs of models", of_model, PREDICTION_BUCKETS),
            MOST_MODELS,
        )
        self._rows = Tallies(self._counter("predicted_rows", "Rows predicted", of_model), MOST_MODELS)
        self._failures: Children[TalliedCounter] = Children(
            self._counter("prediction_failures", "Predictions that failed", (*of_model, "reason")), MOST_MODELS
        )
        self._lookups = Tallies(self._counter("answer_lookups", "Kept answers asked for", ("outcome",)), 10)
        self._refusals: Children[TalliedCounter] = Children(
            self._counter("limit_refusals", "Requests over a limit", ("limit",)), 20
        )
        self._admissions: Children[TalliedHistogram] = Children(
            self._histogram("admission_duration", "Uploads admitted or not", ("outcome",), REQUEST_BUCKETS), 10
        )
        self._loads = self._histogram("model_load_duration", "Versions loaded into memory", (), REQUEST_BUCKETS)
        self._loaded_bytes = Gauge(
            "modelward_loaded_model_bytes",
            "Bytes of loaded models",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._isolated_bytes = Gauge(
            "modelward_isolated_model_bytes",
            "Bytes of models in processes of their own",
            registry=self.registry,
            multiprocess_mode="livemostrecent",
        )
        self._shadow_checks: Children[TalliedCounter] = Children(
            self._counter("shadow_checks", "Answers of compiled forms held against scikit-learn", ("result",)), 10
        )
        self._condemned: Children[TalliedCounter] = Children(
            self._counter("models_condemned", "Versions stopped because they crashed again and again", of_model),
            MOST_MODELS,
        )

    def _histogram(
        self, name: str, help_text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> TalliedHistogram:
        title = f"{help_text}."
        return TalliedHistogram(f"modelward_{name}_seconds", title, labels, registry=self.registry, buckets=buckets)

    def _counter(self, name: str, help_text: str, labels: tuple[str, ...]) -> TalliedCounter:
        return TalliedCounter(f"modelward_{name}", f"{help_text}.", labels, registry=self.registry)

    def start(self) -> None:
        """Have what is counted on every request gather from now on; a process that serves calls it once."""
        for tallies in self._tallies:
            tallies.gathers = True
        self._settler.start()

    def close(self) -> None:
        """Count what has gathered, and have nothing gather any more."""
        for tallies in self._tallies:
            tallies.gathers = False
        self._settler.close()
        self.settle()

    def settle(self) -> None:
        """Count what has gathered."""
        for tallies in self._tallies:
            tallies.settle()

    def observe(self, exchange: Exchange, response: Response) -> None:
        """Count a request, under its route and never under its path."""
        method = exchange.environ["REQUEST_METHOD"]
        seconds = time.perf_counter() - exchange.began
        self._requests.add(seconds, method if method in METHODS else OTHER, exchange.route, response.status_code)

    def refused(self, method: object, status: int) -> None:
        """Count a request that was refused before it reached the application, under no route and with no time."""
        known = method if isinstance(method, str) and method in METHODS else OTHER
        self._requests.add(0, known, NO_ROUTE, status)

    def exposition(self) -> Response:
        """Return every series of all workers, in the format that the request accepts."""
        self.settle()
        text, content_type = self._exporter.generate_metrics(request.headers.get("Accept"))
        return Response(text, content_type=content_type)

    def prediction(self, tenant: str, model: str, version: int, rows: int) -> None:
        """Count the rows of a prediction."""
        self._rows.add(rows, tenant, model, version)

    def model_ran(self, tenant: str, model: str, version: int, seconds: float) -> None:
        """Count a model's run and its time."""
        self._predictions.add(seconds, tenant, model, version)

    def prediction_failed(self, tenant: str, model: str, version: int, reason: str) -> None:
        """Count a prediction that failed."""
        self._failures.of(tenant, model, version, reason).inc()

    def answer_looked_up(self, outcome: str) -> None:
        """Count what the cache said."""
        self._lookups.add(1, outcome)

    def limit_refused(self, limit: str) -> None:
        """Count a refusal."""
        self._refusals.of(limit).inc()

    def model_loaded(self, seconds: float) -> None:
        """Count a load and its time."""
        self._loads.observe(seconds)

    def loaded_bytes(self, total: int) -> None:
        """Set the bytes of this process's models."""
        self._loaded_bytes.set(total)

    def isolated_bytes(self, total: int) -> None:
        """Set the bytes of the machine's isolated models."""
        self._isolated_bytes.set(total)

    def model_condemned(self, tenant: str, model: str, version: int) -> None:
        """Count a version that was stopped."""
        self._condemned.of(tenant, model, version).inc()

    def shadow_checked(self, result: str) -> None:
        """Count a check of an answer."""
        self._shadow_checks.of(result).inc()

    def admission(self, outcome: str, seconds: float) -> None:
        """Count an upload's admission and its time."""
        self._admissions.of(outcome).observe(seconds)


_taken: dict[Path, int] = {}
_taking: Final = threading.Lock()


def _take_slot(directory: Path) -> None:
    """Have this process's series written to the first slot that no living process holds."""
    with _taking:
        if directory in _taken:
            return
        slot = 1
        while (handle := _locked(directory / f"slot-{slot}.lock")) is None:
            slot += 1
        _taken[directory] = handle
        for stale in directory.glob(f"gauge_*_{slot}.db"):
            stale.unlink()
        values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


def _locked(path: Path) -> int | None:
    """Return the handle of a file that is now locked by this process, ``None`` where another has it."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(handle)
        return None
    return handle

"""What is measured, and that no caller makes a series."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.gateway.metrics import MOST_MODELS, PREDICTION_BUCKETS, Metrics
from tests.gateway.application import Running
from tests.gateway.conftest import Start
from tests.servers.subprocesses import wait_until

WORKER = """
import sys
from pathlib import Path
from flask import Flask
from service.gateway.metrics import Metrics
metrics = Metrics()
metrics.answer_looked_up("hit")
metrics.loaded_bytes(100)
with Flask("x").test_request_context():
    print(metrics.exposition().get_data(as_text=True))
print("END", flush=True)
sys.stdin.read()
"""


def series(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def exposed(metrics: Metrics) -> str:
    """Return what has been counted, and nothing of what gathers."""
    return generate_latest(metrics.registry).decode()


@pytest.fixture
def measured(start: Start) -> Running:
    return start(metrics_public=True)


def test_requests_are_counted_by_route_method_and_status(measured: Running) -> None:
    for _ in range(3):
        measured.ask("/models/iris", key=measured.key)
    found = series(measured.ask("/metrics").text)
    labels = (("method", "GET"), ("route", "/models/<model>"), ("status", "200"))
    assert found["modelward_http_request_duration_seconds_count", labels] == 3


def test_no_path_and_no_method_makes_a_series(measured: Running) -> None:
    for path in ("/nowhere", "/any", "/public", "/models/x"):
        measured.ask(path)
        measured.ask(path, method="BREW")
    before = len(series(measured.ask("/metrics").text))
    for number in range(200):
        measured.ask(f"/random/{number}")
        measured.ask(f"/models/{number}")
        measured.ask("/public", method=f"BREW{number}")
    measured.ask("/metrics")
    after = series(measured.ask("/metrics").text)
    assert len(after) - before <= 20
    assert "BREW" not in str(after)
    assert "random" not in str(after)


def test_refusals_are_counted_by_limit(start: Start) -> None:
    running = start(metrics_public=True, failed_logins_per_minute=1)
    for _ in range(3):
        running.ask("/any", key="mw_wrong")
    found = series(running.ask("/metrics").text)
    assert found["modelward_limit_refusals_total", (("limit", "credentials"),)] >= 1


def test_a_refusal_before_the_application_is_counted(measured: Running) -> None:
    for method in ("POST", "POST", "BREW", None):
        measured.gateway.metrics.refused(method, 503)
    found = series(measured.ask("/metrics").text)
    name = "modelward_http_request_duration_seconds_count"
    assert found[name, (("method", "POST"), ("route", "none"), ("status", "503"))] == 2
    assert found[name, (("method", "other"), ("route", "none"), ("status", "503"))] == 2


def test_models_past_the_bound_share_a_series(measured: Running) -> None:
    metrics = measured.gateway.metrics
    for number in range(MOST_MODELS + 50):
        metrics.prediction("acme", f"m{number}", 1, 10)
        metrics.model_ran("acme", f"m{number}", 1, 0.001)
        metrics.prediction_failed("acme", f"m{number}", 1, "signature_mismatch")
    found = series(measured.ask("/metrics").text)
    others = (("model", "other"), ("tenant", "other"), ("version", "other"))
    assert found["modelward_predicted_rows_total", others] == 500
    assert found["modelward_prediction_duration_seconds_count", others] == 50
    models = {dict(labels)["model"] for name, labels in found if name == "modelward_predicted_rows_total"}
    assert len(models) == MOST_MODELS + 1


def test_what_the_domain_reports_is_shown(measured: Running) -> None:
    metrics = measured.gateway.metrics
    metrics.model_loaded(0.2)
    metrics.loaded_bytes(4096)
    metrics.admission("rejected", 1.0)
    metrics.answer_looked_up("miss")
    found = series(measured.ask("/metrics").text)
    assert found["modelward_model_load_duration_seconds_count", ()] == 1
    assert found["modelward_loaded_model_bytes", ()] == 4096
    assert found["modelward_admission_duration_seconds_count", (("outcome", "rejected"),)] == 1
    assert found["modelward_answer_lookups_total", (("outcome", "miss"),)] == 1


def test_what_gathers_is_counted_as_if_it_came_one_by_one(measured: Running) -> None:
    seconds = [0.0, 0.001, 0.0011, 0.3, 0.3, 60.0]
    metrics, plain = measured.gateway.metrics, Histogram("plain", "Plain.", registry=None, buckets=PREDICTION_BUCKETS)
    metrics.start()
    try:
        for each in seconds:
            metrics.model_ran("acme", "iris", 1, each)
            metrics.prediction("acme", "iris", 1, 2)
            plain.observe(each)
        found = series(measured.ask("/metrics").text)
    finally:
        metrics.close()
    labels = (("model", "iris"), ("tenant", "acme"), ("version", "1"))
    assert found["modelward_predicted_rows_total", labels] == 2 * len(seconds)
    (expected,) = plain.collect()
    shown = {
        (name.replace("modelward_prediction_duration_seconds", "plain"), dict(of).get("le")): value
        for (name, of), value in found.items()
        if name.startswith("modelward_prediction_duration_seconds")
    }
    for sample in expected.samples:
        assert sample.name == "plain_created" or shown[sample.name, sample.labels.get("le")] == sample.value


def test_what_gathers_is_counted_by_itself(measured: Running) -> None:
    metrics = measured.gateway.metrics
    metrics.start()
    try:
        metrics.answer_looked_up("hit")
        wait_until(
            lambda: metrics.registry.get_sample_value("modelward_answer_lookups_total", {"outcome": "hit"}), "hit"
        )
    finally:
        metrics.close()


def test_one_process_shows_its_own_resources() -> None:
    assert "process_resident_memory_bytes" in str(list(Metrics().registry.collect()))


def test_workers_add_up_and_a_restart_adds_no_file(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    def worker() -> tuple[subprocess.Popen[str], dict[object, float]]:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        lines = []
        while not (line := process.stdout.readline()).startswith("END"):
            lines.append(line)
        return process, dict(series("".join(lines)))

    first, _ = worker()
    for restart in range(3):
        second, found = worker()
        assert found["modelward_answer_lookups_total", (("outcome", "hit"),)] == 2 + restart
        second.kill()
        second.communicate()
    assert len(list(tmp_path.glob("counter_*.db"))) == 2
    first.kill()
    first.communicate()

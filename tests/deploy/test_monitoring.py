"""Alerts and dashboards ask for series that the application has; promtool checks them where it is at hand."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.gateway.metrics import Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
ALERTS: dict[str, Any] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))

OF_PROMETHEUS = {"up": {"job", "instance"}}
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool", "and", "or", "unless"}


def served() -> dict[str, set[str]]:
    """Every series that `/metrics` can show, with its labels."""
    found = dict(OF_PROMETHEUS)
    for family in Metrics().registry._collector_to_names:
        labels = set(getattr(family, "_labelnames", ()))
        kind = getattr(family, "_type", "")
        name = getattr(family, "_name", "")
        if kind == "histogram":
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_count": labels, f"{name}_sum": labels}
        else:
            found[f"{name}_total" if kind == "counter" else name] = labels
    return found


def names(query: str) -> set[str]:
    """The series that a query names."""
    plain = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"|\b(?:by|without|on|ignoring)\s*\([^)]*\)", " ", query)
    return set(re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", plain)) - WORDS


def labels(query: str) -> set[str]:
    """The labels that a query selects or groups by."""
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query)
    grouped = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", query)
    return {*selected, *(label.strip() for group in grouped for label in group.split(",") if label.strip())}


def panel_queries() -> Iterator[tuple[str, str]]:
    """Each panel's title and query, and each variable's."""
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["expr"]
        for variable in dashboard["templating"]["list"]:
            (series,) = re.fullmatch(r"label_values\((.*), \w+\)", variable["definition"]).groups()
            yield f"{path.name}: ${variable['name']}", series


QUERIES = [*panel_queries(), *((rule["alert"], rule["expr"]) for rule in RULES)]


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_a_query_names_only_series_and_labels_that_exist(where: str, query: str) -> None:
    known = served()
    assert names(query) <= set(known)
    assert names(query)
    assert labels(query) <= set().union(*(known[name] for name in names(query)))


def test_every_series_of_the_application_is_on_a_dashboard_or_in_an_alert() -> None:
    asked = set().union(*(names(query) for _, query in QUERIES))
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in served() if name.startswith("modelward_")}
    assert families == {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked if name.startswith("modelward_")}


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(rule["annotations"]) == {"summary", "action"}


def test_prometheus_scrapes_modelward_with_the_token_that_compose_hands_it() -> None:
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    job = next(job for job in configuration["scrape_configs"] if job["job_name"] == "modelward")
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"] == [{"targets": ["modelward:8000"]}]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "/run/secrets/metrics_token"}
    assert configuration["rule_files"] == ["alerts.yml"]
    assert "metrics_token" in yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["prometheus"]["secrets"]


def test_grafana_finds_its_source_and_its_dashboards() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "modelward.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    for path in DASHBOARDS:
        panels = json.loads(path.read_text())["panels"]
        assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
        assert len({panel["id"] for panel in panels}) == len(panels)


def test_promtool_accepts_the_configuration_the_alerts_and_every_query(tmp_path: Path) -> None:
    for name in ("alerts.yml", "alerts_test.yml"):
        shutil.copy(PROMETHEUS / name, tmp_path)
    (tmp_path / "token").write_text("t")
    configuration = (PROMETHEUS / "prometheus.yml").read_text().replace("/run/secrets/metrics_token", "token")
    (tmp_path / "prometheus.yml").write_text(configuration)
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": as_rules()}]}))
    promtool = shutil.which("promtool")
    if promtool is None:
        tested = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
        alerts = {case["alertname"] for test in tested for case in test["alert_rule_test"]}
        assert alerts <= {rule["alert"] for rule in RULES}
        return
    for command in (
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "queries.yml"],
        ["test", "rules", "alerts_test.yml"],
    ):
        checked = subprocess.run(
            [promtool, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def as_rules() -> list[dict[str, str]]:
    """The dashboards' queries as recording rules, with Grafana's variables filled in."""
    queries = [query.replace("$__rate_interval", "5m") for _, query in panel_queries()]
    filled = [re.sub(r"\$(tenant|model)", ".*", query) for query in queries]
    return [{"record": f"query:{number}", "expr": query} for number, query in enumerate(filled)]

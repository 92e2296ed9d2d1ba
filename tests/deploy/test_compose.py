"""`deploy/compose.yaml` and what `deploy/prepare` writes for it."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.config import Settings, unsafe

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "modelward")


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `deploy/prepare` makes."""
    directory = tmp_path_factory.mktemp("deploy") / "secrets"
    prepare(directory)
    return directory


def prepare(directory: Path) -> None:
    subprocess.run([DEPLOY / "prepare", directory], check=True, capture_output=True, timeout=60)


def variables(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def environment(name: str, secrets: Path) -> dict[str, str]:
    """All variables of a service."""
    merged: dict[str, str] = {}
    for file in SERVICES[name]["env_file"]:
        merged |= variables(secrets / Path(file).name)
    return merged


def test_no_secret_stands_in_the_compose_file() -> None:
    assert [name for name, service in SERVICES.items() if "environment" in service] == []
    assert {Path(file).parent for service in SERVICES.values() for file in service.get("env_file", ())} == {
        Path("secrets")
    }


def test_every_file_that_the_compose_file_names_is_there(secrets: Path) -> None:
    mounted = [
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    ]
    files = [file for service in SERVICES.values() for file in service.get("env_file", ())]
    files += [secret["file"] for secret in COMPOSE["secrets"].values()]
    for name in (*mounted, *files):
        path = Path(name)
        assert (secrets / path.relative_to("secrets") if path.parts[0] == "secrets" else DEPLOY / path).exists(), name


def test_every_volume_and_network_and_dependency_is_declared() -> None:
    for service in SERVICES.values():
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        named = {volume.split(":")[0] for volume in service.get("volumes", ()) if not volume.startswith("./")}
        assert named <= set(COMPOSE["volumes"])


def test_modelward_runs_contained_and_reaches_no_outer_network() -> None:
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "ports" not in service
        assert all(COMPOSE["networks"][network]["internal"] for network in service["networks"])


def test_only_nginx_listens_beyond_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.pop("nginx") == ["443:443"]
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_the_server_starts_once_the_schema_is_there_and_has_longer_to_stop_than_it_drains(secrets: Path) -> None:
    service = SERVICES["modelward"]
    assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert int(service["stop_grace_period"].removesuffix("s")) > Settings().drain_seconds


def test_what_prepare_writes_is_safe_for_production(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MODELWARD_")]:
        monkeypatch.delenv(name)
    for name, value in environment("modelward", secrets).items():
        assert name.removeprefix("MODELWARD_").lower() in Settings.model_fields
        monkeypatch.setenv(name, value)
    assert unsafe(Settings()) == []


def test_the_server_never_gets_the_owners_password(secrets: Path) -> None:
    owner = variables(secrets / "postgresql.env")["MODELWARD_OWNER_PASSWORD"]
    assert owner in environment("migrate", secrets)["MODELWARD_MIGRATION_URL"]
    assert owner not in "".join(environment("modelward", secrets).values())


def test_each_password_is_the_same_on_both_ends(secrets: Path) -> None:
    server = environment("modelward", secrets)
    login = variables(secrets / "postgresql.env")["MODELWARD_LOGIN_PASSWORD"]
    valkey = variables(secrets / "valkey.env")["VALKEY_PASSWORD"]
    assert f"modelward:{login}@postgresql/modelward" in server["MODELWARD_DATABASE_URL"]
    assert f":{valkey}@valkey:6379" in server["MODELWARD_REDIS_URL"]
    assert (secrets / "metrics_token").read_text() == server["MODELWARD_METRICS_TOKEN"]


def test_nobody_else_enters_the_secrets(secrets: Path) -> None:
    assert secrets.stat().st_mode & 0o077 == 0
    assert [file.name for file in secrets.glob("*.env") if file.stat().st_mode & 0o077] == []


def test_prepare_changes_nothing_that_is_there(secrets: Path, tmp_path: Path) -> None:
    again = tmp_path / "secrets"
    shutil.copytree(secrets, again)
    prepare(again)
    for file in (each for each in secrets.rglob("*") if each.is_file()):
        assert (again / file.relative_to(secrets)).read_bytes() == file.read_bytes()

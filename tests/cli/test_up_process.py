"""``modelward up`` as somebody runs it: a process of its own, stopped and killed."""

import json
import os
import random
import shlex
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.servers.modelward import COMMAND, Modelward
from tests.servers.subprocesses import Child, wait_until

Make = Callable[..., Modelward]

ROW = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture
def server(modelward: Make) -> Modelward:
    """An installation with nothing set but the port, as on the first day."""
    return modelward(secret_key="")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modelward]:
    """One that is up, for tests that leave it as it is."""
    started = Modelward(tmp_path_factory.mktemp("up"), secret_key="")
    started.start("up")
    yield started
    started.stop()


def quickstart(server: Modelward) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(server.settings["data_dir"]) / "quickstart.json").read_text())
    return found


def printed_request(server: Modelward) -> list[str]:
    """Return the request that was printed last, as a shell reads it."""
    assert server.child is not None
    child = server.child
    wait_until(lambda: "\ncurl " in child.text(), "a request was printed")
    return shlex.split([line for line in child.text().splitlines() if line.startswith("curl ")][-1])


def answer(request: list[str]) -> Any:
    done = subprocess.run(request, capture_output=True, text=True, check=True, timeout=30)
    return json.loads(done.stdout)


def test_the_printed_request_is_answered_and_so_is_that_of_a_second_start(server: Modelward) -> None:
    server.start("up")
    first = quickstart(server)
    assert answer(printed_request(server))["outputs"] == {"predict": [0]}
    assert first["url"] == server.url
    assert server.child is not None
    assert server.child.stop(signal.SIGINT) == 0
    server.start("up")
    assert quickstart(server) == first
    assert answer(printed_request(server))["outputs"] == {"predict": [0]}
    assert server.stop() == 0


def refused(server: Modelward, *arguments: str) -> None:
    """Whatever it is asked to run, it says in one line that something runs there already."""
    done = server.run(*arguments, "--port", "0", check=False)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert f"Another Modelward is running on {server.settings['data_dir']}" in line


def test_nothing_else_serves_the_directory_of_one_that_is_up(
    running: Modelward, modelward: Make, postgresql_url: str
) -> None:
    refused(running, "up")
    directory = running.settings["data_dir"]
    refused(modelward(data_dir=directory, allow_sqlite=True), "serve")
    refused(modelward(data_dir=directory, database_url=postgresql_url), "serve")
    assert running.ready()


def test_a_server_on_sqlite_is_alone_with_its_directory(modelward: Make) -> None:
    server = modelward(allow_sqlite=True)
    server.run("migrate")
    server.start("serve")
    refused(server, "serve")
    refused(server, "up")
    server.kill()
    server.start("serve")
    assert server.stop() == 0


def test_servers_on_postgresql_share_a_directory_with_each_other_alone(modelward: Make, postgresql_url: str) -> None:
    first = modelward(database_url=postgresql_url)
    first.run("migrate")
    Path(first.settings["data_dir"]).mkdir()
    first.start("serve")
    second = modelward(database_url=postgresql_url, data_dir=first.settings["data_dir"])
    second.start("serve")
    refused(second, "up")
    assert first.stop() == second.stop() == 0


def test_ctrl_c_stops_every_process_without_a_word(server: Modelward) -> None:
    server.start("up")
    printed_request(server)
    assert server.child is not None
    os.killpg(server.child.pid, signal.SIGINT)
    assert server.child.wait() == 0
    lines = server.child.text().splitlines()
    assert not [line for line in lines if "Traceback" in line or "ERROR" in line]


def test_ctrl_c_during_the_first_start_ends_it_without_a_word(server: Modelward) -> None:
    child = Child([*COMMAND, "up"], server.log, environment=server.environment(), directory=server.directory)
    wait_until(lambda: "Migrating" in child.text(), "it is at work")
    assert child.stop(signal.SIGINT) == -signal.SIGINT
    assert "Traceback" not in child.text()


def test_port_0_picks_one_and_says_which(server: Modelward) -> None:
    server.settings["port"] = 0
    child = server.child = Child(
        [*COMMAND, "up"], server.log, environment=server.environment(), directory=server.directory
    )
    request = printed_request(server)
    assert answer(request)["model"] == "iris"
    assert quickstart(server)["url"] + "/v1/models/iris/predict" in request
    assert child.stop() == 0


def test_two_workers_over_redis_answer(modelward: Make, redis_url: str) -> None:
    server = modelward(secret_key="", redis_url=redis_url)
    server.start("up", "--workers", "2")
    assert answer(printed_request(server))["outputs"] == {"predict": [0]}


def test_its_keys_work_as_what_they_are(running: Modelward) -> None:
    found = quickstart(running)
    with httpx2.Client(base_url=running.url) as client:
        whoami = client.get("/v1/whoami", headers={"X-API-Key": found["api_key"]}).json()
        tenants = client.get("/v1/admin/tenants", headers={"X-API-Key": found["admin_api_key"]}).json()
        refused = client.get("/v1/admin/tenants", headers={"X-API-Key": found["api_key"]})
    assert whoami["tenant"] == found["tenant"] == "demo"
    assert [tenant["slug"] for tenant in tenants["data"]] == ["demo"]
    assert refused.status_code == 403


def test_other_commands_act_on_it_while_it_runs(running: Modelward) -> None:
    assert running.json("tenant", "list")["data"][0]["slug"] == "demo"
    assert running.json("doctor")["ok"]
    key = running.json("key", "create", "--tenant", "demo", "--role", "predictor")["key"]
    response = httpx2.post(f"{running.url}/v1/models/iris/predict", headers={"X-API-Key": key}, json={"inputs": [ROW]})
    assert response.json()["outputs"] == {"predict": [0]}


def test_a_first_start_that_is_killed_anywhere_is_finished_by_the_next(modelward: Make, long: bool) -> None:
    moments = random.Random(7)
    for _ in range(20 if long else 2):
        server = modelward(secret_key="")
        for _ in range(2):
            child = Child([*COMMAND, "up"], server.log, environment=server.environment(), directory=server.directory)
            try:
                child.wait(moments.uniform(0.3, 5))
            except subprocess.TimeoutExpired:
                child.kill()
        server.start("up")
        assert answer(printed_request(server))["outputs"] == {"predict": [0]}
        listed = server.json("tenant", "list")["data"]
        assert [tenant["slug"] for tenant in listed] == ["demo"]
        assert server.stop() == 0


def test_nothing_is_written_outside_the_data_directory(modelward: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    server = modelward(secret_key="")
    places = [server.directory / name for name in ("home", "temporary")]
    for variable, place in zip(("HOME", "TMPDIR"), places, strict=True):
        place.mkdir()
        monkeypatch.setenv(variable, str(place))
    for variable in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(variable)
    server.start("up")
    assert answer(printed_request(server))["outputs"] == {"predict": [0]}
    assert server.stop() == 0
    assert [path for place in places for path in place.rglob("*")] == []
    assert {path.name for path in server.directory.iterdir()} == {
        "home",
        "temporary",
        "modelward-data",
        server.log.name,
    }


def test_serve_stops_on_a_port_in_use_with_one_line(modelward: Make) -> None:
    server = modelward(allow_sqlite=True)
    server.run("migrate")
    with socket.socket() as listener:
        listener.bind((str(server.settings["host"]), int(str(server.settings["port"]))))
        listener.listen()
        done = server.run("serve", check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_serve_creates_nothing(modelward: Make) -> None:
    server = modelward(allow_sqlite=True)
    server.run("migrate")
    server.start("serve")
    assert server.json("tenant", "list") == {"data": []}
    assert server.json("key", "list", "--platform-admin") == {"data": []}
    assert not (Path(server.settings["data_dir"]) / "quickstart.json").exists()
    assert server.stop() == 0

"""``modelward bench`` against a server that runs beside it."""

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.cli.conftest import CommandLine, Setting
from tests.servers.modelward import COMMAND, Modelward
from tests.servers.subprocesses import Child, free_port, wait_until

QUICK = ("--seconds", "0.2", "--rounds", "2", "--connections", "4")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modelward]:
    """What ``modelward up`` starts, with the limits of the tenant demo lifted."""
    server = Modelward(tmp_path_factory.mktemp("up"), secret_key="")
    server.start("up")
    server.run("tenant", "change", "demo", "--plan", "unlimited")
    yield server
    server.stop()


@pytest.fixture
def bench(cli: CommandLine, running: Modelward, setting: Setting) -> CommandLine:
    """The command line beside that server."""
    setting("DATA_DIR", str(running.settings["data_dir"]))
    return cli


def quickstart(server: Modelward) -> dict[str, str]:
    found: dict[str, str] = json.loads((Path(str(server.settings["data_dir"])) / "quickstart.json").read_text())
    return found


def lookups(server: Modelward) -> dict[str, float]:
    """Return how often the server looked for a kept answer, by what came of it."""
    key = {"X-API-Key": quickstart(server)["admin_api_key"]}
    text = httpx2.get(f"{server.url}/metrics", headers=key, timeout=30).text
    found = re.findall(r'^modelward_answer_lookups_total\{outcome="(\w+)"\} (\S+)', text, re.MULTILINE)
    return {outcome: float(count) for outcome, count in found}


def since(before: dict[str, float], server: Modelward) -> dict[str, float]:
    return {outcome: count - before.get(outcome, 0) for outcome, count in lookups(server).items()}


def test_it_measures_what_it_says_cached_and_not(bench: CommandLine, running: Modelward) -> None:
    before = lookups(running)
    report = bench.json("bench", *QUICK)
    done = since(before, running)
    assert (report["url"], report["connections"]) == (running.url, 4)
    fresh, cached = report["rows"]
    assert [(row["models"], row["cached"]) for row in report["rows"]] == [(["iris"], False), (["iris"], True)]
    for row in report["rows"]:
        latency = row["latency_milliseconds"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
        assert min(row["requests_per_second_of_rounds"]) <= row["requests_per_second"]
        assert row["requests_per_second"] <= max(row["requests_per_second_of_rounds"])
        assert row["errors"] == []
        assert row["seconds"] >= 0.4
    assert done["bypass"] >= fresh["answers"] > 0
    assert done["hit"] >= cached["answers"] > 0
    assert done["miss"] <= 20


def test_people_get_a_table(bench: CommandLine) -> None:
    head, row = bench.prints("bench", *QUICK, "--no-cached").splitlines()
    assert head.split("\t") == ["what", "requests/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "errors"]
    assert row.startswith("iris, not cached\t")
    assert row.endswith("\tnone")
    assert float(bench.prints("bench", *QUICK, "--cached", "-q")) > 0


def test_several_models_are_asked_in_turn(bench: CommandLine, running: Modelward, artifact: bytes) -> None:
    key = {"X-API-Key": quickstart(running)["api_key"]}
    files = {"artifact": ("iris.skops", artifact)}
    assert httpx2.post(f"{running.url}/v1/models/other/versions", headers=key, files=files).status_code == 201
    report = bench.json("bench", *QUICK, "--no-cached", "--model", "iris", "--model", "other")
    assert [row["models"] for row in report["rows"]] == [["iris"], ["iris", "other"]]
    usage = httpx2.get(f"{running.url}/v1/usage", headers=key).json()["data"]
    rows = {entry["model"]: entry["rows"] for entry in usage}
    assert rows["other"] >= report["rows"][1]["answers"] // 2 - 4


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_it_draws(bench: CommandLine, tmp_path: Path, suffix: str, begins: bytes) -> None:
    path = tmp_path / f"bench{suffix}"
    bench.prints("bench", *QUICK, "--plot", str(path))
    assert path.read_bytes().startswith(begins)


def test_a_plot_that_cannot_be_made_is_refused_before_anything_is_measured(
    bench: CommandLine, running: Modelward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lookups(running)
    assert ".svg" in bench.refuses("bench", "--plot", "bench.pdf", code=2)
    assert "no directory" in bench.refuses("bench", "--plot", str(tmp_path / "missing" / "bench.png"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "modelward[bench]" in bench.refuses("bench", "--plot", "bench.png")
    assert sum(since(before, running).values()) == 0


def test_a_plot_that_cannot_be_written_is_named_after_the_figures(bench: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "bench.png"
    path.symlink_to(tmp_path / "missing" / "bench.png")
    result = bench.run("bench", *QUICK, "--no-cached", "--plot", str(path))
    assert result.exit_code == 1
    assert "iris, not cached" in result.stdout
    assert "cannot be written" in result.stderr


def measuring(running: Modelward, directory: Path, *options: str) -> Child:
    """Return the command in a process of its own, which measures until it is ended."""
    before = lookups(running)
    command = [*COMMAND, "bench", "--seconds", "600", "--no-cached", *options]
    child = Child(command, directory / "bench.log", environment=running.environment(), directory=running.directory)
    wait_until(lambda: since(before, running).get("bypass", 0) > 2000, "it is measuring")
    return child


def limited(running: Modelward, plan: str) -> tuple[str, str, str, str]:
    """Return the options that name a new tenant on a plan, which has a model."""
    made = running.json("tenant", "create", f"tenant-on-{plan}", "--plan", plan)
    return ("--url", running.url, "--key", made["api_key"])


def test_a_plan_with_a_limit_ends_it_by_name(bench: CommandLine, running: Modelward, artifact: bytes) -> None:
    options = limited(running, "free")
    key, files = {"X-API-Key": options[3]}, {"artifact": ("iris.skops", artifact)}
    assert httpx2.post(f"{running.url}/v1/models/iris/versions", headers=key, files=files).status_code == 201
    result = bench.run("bench", *options, *QUICK, "--seconds", "60")
    assert result.exit_code == 1
    assert re.search(r"^iris, not cached\t[1-9].* of 429 rate_limited$", result.stdout, re.MULTILINE)
    again = bench.refuses("bench", *options)
    for said in (result.stderr, again):
        assert said.count("\n") == 1
        assert "The plan's limit was reached (429 rate_limited)" in said
        assert "--plan unlimited" in said


def test_a_server_that_does_not_answer_is_named_in_one_line(bench: CommandLine, running: Modelward) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    said = bench.refuses("bench", "--url", nobody)
    assert said.count("\n") == 1
    assert nobody in said
    assert "Connection refused" in said


def test_what_the_server_refuses_is_said_in_its_words(bench: CommandLine, running: Modelward) -> None:
    assert "401 invalid_api_key" in bench.refuses("bench", "--key", "mw_wrong")
    assert "404 not_found" in bench.refuses("bench", "--model", "missing")
    assert "reaches no model" in bench.refuses("bench", *limited(running, "unlimited"))
    assert "422 signature_mismatch" in bench.refuses("bench", "--row", '["a", "b", "c", "d"]')


def test_without_a_data_directory_it_has_to_be_told(cli: CommandLine) -> None:
    assert "--url and --key" in cli.refuses("bench")
    assert "--url and --key" in cli.refuses("bench", "--url", "http://127.0.0.1:1")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://host/v1"])
def test_an_address_that_is_none_is_a_usage_error(bench: CommandLine, url: str) -> None:
    assert "http://host:port" in bench.refuses("bench", "--url", url, code=2)


@pytest.mark.parametrize("row", ["5.1", "[5.1,", "[]"])
def test_a_row_that_is_none_is_a_usage_error(bench: CommandLine, row: str) -> None:
    assert "JSON list" in bench.refuses("bench", "--row", row, code=2)


def test_a_key_that_may_only_predict_needs_a_row(bench: CommandLine, running: Modelward) -> None:
    made = running.json("key", "create", "--tenant", "demo", "--scope", "models:predict")["key"]
    options = ("bench", *QUICK, "--no-cached", "--model", "iris", "--key")
    refused = bench.refuses(*options, made)
    assert "403 missing_scope" in refused
    assert "--row" in refused
    result = bench.run(*options, "-", "--row", "[5.1, 3.5, 1.4, 0.2]", "--json", input=made + "\n")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows"][0]["answers"] > 0


def test_a_key_that_is_revoked_meanwhile_ends_it(running: Modelward, tmp_path: Path) -> None:
    made = running.json("key", "create", "--tenant", "demo", "--role", "predictor")
    child = measuring(running, tmp_path, "--key", made["key"])
    running.run("key", "revoke", "--tenant", "demo", made["id"])
    assert child.wait() == 1
    assert re.search(r"^iris, not cached\t[1-9]", child.text(), re.MULTILINE)
    assert "It ended early: 401 revoked_api_key." in child.text()


def test_ctrl_c_ends_it_with_what_was_measured_so_far(running: Modelward, tmp_path: Path) -> None:
    child = measuring(running, tmp_path)
    assert child.stop(signal.SIGINT) == 130
    assert re.search(r"^iris, not cached\t[1-9]", child.text(), re.MULTILINE), child.text()
    assert "Traceback" not in child.text()

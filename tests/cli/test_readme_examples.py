"""README's examples, run as they stand there but for the port and the key."""

import json
import re
import subprocess
import sys
from collections.abc import Callable

import pyarrow.parquet
import pytest

from service.client import Modelward as Client
from tests.servers.modelward import ROOT, Modelward

README = (ROOT / "README.md").read_text()


def example(language: str, words: str) -> str:
    """Return the one example in ``language`` that has ``words`` in it."""
    found = [block for block in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if words in block]
    assert len(found) == 1, words
    return found[0]


@pytest.fixture
def server(modelward: Callable[..., Modelward]) -> Modelward:
    """What README's first command starts."""
    started = modelward(secret_key="")
    started.start("up")
    return started


def run(server: Modelward, program: list[str]) -> str:
    environment = dict(server.environment())
    done = subprocess.run(
        program, cwd=server.directory, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(server: Modelward, words: str, key: str = "") -> str:
    return run(server, [sys.executable, "-c", adapted(server, example("python", words)).replace("mw_…", key)])


def shell(server: Modelward, text: str) -> list[dict[str, object]]:
    """Run the commands and return the JSON documents that they print."""
    printed = run(server, ["bash", "-euc", adapted(server, text)])
    decoder, documents = json.JSONDecoder(), []
    while printed := printed.strip():
        document, end = decoder.raw_decode(printed)
        documents.append(document)
        printed = printed[end:]
    return documents


def adapted(server: Modelward, text: str) -> str:
    return text.replace("http://127.0.0.1:8000", server.url)


def quickstart_key(server: Modelward) -> str:
    return str(json.loads((server.directory / "modelward-data" / "quickstart.json").read_text())["api_key"])


def test_a_model_of_your_own(server: Modelward) -> None:
    python(server, "skops.io.dump")
    upload = example("sh", "-F artifact=@")
    version, alias = shell(server, upload)
    assert (version["version"], version["status"], version["metrics"]) == (1, "ready", {"accuracy": 0.98})
    assert (alias["alias"], alias["version"]) == ("production", 1)

    key = quickstart_key(server)
    assert "'predict': [0]" in python(server, "modelward.upload", key=key)

    with Client(server.url, key) as client:
        client.promote("wine", 2)
    back = shell(server, upload.splitlines()[0] + "\n" + example("sh", "/rollback"))[0]
    assert (back["alias"], back["version"]) == ("production", 1)


def test_a_first_prediction(server: Modelward) -> None:
    answer = shell(server, example("sh", "models/iris/predict -H").replace("mw_…", quickstart_key(server)))[0]
    shown = json.loads(example("json", "prd_…"))
    assert answer | {"id": "prd_…"} == shown


def test_bulk(server: Modelward) -> None:
    python(server, "pyarrow.parquet.write_table")
    run(server, ["bash", "-euc", adapted(server, example("sh", "-T iris.parquet"))])
    answers = pyarrow.parquet.read_table(server.directory / "answers.parquet")
    assert (answers.column_names, answers.num_rows) == (["predict", "predict_proba"], 150)
    assert python(server, "predict_table", key=quickstart_key(server)) == "150 rows of ['predict_proba']\n"


def test_every_command_that_is_shown_exists() -> None:
    shown = set(re.findall(r"^(?:[A-Z_]+=\S+ )*modelward ([a-z-]+(?: [a-z]+)?)", README, re.MULTILINE))
    listed = set(re.findall(r"^\| `modelward ([a-z -]+)` \|", README, re.MULTILINE))
    assert shown
    assert {name for name in shown if name not in listed and name.split()[0] not in listed} == set()

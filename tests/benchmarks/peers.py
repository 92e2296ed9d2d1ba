"""Other servers of scikit-learn models, as their quickstarts run them, each in a virtual environment of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.benchmarks.asking import Asked, Case, checking, inputs
from tests.benchmarks.systems import ONE_THREAD, Estimators
from tests.servers.subprocesses import LOOPBACK, Child, free_port, wait_until

PROGRAMS = Path(__file__).with_name("peer_programs")
INSTALL_SECONDS = 1800
START_SECONDS = 120
QUIET = {"BENTOML_DO_NOT_TRACK": "True", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


class Unavailable(Exception):
    """The server cannot be installed or started here."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    path: Path

    @classmethod
    def of(cls, name: str, packages: Sequence[str], directory: Path) -> "Environment":
        """Return the environment with those packages, made where it is not there yet.

        :raises Unavailable: they cannot be installed.
        """
        environment = cls(directory / name)
        whole = environment.path / "whole"
        if not whole.exists():
            _run([sys.executable, "-m", "venv", "--clear", environment.path])
            _run([environment.program("python"), "-m", "pip", "install", "--quiet", *packages])
            whole.touch()
        return environment

    def program(self, name: str) -> Path:
        """Return the path of one of its programs."""
        return self.path / "bin" / name

    def variables(self, **others: str) -> dict[str, str]:
        """Return the variables under which its programs find each other."""
        path = f"{self.path / 'bin'}:{os.environ['PATH']}"
        return {**os.environ, **ONE_THREAD, **QUIET, "PATH": path, "VIRTUAL_ENV": str(self.path), **others}

    def fit(self, form: str, directory: Path, slugs: Sequence[str]) -> None:
        """Fit the models with its own scikit-learn, and write them.

        :raises Unavailable: that fails.
        """
        command = [self.program("python"), PROGRAMS / "fit.py", form, directory, *slugs]
        _run(command, environment=self.variables(), directory=directory)


def _run(command: Sequence[object], environment: dict[str, str] | None = None, directory: Path | None = None) -> None:
    texts = [str(part) for part in command]
    try:
        done = subprocess.run(
            texts, capture_output=True, text=True, env=environment, cwd=directory, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{texts[0]} did not end within {INSTALL_SECONDS} s") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["without a word"]
        raise Unavailable(f"{' '.join(texts)} ended with {done.returncode}: {lines[-1]}")


@contextmanager
def _served(command: Sequence[object], log: Path, environment: dict[str, str], ready: str) -> Iterator[None]:
    """Run a server for as long as the block lasts.

    :param ready: the URL that answers 200 once it is ready.
    :raises Unavailable: it does not become ready.
    """
    child = Child([str(part) for part in command], log, environment=environment, directory=log.parent)

    def answers() -> bool:
        if child.returncode is not None:
            raise Unavailable(f"it ended with {child.returncode}: {child.text()[-500:]}")
        try:
            return httpx2.get(ready, timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    try:
        wait_until(answers, ready, seconds=START_SECONDS, pause=0.2)
        yield
    except TimeoutError as error:
        raise Unavailable(f"it was not ready within {START_SECONDS} s: {child.text()[-500:]}") from error
    finally:
        child.stop(seconds=5)


def _case(name: str, slug: str, asked: Asked, fitted: Any) -> Case:
    return Case(name, slug, "", 1, asked.url, asked.requests(), checking(asked, fitted))


@contextmanager
def _mlserver(directory: Path, environment: Environment, estimators: Estimators) -> Iterator[list[Case]]:
    environment.fit("joblib", directory, list(estimators.fitted))
    port, others = free_port(), {"grpc_port": free_port(), "metrics_port": free_port()}
    (directory / "settings.json").write_text(json.dumps({"host": LOOPBACK, "http_port": port, **others}))
    for slug in estimators.fitted:
        (directory / slug).mkdir()
        parameters = {"uri": str(directory / f"{slug}.joblib"), "version": "1"}
        settings = {"name": slug, "implementation": "mlserver_sklearn.SKLearnModel", "parameters": parameters}
        (directory / slug / "model-settings.json").write_text(json.dumps(settings))
    url = f"http://{LOOPBACK}:{port}"
    command = [environment.program("mlserver"), "start", directory]

    def form(cells: str) -> str:
        return f'{{"inputs": [{{"name": "X", "shape": [1, 4], "datatype": "FP64", "data": [{cells}]}}]}}'

    with _served(command, directory / "log", environment.variables(), f"{url}/v2/health/ready"):
        yield [
            _case("MLServer", slug, Asked(url, f"/v2/models/{slug}/infer", _labels_of_inference, form=form), fitted)
            for slug, fitted in estimators.fitted.items()
        ]


def _labels_of_inference(answer: dict[str, Any]) -> Sequence[Any]:
    return list(answer["outputs"][0]["data"])


@contextmanager
def _bentoml(directory: Path, environment: Environment, estimators: Estimators) -> Iterator[list[Case]]:
    environment.fit("joblib", directory, list(estimators.fitted))
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    command = [environment.program("bentoml"), "serve", "bento_service:Models", "--host", LOOPBACK, "--port", port]
    (directory / "bento_service.py").write_text((PROGRAMS / "bento_service.py").read_text())
    variables = environment.variables(MODELS_DIRECTORY=str(directory), BENTOML_HOME=str(directory / "home"))
    with _served(command, directory / "log", variables, f"{url}/readyz"):
        yield [
            _case("BentoML", slug, Asked(url, "/predict", list, form=_naming(slug)), fitted)
            for slug, fitted in estimators.fitted.items()
        ]


def _naming(slug: str) -> Callable[[str], str]:
    return lambda cells: f'{{"model": "{slug}", "inputs": [[{cells}]]}}'


@contextmanager
def _mlflow(directory: Path, environment: Environment, estimators: Estimators) -> Iterator[list[Case]]:
    environment.fit("mlflow", directory, list(estimators.fitted))
    with ExitStack() as stack:
        cases = []
        for slug, fitted in estimators.fitted.items():
            port = free_port()
            url = f"http://{LOOPBACK}:{port}"
            serve = ["models", "serve", "--env-manager", "local", "--host", LOOPBACK, "--port", port]
            command = [environment.program("mlflow"), *serve, "--model-uri", directory / slug]
            log = directory / f"{slug}.log"
            stack.enter_context(_served(command, log, environment.variables(), f"{url}/ping"))
            cases.append(_case("MLflow", slug, Asked(url, "/invocations", _labels_of_predictions, form=inputs), fitted))
        yield cases


def _labels_of_predictions(answer: dict[str, Any]) -> Sequence[Any]:
    return list(answer["predictions"])


# Workers of MLServer 1.7 ask for an event loop before there is one, which later releases of uvloop refuse.
PEERS = {
    "mlserver": (("mlserver", "mlserver-sklearn", "uvloop<0.22"), _mlserver),
    "bentoml": (("bentoml", "scikit-learn"), _bentoml),
    "mlflow": (("mlflow",), _mlflow),
}


@contextmanager
def peer(name: str, environments: Path, directory: Path, estimators: Estimators) -> Iterator[list[Case]]:
    """Serve the models by another server, and give its cases.

    :param environments: where the virtual environments are kept.
    :raises Unavailable: it cannot be installed or started here, with the reason.
    """
    packages, serve = PEERS[name]
    environment = Environment.of(name, packages, environments)
    own = directory / name
    own.mkdir()
    with serve(own, environment, estimators) as cases:
        yield cases

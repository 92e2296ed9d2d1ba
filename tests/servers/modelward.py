"""Modelward itself, as an operator runs it: the real command in a process of its own."""

import json
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.servers.subprocesses import LOOPBACK, Child, free_port, wait_until

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from service.cli import main; main()")
"""Runs the package that the tests themselves import, installed or not."""

READY_SECONDS = 60
SECRET = "an-unguessable-secret-of-48-characters-for-tests"
LOGGED_LINES = 40

_made: "weakref.WeakSet[Modelward]" = weakref.WeakSet()


def logs() -> str:
    """What each running server logged last beside successes, for the report of a test that failed."""
    running = [each for each in _made if each.child is not None and each.child.returncode is None]
    return "\n".join(f"{each.url}\n{each.failures()}" for each in running)


class Modelward:
    """The command with its settings, and the server that it runs.

    :param directory: where it keeps what it writes.
    :param settings: by the names of ``service.config.Settings``.
    """

    def __init__(self, directory: Path, **settings: object) -> None:
        self.directory = directory
        self.settings = {
            "data_dir": directory / "modelward-data",
            "secret_key": SECRET,
            "host": LOOPBACK,
            "port": free_port(),
            **settings,
        }
        self.log = directory / "modelward.log"
        self.child: Child | None = None
        _made.add(self)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{self.settings['host']}:{self.settings['port']}"

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command to its end.

        :raises AssertionError: it ended with an error, with what it printed.
        """
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment(),
            cwd=self.directory,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        """Run one command with ``--json`` and return what it printed."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def start(self, *arguments: str) -> None:
        """Start a command that serves, ``serve`` when none is given, and wait until it is ready."""
        self.child = Child(
            [*COMMAND, *(arguments or ("serve",))],
            self.log,
            environment=self.environment(),
            directory=self.directory,
        )
        wait_until(self._ready, "Modelward is ready", seconds=READY_SECONDS)

    def ready(self) -> bool:
        """Whether ``/readyz`` answers with a 200."""
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    def listens(self) -> bool:
        """Whether anybody accepts connections on its port."""
        with socket.socket() as probe:
            return probe.connect_ex((str(self.settings["host"]), int(str(self.settings["port"])))) == 0

    def failures(self) -> str:
        """Return the last lines of the log, without those of requests that succeeded."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if '"status":2' not in line][-LOGGED_LINES:])

    def stop(self) -> int:
        """Ask the server to end, and return its exit code; after a while its whole group is killed."""
        return self.child.stop() if self.child is not None else 0

    def kill(self) -> None:
        """Kill each of its processes at once."""
        if self.child is not None:
            self.child.kill()

    def _ready(self) -> bool:
        assert self.child is not None
        if self.child.returncode is not None:
            raise RuntimeError(f"Modelward ended with {self.child.returncode}:\n{self.child.text()}")
        return self.ready()

    def environment(self) -> Mapping[str, str]:
        """Return the environment of the command: the tests' own, with these settings and no others."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MODELWARD_")}
        given = {f"MODELWARD_{name.upper()}": str(value) for name, value in self.settings.items()}
        return {**inherited, **given, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

"""Child processes of the tests: started, watched, ended."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
STOP_SECONDS = 40
UNPRIVILEGED = "nobody"


def free_port() -> int:
    """Return a TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_until(done: Callable[[], bool], what: str, seconds: float = 30, pause: float = 0.02) -> None:
    """Ask ``done`` until it says yes.

    :raises TimeoutError: it still says no after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(pause)


def private_directory(name: str, *, user: str | None = None) -> Path:
    """Return a new directory that only ``user``, or the present one, can enter.

    pytest's own temporary directories are closed to other users, and their paths are
    too long for a Unix socket.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"modelward-{name}-"))
    if user is not None:
        shutil.chown(directory, user)
    return directory


class Child:
    """A process with its log in a file, in a group of its own, so that all of it can be ended.

    :param command: the program and its arguments.
    :param log: the file that takes both of its output streams.
    :param user: run it as this user; needs root.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=user,
                extra_groups=[] if user else None,
                env=environment,
                cwd=directory,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id, which is its group's too."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; ``None`` while it runs."""
        return self._process.poll()

    def text(self) -> str:
        """Return what it printed so far."""
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end and return its exit code."""
        return self._process.wait(seconds)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Ask it to end, and kill its whole group when it does not within ``seconds``."""
        self.send(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.kill()

    def kill(self) -> int:
        """Kill everything in its group, as a failing machine would, and return its exit code."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait(STOP_SECONDS)

"""The door to a fork server, and the thread that keeps one running behind it."""

import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from service.confinement.places import RETRY_SECONDS
from service.confinement.wire import READY
from service.errors import Unavailable

logger = logging.getLogger(__name__)

SEND_SECONDS: Final = 5
END_SECONDS: Final = 5
LOOK_SECONDS: Final = 0.1
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 10.0


class Keeper:
    """Keeps one fork server running for this process and for those that are forked from it.

    The door is a pair of sockets. Both ends stay open here, so that orders wait in it
    while a fork server that died is replaced, and a forked worker uses it as it found it.

    :param preload: modules that the fork server imports once, before the first fork; of
        ``module:function`` it calls the function, too.
    :param budget_bytes: that children that stay may hold together.
    """

    def __init__(self, preload: Sequence[str], budget_bytes: int) -> None:
        self.owner = os.getpid()
        self.broken = False
        self._preload = tuple(preload)
        self._budget_bytes = budget_bytes
        self._door, self._inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.settimeout(SEND_SECONDS)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        # The kernel ends the fork server with the thread that started it, and this one lives as long as the process.
        self._thread = threading.Thread(target=self._keep, name="fork-server", daemon=True)
        self._thread.start()

    def send(self, order: Mapping[str, Any], sockets: Sequence[socket.socket] = (), file: int | None = None) -> None:
        """Send an order with the sockets that belong to it, and after them the descriptor of a file.

        :raises Unavailable: the fork server has more orders than it can take.
        """
        try:
            descriptors = [each.fileno() for each in sockets] + ([] if file is None else [file])
            socket.send_fds(self._door, [json.dumps(order).encode()], descriptors)
        except OSError as error:
            raise not_running() from error

    def close(self) -> None:
        """End the fork server, and with it every child; a forked process only lets go of the door."""
        if self.owner == os.getpid():
            self._stopped.set()
            with self._lock:
                if self._process is not None:
                    _end(self._process)
            self._thread.join()
        self._door.close()
        self._inside.close()

    def _keep(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            self.broken = not self._run()
            pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE) if self.broken else 0.0
            if not self._stopped.is_set():
                logger.warning("The fork server %s; it is started again", "did not start" if self.broken else "ended")

    def _run(self) -> bool:
        """Run a fork server to its end; return whether it had started at all."""
        began, begins = os.pipe()
        try:
            process = self._start(begins)
            started = process is not None and _begins(process, began)
        except OSError:
            logger.exception("No process can be started")
            return False
        finally:
            os.close(begins)
            os.close(began)
        if started:
            self.broken = False
        if process is not None:
            process.wait()
        return started

    def _start(self, ready: int) -> subprocess.Popen[bytes] | None:
        """Return a fork server that writes to ``ready`` once it serves; ``None`` where there shall be none any more."""
        inside = self._inside.fileno()
        settings = {
            "door": inside,
            "ready": ready,
            "parent": self.owner,
            "preload": self._preload,
            "budget_bytes": self._budget_bytes,
        }
        with self._lock:
            if self._stopped.is_set():
                return None
            self._process = subprocess.Popen(  # noqa: S603 - its own interpreter and modules.
                [sys.executable, "-P", "-m", "service.confinement.server", json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[inside, ready],
                env=_environment(),
                cwd="/",
                process_group=0,  # Ctrl-C in a terminal is not for it: it ends with the process that keeps it.
            )
            return self._process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _begins(process: subprocess.Popen[bytes], began: int) -> bool:
    """Wait until the process says that it serves, or has ended; return which."""
    # A worker that was forked meanwhile may hold the other end of the pipe, so that its end tells nothing.
    while not select.select([began], [], [], LOOK_SECONDS)[0]:
        if process.poll() is not None:
            return False
    return os.read(began, len(READY)) == READY


def not_running() -> Unavailable:
    """Return the error for a fork server that is not there."""
    return Unavailable(
        "The server for confined work does not run; try again.",
        code="confinement_unavailable",
        retry_after=RETRY_SECONDS,
    )


def _environment() -> dict[str, str]:
    """Return what the fork server needs to find its code and to stay single-threaded; no secret is in it."""
    path = [str(Path(entry).absolute()) for entry in sys.path if entry]
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(path),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "JOBLIB_MULTIPROCESSING": "0",
        # Of Arrow's allocators, this one can be told to give back at once what is freed. It must start no thread, and
        # keep no address space, of which a child has little.
        "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",
        "JE_ARROW_MALLOC_CONF": "background_thread:false,retain:false,dirty_decay_ms:0,muzzy_decay_ms:0",
    }

"""The processes of the workers: forked, with a line on which each says that it is ready, and ended."""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

HEEDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that the parent of the workers acts on."""

_PR_SET_PDEATHSIG: Final = 1


@dataclass(slots=True)
class WorkerProcess:
    """A worker; ``line`` says a byte when it is ready, and closes when it ends.

    ``ready_at`` and ``begun`` are moments of the monotonic clock, in seconds.
    """

    pid: int
    line: int
    begun: float
    ready_at: float | None = None
    kill_at: float | None = None

    @property
    def ready(self) -> bool:
        """Whether it answers requests."""
        return self.ready_at is not None

    def hear(self) -> bool:
        """Read what its line says; return whether it is ready, ``False`` once it has ended."""
        if not os.read(self.line, 1):
            return False
        self.ready_at = time.monotonic()
        return True

    def bury(self) -> str:
        """Let go of a process that has ended, and return how it did."""
        os.close(self.line)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return f"was killed by signal {-code}" if code < 0 else f"ended with {code}"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; one that does not listen to it yet is ended by it."""
        os.kill(self.pid, number)


def spawn(start: Callable[[Callable[[], None]], None]) -> WorkerProcess:
    """Begin a worker.

    :param start: called in it with what says that it is ready; the worker ends when it returns.
    """
    read_end, write_end = os.pipe()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal that came before the worker has forgotten its parent's handlers would be lost in them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _live(start, write_end, parent, before)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(write_end)
    return WorkerProcess(pid, read_end, time.monotonic())


def _live(start: Callable[[Callable[[], None]], None], line: int, parent: int, mask: Iterable[int]) -> NoReturn:
    """Be a worker, and end."""
    status = 1
    try:
        _forget_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _die_with(parent)
        start(lambda: _say(line))
        status = 0
    except BaseException:  # noqa: BLE001 - The parent's own code must not go on in here.
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _say(line: int) -> None:
    os.write(line, b"\n")


def _forget_signals() -> None:
    """Undo in a worker what its parent set up. Ctrl-C reaches every process of a terminal, but ends the parent."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

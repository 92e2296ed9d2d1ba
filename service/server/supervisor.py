"""Keeps as many workers as were asked for, replaces and stops them."""

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from service.config import Settings
from service.server.backoff import Backoff
from service.server.processes import HEEDED, WorkerProcess, spawn
from service.server.worker import LEAVE_SIGNAL

_log = logging.getLogger(__name__)

START_SECONDS: Final = 30
LOOK_SECONDS: Final = 1.0

STEADY_SECONDS: Final = 10.0
"""A worker that served for so long did not fail at its start."""

MOST_SUCCESSORS: Final = 5
"""Successors in a row that may fail before the workers that they were to replace stay."""

MOST_FAILURES: Final = 8
"""In a row, with no worker that serves, before the server ends: whoever started it may know what to do."""

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


class Supervisor:
    """The parent of the workers.

    A worker that ends by itself is begun again: at once, but after a growing pause where
    others before it have ended early too.

    :param start: makes a worker's shell and serves; called in each worker with what says that it is ready.
    :param on_ready: called once, when the first worker can answer.
    """

    def __init__(
        self, settings: Settings, start: Callable[[Callable[[], None]], None], on_ready: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._start = start
        self._on_ready = on_ready
        self._announced = False
        self._workers: list[WorkerProcess] = []
        self._leaving: list[WorkerProcess] = []
        self._to_replace: list[WorkerProcess] = []
        self._backoff = Backoff()
        self._stopping = False
        self._failed = False

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, and return the exit status."""
        with _signals() as caught:
            self._fill()
            while self._workers or self._leaving or not self._stopping:
                lines = [worker.line for worker in (*self._workers, *self._leaving)]
                readable, _, _ = select.select([caught, *lines], [], [], self._patience())
                for worker in [each for each in (*self._workers, *self._leaving) if each.line in readable]:
                    self._hear(worker)
                if caught in readable:
                    self._heed(os.read(caught, 64))
                self._let_go_of_replaced()
                self._fill()
                self._look()
        return int(self._failed)

    def _patience(self) -> float:
        pause = self._backoff.seconds_left(time.monotonic())
        return min(pause, LOOK_SECONDS) if pause else LOOK_SECONDS

    def _heed(self, signals: bytes) -> None:
        if any(number in signals for number in _STOPS):
            self._stop(signal.SIGTERM)
        elif signal.SIGHUP in signals and not self._stopping:
            self._to_replace = list(self._workers)
            self._backoff.succeeded()

    def _hear(self, worker: WorkerProcess) -> None:
        if worker.hear():
            if not self._announced:
                self._announced = True
                self._on_ready()
            return
        how = worker.bury()
        for several in (self._leaving, self._to_replace):
            if worker in several:
                several.remove(worker)
        if worker in self._workers:
            self._workers.remove(worker)
            self._ended_by_itself(worker, how)

    def _ended_by_itself(self, worker: WorkerProcess, how: str) -> None:
        """Decide whether to go on, and when."""
        now = time.monotonic()
        if worker.ready_at is not None and now - worker.ready_at >= STEADY_SECONDS:
            self._backoff.succeeded()
        pause = self._backoff.failed(now)
        when = "after it was ready" if worker.ready else "before it was ready"
        _log.error("worker %d %s %s; %d in a row, %.2f s until the next", worker.pid, how, when, self._failures, pause)
        serving = any(each.ready for each in self._workers)
        if not serving and not (worker.ready or (self._announced and self._failures < MOST_FAILURES)):
            self._failed = True
            self._stop(signal.SIGKILL)
        elif self._to_replace and self._failures >= MOST_SUCCESSORS:
            self._to_replace = []
            _log.error("the workers that serve are kept, because %d successors failed", self._failures)

    @property
    def _failures(self) -> int:
        return self._backoff.failures

    def _let_go_of_replaced(self) -> None:
        """Have one leave that is to be replaced, where its successor is ready."""
        ready = [worker for worker in self._workers if worker.ready]
        if self._to_replace and len(ready) > self._settings.workers:
            old = self._to_replace.pop(0)
            self._workers.remove(old)
            self._leave(old, LEAVE_SIGNAL)
            self._backoff.succeeded()

    def _fill(self) -> None:
        """Begin as many workers as are missing, and one more where some are to be replaced."""
        wanted = self._settings.workers + bool(self._to_replace)
        while len(self._workers) < wanted and not self._stopping and not self._backoff.seconds_left(time.monotonic()):
            self._workers.append(spawn(self._start))

    def _stop(self, how: signal.Signals) -> None:
        self._stopping = True
        self._to_replace = []
        while self._workers:
            self._leave(self._workers.pop(), how)

    def _leave(self, worker: WorkerProcess, how: signal.Signals) -> None:
        worker.send(how)
        worker.kill_at = time.monotonic() + self._settings.drain_seconds
        self._leaving.append(worker)

    def _look(self) -> None:
        """Kill who takes too long to leave, or to come."""
        now = time.monotonic()
        for worker in self._leaving:
            if worker.kill_at is not None and now >= worker.kill_at:
                worker.kill_at = None
                worker.send(signal.SIGKILL)
        for worker in self._workers:
            if not worker.ready and now - worker.begun > START_SECONDS and worker.kill_at is None:
                worker.kill_at = now
                worker.send(signal.SIGKILL)


@contextmanager
def _signals() -> Iterator[int]:
    """Yield a descriptor from which the numbers of heeded signals can be read as they come."""
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {each: signal.signal(each, _note) for each in HEEDED}
    woken = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    try:
        yield read_end
    finally:
        signal.set_wakeup_fd(woken)
        for each, handler in before.items():
            signal.signal(each, handler)
        os.close(read_end)
        os.close(write_end)


def _note(_signal: int, _frame: Any) -> None:
    """Do nothing: that it came is read from the descriptor."""

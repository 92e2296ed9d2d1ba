"""A small share of what compiled forms answer, held against scikit-learn while nobody waits for it.

Admission compares a form on a thousand rows of its own, and callers send others. A form
that differs on one of those is taken out of its version: here at once, for all workers
and for good through the registry.
"""

import contextlib
import logging
import math
import queue
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from service.errors import ModelwardError, Unavailable
from service.predict.runtimes import Runtime
from service.registry.resolution import ResolvedVersion
from service.runtimes.policy import NATIVE, differing
from service.telemetry import Telemetry

logger = logging.getLogger(__name__)

MOST_ROWS: Final = 100
"""Of one answer that are compared; a check is no burden to those who need scikit-learn's process."""

MOST_WAITING: Final = 16
PAUSE_SECONDS: Final = 0.5
"""Between two checks, so that a busy worker's checks stay few whatever the share."""

_SECONDS: Final = 5.0

Array: TypeAlias = np.ndarray[Any, Any]
Withdraw: TypeAlias = Callable[[ResolvedVersion, str, str], object]


@dataclass(frozen=True, slots=True)
class Answer:
    """Some rows of a request, and what each method gave for them by which form: ``given[method] = (form, values)``."""

    version: ResolvedVersion
    runtime: Runtime
    X: Array
    given: dict[str, tuple[str, Array]]


@dataclass(frozen=True, slots=True)
class _Found:
    """A form that is out, and why."""

    version: ResolvedVersion
    form: str
    reason: str


class Shadow:
    """Checks answers on a thread of its own.

    :param withdraw: takes a form out of a version for good, with the reason; may raise ``Unavailable``.
    :param share: of the computed answers that are checked, above 0 and up to 1.
    """

    def __init__(self, withdraw: Withdraw, telemetry: Telemetry, share: float, pause: float = PAUSE_SECONDS) -> None:
        self._withdraw = withdraw
        self._telemetry = telemetry
        self._share = share
        self._pause = pause
        self._until = self._drawn()
        self._waiting: queue.Queue[Answer | None] = queue.Queue(MOST_WAITING)
        self._unsaid: list[_Found] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def due(self) -> bool:
        """Whether the answer that is being computed is one of those to check."""
        # Two threads that count at once lose a count, which changes nothing but the share.
        self._until -= 1
        if self._until > 0:
            return False
        self._until = self._drawn()
        return True

    def _drawn(self) -> int:
        """Return how many answers there are to the next one, drawn so that no rhythm of callers evades it."""
        if self._share >= 1:
            return 1
        return 1 + int(math.log(1 - random.random()) / math.log(1 - self._share))  # noqa: S311 - nobody gains by a guess.

    def offer(
        self, version: ResolvedVersion, runtime: Runtime, X: Array, values: dict[str, Any], by: dict[str, str]
    ) -> None:
        """Have an answer checked, if a form gave any of it and there is room.

        :param X: the rows, of which some are copied.
        :param values: what each method gave.
        :param by: the name of what gave it.
        """
        start = random.randrange(max(1, len(X) - MOST_ROWS + 1))  # noqa: S311
        part = slice(start, start + MOST_ROWS)
        given = {
            method: (name, np.asarray(values[method])[part].copy()) for method, name in by.items() if name != NATIVE
        }
        if not given:
            return
        try:
            self._waiting.put_nowait(Answer(version, runtime, X[part].copy(), given))
        except queue.Full:
            self._telemetry.shadow_checked("dropped")

    def start(self) -> None:
        """Start checking."""
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop checking; what waits is dropped."""
        self._stopping.set()
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait(None)
            self._thread.join(_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                answer = self._waiting.get(timeout=self._pause if self._unsaid else None)
            except queue.Empty:
                answer = None
            try:
                self._say()
                if answer is not None:
                    self.check(answer)
            except Exception:
                # The next check is worth as much as this one, whatever was wrong with it.
                logger.exception("An answer could not be checked")
            self._stopping.wait(self._pause)

    def check(self, answer: Answer) -> None:
        """Compare an answer with scikit-learn's, and take out the form that gave another."""
        for method, (form, given) in answer.given.items():
            try:
                expected = np.asarray(answer.runtime.run_native(answer.X, method, _SECONDS))
            except ModelwardError as error:
                # Nothing is known: scikit-learn may be slow, away, or short of memory.
                logger.info("An answer could not be checked: %s", error)
                self._telemetry.shadow_checked("failed")
                continue
            different = differing(expected, given, answer.version.policy)
            self._telemetry.shadow_checked("different" if different.any() else "equal")
            if different.any():
                self._take_out(answer, method, form, int(different.sum()))

    def _take_out(self, answer: Answer, method: str, form: str, count: int) -> None:
        reason = f"{method} differed from scikit-learn's on {count} of {len(answer.X)} rows of a request"
        answer.runtime.take_out(form)
        self._unsaid.append(_Found(answer.version, form, reason))
        self._say()

    def _say(self) -> None:
        """Tell the registry of every form that is out; what cannot be told now is told later."""
        for found in list(self._unsaid):
            try:
                self._withdraw(found.version, found.form, found.reason)
            except Unavailable as error:
                logger.warning("A runtime that differs is out of this worker alone: %s", error)
                return
            except ModelwardError as error:
                logger.warning("A runtime that differs cannot be withdrawn: %s", error)
            self._unsaid.remove(found)

"""A daemon thread that does one thing again and again, and stops when it is told to."""

import logging
import threading
from collections.abc import Callable

from service.errors import Unavailable

logger = logging.getLogger(__name__)


class Background:
    """Calls ``act`` every ``seconds`` seconds; a call that fails is logged, and the next one comes.

    :param name: the thread's name, for log lines and thread dumps.
    """

    def __init__(self, name: str, seconds: float, act: Callable[[], object]) -> None:
        self._name = name
        self._seconds = seconds
        self._act = act
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; a second start does nothing."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop the thread, and wait for the call under way."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._act()
            except Unavailable as error:
                logger.warning("%s failed: %s", self._name, error)
            except Exception:
                # Whatever went wrong, a thread that died here would leave its worker serving
                # what was revoked, so it goes on.
                logger.exception("%s failed", self._name)

"""Sliding-window counters as storages of the ``limits`` library, several counted in one step.

A window of ``seconds`` is counted in two buckets, the present and the one before, of
which the part that still lies in the window counts. That never lets more than the limit
through at a constant pace, keeps two numbers a key, and gives the moment of the next
free place in closed form.

Storages register themselves by their URI scheme: ``modelward-memory://`` for one process;
``modelward-redis://`` (``service.gateway.shared_windows``) for all that share a Redis.
"""

import math
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from limits.storage import SlidingWindowCounterSupport, Storage

MOST_KEYS: Final = 100_000
ROUNDING: Final = 1e-6

_NOTHING: Final = (0, 0, 0)


class Entry(NamedTuple):
    """What is counted: ``limit`` a window of ``seconds`` under ``key``."""

    key: str
    limit: int
    seconds: int


class Window(NamedTuple):
    """A window as it stands after the step: both buckets' counts and how much of the present one is over."""

    limit: int
    seconds: int
    previous: int
    current: int
    elapsed: float

    @property
    def has_room(self) -> bool:
        """Whether another request fits."""
        return self._room() >= 1

    @property
    def remaining(self) -> int:
        """How many requests fit now."""
        return self.state()[0]

    @property
    def reset(self) -> int:
        """Seconds until the present bucket ends where something remains, else until the next request fits."""
        return self.state()[1]

    def state(self) -> tuple[int, int]:
        """Return ``remaining`` and ``reset`` together; every response says both."""
        room = self._room()
        if room >= 1:
            return int(room), math.ceil((1 - self.elapsed) * self.seconds) or 1
        return 0, max(1, math.ceil(self.seconds_until_room()))

    def _room(self) -> float:
        return self.limit - self.previous * (1 - self.elapsed) - self.current + ROUNDING

    def seconds_until_room(self) -> float:
        """Return after how many seconds the next request fits, where none fits now and nobody else's is counted."""
        # The previous bucket's share shrinks as time goes on; where that alone does not
        # make room, the present bucket becomes the previous one first.
        free = self.limit - self.current - 1
        if free >= 0:
            return (1 - free / self.previous - self.elapsed) * self.seconds
        later = max(0.0, 1 - (self.limit - 1) / self.current)
        return (1 - self.elapsed + later) * self.seconds


class Windows(Protocol):
    """Counts several windows in one step."""

    def acquire_all(self, entries: Sequence[Entry]) -> tuple[bool, list[Window]]:
        """Count one request under every key if it fits under every one; return whether it did, and the windows."""
        ...


class SlidingStorage(Storage, SlidingWindowCounterSupport):
    """What the ``limits`` library asks of a storage, over ``acquire_all``."""

    STORAGE_SCHEME: list[str] | None = None

    base_exceptions = Exception

    def acquire_all(self, entries: Sequence[Entry]) -> tuple[bool, list[Window]]:
        """Count one request under every key if it fits under every one."""
        raise NotImplementedError

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count one request if it fits."""
        assert amount == 1, "requests are counted one by one"
        return self.acquire_all([Entry(key, limit, expiry)])[0]

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return both buckets' counts, each with the seconds until it ends."""
        # A limit that nothing fits under counts nothing, so this only looks.
        _, (window,) = self.acquire_all([Entry(key, 0, expiry)])
        left = (1 - window.elapsed) * expiry
        return window.previous, left, window.current, left + expiry

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Refuse."""
        raise NotImplementedError("windows end by themselves")

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Refuse."""
        raise NotImplementedError("only sliding windows are counted here")

    def get(self, key: str) -> int:
        """Refuse."""
        raise NotImplementedError("only sliding windows are counted here")

    def get_expiry(self, key: str) -> float:
        """Refuse."""
        raise NotImplementedError("only sliding windows are counted here")

    def check(self) -> bool:
        """Whether the storage answers."""
        return True

    def reset(self) -> int | None:
        """Refuse."""
        raise NotImplementedError("windows end by themselves")

    def clear(self, key: str) -> None:
        """Refuse."""
        raise NotImplementedError("windows end by themselves")


class MemoryWindows(SlidingStorage):
    """Counts in the memory of one process.

    ``clock`` gives seconds; it is the wall clock, so that the windows are those of Redis.
    """

    STORAGE_SCHEME: list[str] | None = ["modelward-memory"]  # noqa: RUF012

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_options: Any) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self.clock = time.time
        self._buckets: dict[str, tuple[float, int, int]] = {}
        self._lock = threading.Lock()

    def acquire_all(self, entries: Sequence[Entry]) -> tuple[bool, list[Window]]:
        """Count one request under every key if it fits under every one."""
        now = self.clock()
        windows, counts = [], {}
        fits = True
        with self._lock:
            for key, limit, seconds in entries:
                index = now // seconds
                counted, previous, current = self._buckets.get(key, _NOTHING)
                if counted != index:
                    previous, current = (current if counted == index - 1 else 0), 0
                current += 1
                elapsed = now / seconds - index
                if previous * (1 - elapsed) + current > limit + ROUNDING:
                    fits = False
                counts[key] = (index, previous, current)
                windows.append(Window(limit, seconds, previous, current, elapsed))
            if fits:
                self._buckets.update(counts)
                if len(self._buckets) > MOST_KEYS:
                    self._forget()
        return fits, windows if fits else [window._replace(current=window.current - 1) for window in windows]

    def _forget(self) -> None:
        """Drop the half that was first counted longest ago: callers choose some of the keys."""
        for key in list(self._buckets)[: MOST_KEYS // 2]:
            del self._buckets[key]

"""A page of memory on which a resident child writes what it does, and its fork server reads it.

It costs no system call, and what stands on it outlives the child. A child that was taken
over can write what it likes there, which decides about nobody but itself.
"""

import mmap
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

Origin: TypeAlias = tuple[int, int]
"""A connection, and the number of a request on it."""

MOST_RUNNING: Final = 256
"""Requests that a resident answers together at most."""

_TIMES: Final = struct.Struct("=dd")
_COUNT: Final = struct.Struct("=I")
_ORIGIN: Final = struct.Struct("=QQ")
_ORIGINS_AT: Final = 32
_BYTES: Final = 8192


class Board:
    """Times are seconds of the monotonic clock, which all processes of a machine share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _BYTES)

    def begin(self, running: Sequence[Origin]) -> None:
        """Write down that these requests run from now on."""
        for place, origin in enumerate(running[:MOST_RUNNING]):
            _ORIGIN.pack_into(self._memory, _ORIGINS_AT + place * _ORIGIN.size, *origin)
        _COUNT.pack_into(self._memory, _TIMES.size, min(len(running), MOST_RUNNING))
        _TIMES.pack_into(self._memory, 0, time.monotonic(), self.last_used)

    def end(self) -> None:
        """Write down that nothing runs any more."""
        _TIMES.pack_into(self._memory, 0, 0.0, time.monotonic())
        _COUNT.pack_into(self._memory, _TIMES.size, 0)

    @property
    def busy_since(self) -> float:
        """When what runs now began; 0 where nothing runs."""
        since: float = _TIMES.unpack_from(self._memory)[0]
        return since

    @property
    def last_used(self) -> float:
        """When something ended last; 0 where nothing has yet."""
        last: float = _TIMES.unpack_from(self._memory)[1]
        return last

    @property
    def running(self) -> list[Origin]:
        """The requests that run, or that ran when the child died."""
        return list(self._running())

    def keep_from_forks(self) -> None:
        """Leave the page out of children that are forked from here on."""
        self._memory.madvise(mmap.MADV_DONTFORK)

    def close(self) -> None:
        """Let go of the page."""
        self._memory.close()

    def _running(self) -> Iterator[Origin]:
        (count,) = _COUNT.unpack_from(self._memory, _TIMES.size)
        for place in range(min(count, MOST_RUNNING)):
            connection, number = _ORIGIN.unpack_from(self._memory, _ORIGINS_AT + place * _ORIGIN.size)
            yield connection, number

"""Whose request is answered next: callers take turns by their weights, however many requests each has waiting.

This is start-time fair queueing (Goyal, Vin and Cheng, 1996): each request is marked with
the moment of a virtual clock at which its caller has had its share of what came before, and
the lowest mark goes first. The clock stands at the mark of the request that was taken last,
so whoever was away has saved nothing up, and is behind nobody who has had more.
"""

import heapq
from collections import deque
from itertools import count
from typing import Final, Generic, TypeVar

T = TypeVar("T")

REMEMBERED: Final = 1024
"""Callers with nothing waiting whose last mark is kept; those behind the clock decide nothing any more."""


class _Waiting(Generic[T]):
    """What waits of one caller; ``weight`` is that of its newest request."""

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.weight = 1


class Turns(Generic[T]):
    """What waits, by caller; each caller's own in the order of its coming, and none twice.

    Somebody who sends from a thousand connections at once is ahead of another of its weight
    by no more than one request.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting[T]] = {}
        self._marks: list[tuple[float, int, str]] = []
        """Of the first that waits of each caller, a heap; the numbers keep the order of those that are equal."""
        self._shares: dict[str, float] = {}
        """Up to where on the clock each caller has had its share."""
        self._clock = 0.0
        self._numbers = count()
        self._items: set[T] = set()

    def __bool__(self) -> bool:
        return bool(self._marks)

    @property
    def callers(self) -> int:
        """How many callers something waits of."""
        return len(self._marks)

    def add(self, caller: str, item: T, weight: int = 1) -> None:
        """Have an item wait behind all others of its caller; one that waits already keeps its place.

        :param weight: how many requests of this caller are answered while one is of a caller of weight 1, where
            both have enough of them waiting; at least 1.
        """
        if item in self._items:
            return
        self._items.add(item)
        waiting = self._waiting.get(caller)
        if waiting is None:
            waiting = self._waiting[caller] = _Waiting()
            self._mark(caller)
        waiting.items.append(item)
        waiting.weight = weight

    def next(self) -> T:
        """Take the item whose turn it is.

        :raises IndexError: nothing waits.
        """
        self._clock, _, caller = heapq.heappop(self._marks)
        waiting = self._waiting[caller]
        item = waiting.items.popleft()
        self._items.discard(item)
        self._shares[caller] = self._clock + 1 / waiting.weight
        if waiting.items:
            self._mark(caller)
        else:
            del self._waiting[caller]
            self._forget()
        return item

    def _mark(self, caller: str) -> None:
        mark = max(self._clock, self._shares.get(caller, 0.0))
        heapq.heappush(self._marks, (mark, next(self._numbers), caller))

    def _forget(self) -> None:
        if not self._marks:
            self._shares.clear()
            self._clock = 0.0
        elif len(self._shares) > REMEMBERED + len(self._marks):
            self._shares = {caller: share for caller, share in self._shares.items() if share > self._clock}

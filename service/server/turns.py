"""Whose request is answered next: callers take turns, however many requests each of them has waiting."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits, by caller; each caller's own in the order of its coming, and none twice.

    Somebody who sends from a thousand connections at once is ahead of nobody by more than one.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        self._items: set[T] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def callers(self) -> int:
        """How many callers something waits of."""
        return len(self._waiting)

    def add(self, caller: str, item: T) -> None:
        """Have an item wait behind all others of its caller; one that waits already keeps its place."""
        if item in self._items:
            return
        self._items.add(item)
        waiting = self._waiting.get(caller)
        if waiting is None:
            waiting = self._waiting[caller] = deque()
        waiting.append(item)

    def next(self) -> T:
        """Take an item of the caller who has waited longest for a turn.

        :raises KeyError: nothing waits.
        """
        caller, waiting = self._waiting.popitem(last=False)
        item = waiting.popleft()
        self._items.discard(item)
        if waiting:
            self._waiting[caller] = waiting
        return item

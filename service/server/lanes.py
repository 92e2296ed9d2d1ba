"""Shares a worker's threads out, so that no caller who waits for slow work takes all of them.

Whoever has its share waits on the loop, where that costs a suspended coroutine, while
the other threads go on answering others. Everything here is called on the loop alone.
"""

import asyncio
from typing import NamedTuple

from service.server.requests import Refusal


class Lane(NamedTuple):
    """Whose request it is.

    ``most`` is how many they may have under way in this process, waiting ones included;
    ``weight`` how many of theirs are answered for one of a caller of weight 1, where both wait.
    """

    name: str
    most: int
    weight: int = 1


class _Places:
    """The places of a lane, and how many requests have one or wait for one."""

    def __init__(self, share: int) -> None:
        self.free = asyncio.Semaphore(share)
        self.under_way = 0


class Lanes:
    """Places in the threads, by lane.

    :param threads: of the worker; a quarter of them, and one at least where there are more, is left to others.
    """

    def __init__(self, threads: int) -> None:
        self.share = max(1, threads - max(1, threads // 4))
        self._lanes: dict[str, _Places] = {}

    def enter(self, lane: Lane) -> None:
        """Have a request under way, until it leaves.

        :raises Refusal: the lane has as many as it may.
        """
        places = self._lanes.get(lane.name) or _Places(self.share)
        if places.under_way >= lane.most:
            raise Refusal(
                503,
                "too_many_under_way",
                f"The caller has {places.under_way} requests under way, which is all that it may have.",
                retry_after=1,
            )
        places.under_way += 1
        self._lanes[lane.name] = places

    def leave(self, lane: Lane) -> None:
        """Have it under way no more."""
        places = self._lanes[lane.name]
        places.under_way -= 1
        if not places.under_way:
            del self._lanes[lane.name]

    def place(self, lane: Lane) -> asyncio.Semaphore:
        """Return what a request that is under way waits for, and holds while it has a thread."""
        return self._lanes[lane.name].free

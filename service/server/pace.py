"""Decides which requests run on the event loop itself and which in a thread.

A hop into a thread and back costs more than a warm prediction. Running everything on
the loop is faster, and one request that waits for a disk or a database then holds up
all others. So a route earns the loop by what it took lately, and loses it at once.

A request in a thread waits for its turn at the interpreter, so its wall time says
little when many run; its processor time does, with a generous bound on the wall. On the
loop, the wall time is the truth, but that a busy machine stops a process now and then for
longer than many requests take: one long run is no reason yet, a second one soon after it
is. Everything here is called on the loop alone.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FAST_SECONDS: Final = 0.002
PATIENT_SECONDS: Final = 0.020
STALL_SECONDS: Final = 0.050
STALLS_APART: Final = 2.0
"""Two within so many seconds are no chance."""

SAMPLES: Final = 4
ROUTES: Final = 1024
FIRST_PENALTY: Final = 1.0
LAST_PENALTY: Final = 64.0

_WEIGHT: Final = 0.2
"""Of the last run in what a route takes on the loop."""

_LONGEST: Final = 4 * FAST_SECONDS
"""What a run counts for at most: of a quick route, less than would make it a slow one by itself."""


@dataclass(slots=True)
class _Route:
    seconds: float = 0.0
    quick_runs: int = 0
    on_loop: bool = False
    barred_until: float = 0.0
    penalty: float = FIRST_PENALTY

    def bar(self, now: float) -> None:
        if now > self.barred_until + LAST_PENALTY:
            self.penalty = FIRST_PENALTY
        self.on_loop = False
        self.quick_runs = 0
        self.seconds = 0.0
        self.barred_until = now + self.penalty
        self.penalty = min(self.penalty * 2, LAST_PENALTY)


class Pace:
    """What each route, that is method and path, took lately; the least recently used are forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._routes: OrderedDict[str, _Route] = OrderedDict()
        self._last_stall = -STALLS_APART
        self._stalled_until = 0.0
        self._stall_penalty = FIRST_PENALTY

    def is_quick(self, key: str) -> bool:
        """Whether a request of that route may run on the loop."""
        route = self._routes.get(key)
        return route is not None and route.on_loop and (not self._stalled_until or self._recovered())

    def ran_in_thread(self, key: str, wall: float, processor: float) -> None:
        """Note what a request took in a thread, in seconds."""
        route = self._route(key)
        if processor >= FAST_SECONDS or wall >= PATIENT_SECONDS:
            route.quick_runs = 0
            return
        route.quick_runs += 1
        if route.quick_runs >= SAMPLES and self._clock() >= route.barred_until:
            route.on_loop = True

    def ran_on_loop(self, key: str, wall: float) -> None:
        """Note what a request took on the loop, in seconds."""
        route = self._routes.get(key) or self._route(key)
        route.seconds += _WEIGHT * (min(wall, _LONGEST) - route.seconds)
        if wall >= STALL_SECONDS and self._stalls_again():
            # Something that is usually quick had to wait, so others will have to as well: for
            # a while nothing runs on the loop.
            now = self._clock()
            route.bar(now)
            self._stalled_until = now + self._stall_penalty
            self._stall_penalty = min(self._stall_penalty * 2, LAST_PENALTY)
        elif route.seconds >= FAST_SECONDS:
            route.bar(self._clock())

    def _stalls_again(self) -> bool:
        """Note that a run took very long; return whether another one did lately."""
        now = self._clock()
        again = now - self._last_stall <= STALLS_APART
        self._last_stall = now
        return again

    def waits(self, key: str) -> None:
        """Note that a request waited for another process, or was about to on the loop, whatever it took."""
        route = self._route(key)
        if route.on_loop:
            route.bar(self._clock())
        route.quick_runs = 0

    def _recovered(self) -> bool:
        now = self._clock()
        if now < self._stalled_until:
            return False
        if now > self._stalled_until + LAST_PENALTY:
            self._stalled_until, self._stall_penalty = 0.0, FIRST_PENALTY
        return True

    def _route(self, key: str) -> _Route:
        route = self._routes.get(key)
        if route is None:
            route = self._routes[key] = _Route()
            if len(self._routes) > ROUTES:
                self._routes.popitem(last=False)
        else:
            self._routes.move_to_end(key)
        return route

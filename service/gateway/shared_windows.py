"""Sliding-window counters in Redis, for all processes that share it.

A caller with a high limit would pay a round trip for each request. So a process takes a
few places ahead, at most a hundredth of the limit with all other workers of its server,
and gives them out by itself. Places are taken before they are used, so that never more
than the limit gets through; what is not given out by the end of its minute is lost.

A caller over its limit would pay that round trip for each refusal, and all others with it.
Nothing that anybody does makes room in a window but time, so a refusal says until when
there will be none, and until then the process refuses by itself.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.gateway.breaker import Away, Breaker
from service.gateway.windows import Entry, MemoryWindows, SlidingStorage, Window

MOST_LEASES: Final = 100_000
LEASED_SHARE: Final = 100
"""All workers of a server together hold at most one part in so many of a limit ahead of its use."""

# Redis's own clock counts, so that machines whose clocks differ share their windows. For each
# key there are a limit, the seconds of a window, and the places wanted; none asks for a look.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local found, fits = {}, 1
for i, key in ipairs(KEYS) do
  local limit, seconds, wanted = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local index = math.floor(now / seconds)
  local held = redis.pcall('HMGET', key, 'i', 'p', 'c')
  if held.err then redis.call('DEL', key); held = {} end
  local counted = tonumber(held[1] or '') or 0
  local previous, current = tonumber(held[2] or '') or 0, tonumber(held[3] or '') or 0
  if counted == index - 1 then previous, current = current, 0
  elseif counted ~= index then previous, current = 0, 0 end
  local elapsed = now / seconds - index
  local room = math.floor(limit - previous * (1 - elapsed) - current + 0.000001)
  if wanted > 0 and room < 1 then fits = 0 end
  found[i] = {index, previous, current, elapsed, seconds, math.min(wanted, room)}
end
local out = {fits, now}
for i, key in ipairs(KEYS) do
  local index, previous, current, elapsed, seconds, taken = unpack(found[i])
  if fits == 1 and taken > 0 then
    current = current + taken
    redis.call('HSET', key, 'i', index, 'p', previous, 'c', current)
    redis.call('EXPIRE', key, 2 * seconds)
  end
  out[#out + 1] = previous
  out[#out + 1] = current
  out[#out + 1] = elapsed
  out[#out + 1] = math.max(taken, 0)
end
return table.concat(out, ' ')
"""


@dataclass(slots=True)
class _Lease:
    """Places of one bucket of a window that this process may give out: ``left`` of those that ``window`` counts."""

    window: Window
    index: int
    left: int

    def holds(self, entry: Entry, now: float) -> bool:
        return (
            self.left > 0
            and self.window.limit == entry.limit
            and self.window.seconds == entry.seconds
            and self.index == now // entry.seconds
        )

    def is_like(self, other: "_Lease") -> bool:
        """Whether both hold places of the same bucket of the same window."""
        return self.index == other.index and self.window[:2] == other.window[:2]

    def give(self, now: float) -> Window:
        self.left -= 1
        limit, seconds, previous, current, _ = self.window
        return Window(limit, seconds, previous, current - self.left, now / seconds - self.index)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """That there is no room under the ``full`` entries before ``until``; ``windows`` were seen at ``moment``."""

    full: list[Entry]
    windows: list[Window]
    moment: float
    until: float

    def at(self, now: float) -> list[Window]:
        """Return the windows as they stand at another moment; one whose bucket has ended stands at its end."""
        passed = now - self.moment
        return [window._replace(elapsed=min(1.0, window.elapsed + passed / window.seconds)) for window in self.windows]


class RedisWindows(SlidingStorage):
    """Counts in Redis, over all processes, in one round trip or none; while it is away, in this process.

    :param breaker: the Redis to count in, and whether it is worth asking.
    :param workers: processes of this server, which share what may be taken ahead.
    """

    STORAGE_SCHEME: list[str] | None = ["modelward-redis"]  # noqa: RUF012

    def __init__(
        self, uri: str | None = None, wrap_exceptions: bool = False, *, breaker: Breaker, workers: int = 1
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self.clock = time.time
        self._breaker = breaker
        self._script = breaker.client.register_script(_TAKE)
        self._share = LEASED_SHARE * workers
        self._fallback = MemoryWindows()
        self._lock = threading.Lock()
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        self._taking: set[str] = set()
        """Keys of which a thread takes several places just now."""
        self._refusals: OrderedDict[tuple[Entry, ...], _Refusal] = OrderedDict()
        self._ahead = 0.0

    def acquire_all(self, entries: Sequence[Entry]) -> tuple[bool, list[Window]]:
        """Count one request under every key if it fits under every one."""
        now = self.clock() + self._ahead
        fits, wanted = False, [0] * len(entries)
        with self._lock:
            if self._refusals and (refusal := self._refused(tuple(entries), now)):
                return False, refusal.at(now)
            leases = [self._lease(entry, now) for entry in entries]
            # A place of each lease is this request's while Redis is asked for the others.
            given = [lease.give(now) if lease else None for lease in leases]
            if all(leases):
                return True, [window for window in given if window is not None]
            wanted = [0 if lease else self._wanted(entry) for lease, entry in zip(leases, entries, strict=True)]
        try:
            fits, moment, found = self._take(entries, wanted)
            if not fits:
                windows = [window for window, _ in found]
                self._remember_refusal(entries, wanted, windows, moment)
                return False, windows
            with self._lock:
                return True, [
                    window or self._given(entry.key, *each, moment)
                    for window, entry, each in zip(given, entries, found, strict=True)
                ]
        except Away:
            return self._fallback.acquire_all(entries)
        finally:
            with self._lock:
                self._taking -= {entry.key for entry, many in zip(entries, wanted, strict=True) if many > 1}
                for entry, lease in zip(entries, leases, strict=True):
                    if lease and not fits:
                        self._put_back(entry.key, lease)

    def _refused(self, entries: tuple[Entry, ...], now: float) -> _Refusal | None:
        """Return why they are refused for now, unless places of what was full have been taken meanwhile."""
        refusal = self._refusals.get(entries)
        if refusal is None or any(self._lease(entry, now) for entry in refusal.full):
            return None
        if now >= refusal.until:
            del self._refusals[entries]
            return None
        return refusal

    def _remember_refusal(
        self, entries: Sequence[Entry], wanted: list[int], windows: list[Window], moment: float
    ) -> None:
        asked = [(entry, window) for entry, many, window in zip(entries, wanted, windows, strict=True) if many]
        full = [(entry, window) for entry, window in asked if entry.limit > 0 and not window.has_room]
        if not full:
            return  # It was a look, which asks for a place under a limit of none.
        until = moment + max(window.seconds_until_room() for _, window in full)
        with self._lock:
            self._refusals[tuple(entries)] = _Refusal([entry for entry, _ in full], windows, moment, until)
            if len(self._refusals) > MOST_LEASES:
                self._refusals.popitem(last=False)

    def _lease(self, entry: Entry, now: float) -> _Lease | None:
        lease = self._leases.get(entry.key)
        return lease if lease is not None and lease.holds(entry, now) else None

    def _put_back(self, key: str, lease: _Lease) -> None:
        """Put a place back that was not used, into the lease that another thread has got since, if one has."""
        present = self._leases.get(key, lease)
        (present if present.is_like(lease) else lease).left += 1

    def _wanted(self, entry: Entry) -> int:
        """Return how many places to ask for; one, where another thread takes several of that key just now."""
        ahead = entry.limit // self._share
        if ahead <= 1 or entry.key in self._taking:
            return 1
        self._taking.add(entry.key)
        return ahead

    def _take(self, entries: Sequence[Entry], wanted: list[int]) -> tuple[bool, float, list[tuple[Window, int]]]:
        """Take places; none at all, unless there is one of each that is wanted.

        :returns: whether there was, the moment, and for each entry its window and the places taken.
        """
        arguments: list[int] = []
        for entry, many in zip(entries, wanted, strict=True):
            arguments += (entry.limit, entry.seconds, many)
        keys = [entry.key for entry in entries]
        # One text is read faster than a list of numbers.
        answer, moment, *counts = self._breaker.call(lambda: self._script(keys, arguments)).split()
        now = float(moment)
        self._ahead = now - self.clock()
        quadruples = zip(entries, counts[::4], counts[1::4], counts[2::4], counts[3::4], strict=True)
        found = [
            (Window(entry.limit, entry.seconds, int(previous), int(current), float(elapsed)), int(taken))
            for entry, previous, current, elapsed, taken in quadruples
        ]
        return answer == b"1", now, found

    def _given(self, key: str, window: Window, taken: int, now: float) -> Window:
        """Return a window with one of the places taken given out, and keep the others."""
        if taken <= 1:
            return window
        lease, before = _Lease(window, int(now // window.seconds), taken), self._leases.get(key)
        if before is not None and before.is_like(lease):
            # A place that was put back meanwhile.
            lease.left += before.left
        self._leases[key] = lease
        if len(self._leases) > MOST_LEASES:
            self._leases.popitem(last=False)
        return lease.give(now)

    def check(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(self._breaker.call(self._breaker.client.ping))
        except Away:
            return False

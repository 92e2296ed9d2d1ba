"""The daily quota of rows: taken in memory, or in Redis where there is one.

Far from the end of a quota each process goes on by itself for a while and tells Redis
later, so that few calls wait for a round trip. All workers of a server together keep at
most a hundredth of the quota to themselves: that is what a quota may be exceeded by.

While Redis is away each process goes on from the last count that it saw there, and adds
what Redis missed once it is back. Callers never wait to find out whether it is: a thread
asks once a second. The same thread begins the next day shortly before midnight, when
every count of it is known to be zero, so that no call of a tenant that is at work reads SQL.

A count in Redis has a name, drawn when it was begun from the rows on record. A process
that knew another one adds only those of its rows that the record could not hold then.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from redis import Redis, RedisError

from service.tenants.background import Background

PROBE_SECONDS: Final = 1
DAY_SECONDS: Final = 24 * 3600

KEPT_SHARE: Final = 100
"""Redis has yet to hear of at most one part in so many of a quota, from all workers of a server."""

NEARLY: Final = 0.9
"""Of a quota; from here on every call asks Redis."""

_PREPARE_SECONDS: Final = 60
"""How long before midnight the next day is begun."""

_TAKE: Final = """
local found = redis.call('HMGET', KEYS[1], 'rows', 'name')
if not found[1] then return {-1, 0, ''} end
local used = tonumber(found[1])
if ARGV[2] ~= '0' then
  if found[2] ~= ARGV[4] then return {-2, used, found[2]} end
  used = redis.call('HINCRBY', KEYS[1], 'rows', ARGV[2])
end
if used + ARGV[1] > tonumber(ARGV[3]) then return {0, used, found[2]} end
return {1, redis.call('HINCRBY', KEYS[1], 'rows', ARGV[1]), found[2]}
"""
_BEGIN: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'rows', ARGV[1], 'name', ARGV[2])
return redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
_JOIN: Final = """
if redis.call('HGET', KEYS[1], 'name') ~= ARGV[3] then return 0 end
if redis.call('HINCRBY', KEYS[1], 'rows', ARGV[1]) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'rows', ARGV[2])
end
return 1
"""
_LOST: Final = -1
_NO_LIMIT: Final = 1 << 62

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Today:
    """A tenant's rows of a day as far as this process knows, and those that Redis has yet to hear of.

    ``name`` is that of the count in Redis that it saw last.
    """

    day: int
    rows: int
    unsent: int = 0
    name: str = ""


class RowQuota:
    """Counts each tenant's rows of the day (UTC).

    :param redis: shared counts, with short time limits; ``None`` counts in this process alone.
    :param recorded: of a tenant, by its id, and a day: the rows on record, and those that this
        process has yet to put there. Asked at the first call of a tenant that was not at work
        the day before, and where Redis has lost its count.
    :param workers: processes of this server that count for themselves.
    :param clock: seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        redis: Redis | None,
        recorded: Callable[[str, int], tuple[int, int]],
        *,
        workers: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._share = KEPT_SHARE * workers
        self._take, self._begin, self._join = (
            redis.register_script(script) if redis is not None else None for script in (_TAKE, _BEGIN, _JOIN)
        )
        self._recorded = recorded
        self._clock = clock
        self._days: dict[tuple[str, int], _Today] = {}
        self._lock = threading.Lock()
        self._away = threading.Event()
        self._thread = Background("quota", PROBE_SECONDS, self._tend)

    def take(self, tenant_id: str, rows: int, limit: int | None) -> bool:
        """Count rows, unless more than ``limit`` would be counted today; return whether they were."""
        today = self._of(tenant_id)
        asks = limit is not None and self._take is not None and not self._away.is_set()
        if limit is not None and asks and not self._keeps(today, rows, limit):
            try:
                return self._take_shared(tenant_id, today, rows, limit)
            except RedisError as error:
                self._away.set()
                logger.warning("Redis is away, daily quotas are counted in each process: %s", error)
        return self._take_alone(today, rows, limit)

    def _keeps(self, today: _Today, rows: int, limit: int) -> bool:
        """Whether so few rows are unsent, and so many left, that Redis may hear of these later."""
        few = today.unsent + rows <= limit // self._share
        return few and bool(today.name) and today.rows + rows <= limit * NEARLY

    def give_back(self, tenant_id: str, rows: int, day: int) -> None:
        """Count rows of a day no longer; Redis hears of it with the next ones that are taken."""
        with self._lock:
            today = self._days.get((tenant_id, day))
            if today is not None:
                today.rows -= rows
                if self._redis is not None:
                    today.unsent -= rows

    def used(self, tenant_id: str) -> int:
        """Return the rows counted today, as far as this process can tell."""
        today = self._of(tenant_id)
        if self._redis is not None and not self._away.is_set():
            try:
                shared = cast("bytes | None", self._redis.hget(_key(tenant_id, today.day), "rows"))
                return max(today.rows, int(shared or 0) + today.unsent)
            except RedisError:
                self._away.set()
        return today.rows

    def probe(self) -> None:
        """Ask whether Redis is back, if it was away."""
        if self._redis is not None and self._away.is_set():
            try:
                self._redis.ping()
            except RedisError:
                return
            self._away.clear()
            logger.info("Redis is back, daily quotas are shared again")

    def prepare(self) -> None:
        """Begin the next day of every tenant at work, if midnight is near, and forget the days before today."""
        day, past = divmod(int(self._clock()), DAY_SECONDS)
        following = []
        with self._lock:
            for (tenant_id, known), today in list(self._days.items()):
                if known < day:
                    del self._days[tenant_id, known]
                elif today.rows and past >= DAY_SECONDS - _PREPARE_SECONDS and (tenant_id, day + 1) not in self._days:
                    self._days[tenant_id, day + 1] = _Today(day + 1, 0)
                    following.append(tenant_id)
        if self._redis is None or self._away.is_set():
            return
        try:
            for tenant_id in following:
                self._begin_shared(tenant_id, day + 1, 0)
        except RedisError:
            self._away.set()

    def start(self) -> None:
        """Start asking in the background whether Redis is back, and beginning days."""
        self._thread.start()

    def close(self) -> None:
        """Stop that, with nothing left unsent."""
        self._thread.close()
        self.send()

    def _tend(self) -> None:
        self.probe()
        self.send()
        self.prepare()

    def send(self) -> None:
        """Tell Redis of the rows that it has yet to hear of."""
        if self._take is None or self._away.is_set():
            return
        with self._lock:
            behind = [(tenant_id, today) for (tenant_id, _), today in self._days.items() if today.unsent and today.name]
        try:
            for tenant_id, today in behind:
                self._take_shared(tenant_id, today, 0, _NO_LIMIT)
        except RedisError:
            self._away.set()

    def _of(self, tenant_id: str) -> _Today:
        day = int(self._clock()) // DAY_SECONDS
        today = self._days.get((tenant_id, day))
        if today is None:
            rows = sum(self._recorded(tenant_id, day))
            with self._lock:
                today = self._days.setdefault((tenant_id, day), _Today(day, rows))
        return today

    def _take_alone(self, today: _Today, rows: int, limit: int | None) -> bool:
        with self._lock:
            if limit is not None and today.rows + rows > limit:
                return False
            today.rows += rows
            if self._redis is not None:
                today.unsent += rows
            return True

    def _take_shared(self, tenant_id: str, today: _Today, rows: int, limit: int) -> bool:
        with self._lock:
            unsent, today.unsent = today.unsent, 0
        try:
            outcome, used, name = self._run(tenant_id, today, rows, unsent, limit)
            while outcome < 0:
                if self._settle(tenant_id, today, unsent, outcome, name):
                    unsent = 0
                outcome, used, name = self._run(tenant_id, today, rows, unsent, limit)
        except RedisError:
            with self._lock:
                today.unsent += unsent
            raise
        with self._lock:
            today.rows, today.name = max(today.rows, used), name
        return outcome > 0

    def _run(self, tenant_id: str, today: _Today, rows: int, unsent: int, limit: int) -> tuple[int, int, str]:
        assert self._take is not None
        answer = self._take(keys=[_key(tenant_id, today.day)], args=[rows, unsent, limit, today.name])
        outcome, used, name = cast("list[Any]", answer)
        return int(outcome), int(used), bytes(name).decode()

    def _settle(self, tenant_id: str, today: _Today, unsent: int, outcome: int, name: str) -> bool:
        """Make good what Redis lost; return whether it knows of all that was unsent now.

        :param outcome: ``_LOST`` where it has no count, else another process began the one of that name.
        """
        written, unwritten = self._recorded(tenant_id, today.day)
        on_record = written + unwritten
        if outcome == _LOST:
            return self._begin_shared(tenant_id, today.day, max(on_record, today.rows))
        assert self._join is not None
        # What was on record when that count was begun is in it; the record of now is the least it can be.
        missed = min(unsent, max(unwritten, 0)) if unsent > 0 else max(unsent, min(unwritten, 0))
        return bool(self._join(keys=[_key(tenant_id, today.day)], args=[missed, on_record, name]))

    def _begin_shared(self, tenant_id: str, day: int, rows: int) -> bool:
        assert self._begin is not None
        name = os.urandom(8).hex()
        return bool(self._begin(keys=[_key(tenant_id, day)], args=[rows, name, 2 * DAY_SECONDS]))


def day_number() -> int:
    """Return the days from 1970-01-01 to today, in UTC."""
    return int(time.time()) // DAY_SECONDS


def _key(tenant_id: str, day: int) -> str:
    return f"modelward:rows:{day}:{tenant_id}"

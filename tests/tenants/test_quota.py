from collections.abc import Callable

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.tenants.quota import DAY_SECONDS, RowQuota, day_number
from tests.servers.proxy import Fault, FaultyProxy
from tests.servers.redis import RedisServer, StoppableRedis

TENANT = "ten_a"
LIMIT = 10_000


class Record:
    """The rows of one tenant and day on record, and what a process counts and has yet to put there."""

    def __init__(self) -> None:
        self.written = 0

    def process(self, url: str) -> "Process":
        """Return a process that shares the record."""
        return Process(self, redis.Redis.from_url(url, socket_timeout=0.2, retry=Retry(NoBackoff(), 0)))


class Process:
    """A process that takes rows, and writes them down when it is told to."""

    def __init__(self, record: Record, client: redis.Redis) -> None:
        self.record = record
        self.client = client
        self.unwritten = 0
        # Among so many workers none has a row to keep to itself, so every call asks.
        self.quota = RowQuota(client, lambda _tenant, _day: (record.written, self.unwritten), workers=LIMIT)

    def take(self, rows: int) -> None:
        assert self.quota.take(TENANT, rows, LIMIT)
        self.unwritten += rows

    def flush(self) -> None:
        self.record.written += self.unwritten
        self.unwritten = 0


def shared(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.hget(f"modelward:rows:{day_number()}:{TENANT}", "rows") or 0)  # type: ignore[arg-type]


def recorded(_tenant_id: str, _day: int) -> tuple[int, int]:
    return 3, 2


def test_a_probe_finds_out_whether_redis_is_back(stoppable_redis: StoppableRedis) -> None:
    with redis.Redis.from_url(stoppable_redis.url, socket_timeout=1) as client:
        quota = RowQuota(client, recorded)
        assert quota.take("ten_a", 1, 10)
        stoppable_redis.kill()
        assert quota.take("ten_a", 1, 10)
        quota.probe()
        stoppable_redis.start()
        assert client.dbsize() == 0
        assert quota.take("ten_a", 1, 10)
        assert client.dbsize() == 0
        quota.probe()
        assert not quota.take("ten_a", 3, 10)
        assert quota.take("ten_a", 2, 10)
        assert client.dbsize() == 1
        assert quota.used("ten_a") == 10


def test_without_redis_there_is_nothing_to_probe() -> None:
    quota = RowQuota(None, recorded)
    quota.start()
    quota.probe()
    assert quota.take("ten_a", 5, 10)
    assert not quota.take("ten_a", 1, 10)
    quota.close()


@pytest.mark.parametrize("late", [0, 10])
def test_rows_on_record_are_not_added_again_to_a_count_that_redis_lost(
    stoppable_redis: StoppableRedis, late: int
) -> None:
    record = Record()
    first, second = (record.process(stoppable_redis.url) for _ in range(2))
    for process in (first, second):
        process.take(1)
    stoppable_redis.kill()
    for process in (first, second):
        process.take(99)
        process.flush()
    if late:
        second.take(late)
    stoppable_redis.start()
    for process in (first, second):
        process.quota.probe()
        process.take(1)
    assert shared(stoppable_redis.url) == 202 + late
    assert [process.quota.used(TENANT) for process in (first, second)] == [202 + late] * 2


def test_rows_on_record_are_added_to_a_count_that_redis_kept(
    redis_server: RedisServer, redis_url: str, faulty_proxy: Callable[[int], FaultyProxy]
) -> None:
    port = redis.connection.parse_url(redis_url)["port"]
    proxy = faulty_proxy(port)
    record = Record()
    near, far = record.process(redis_url), record.process(redis_url.replace(f":{port}", f":{proxy.port}"))
    for process in (near, far):
        process.take(1)
    proxy.inject(Fault.REFUSE)
    for process in (near, far):
        process.take(99)
        process.flush()
    assert shared(redis_url) == 101
    proxy.inject(Fault.NONE)
    far.quota.probe()
    far.take(1)
    assert shared(redis_url) == 201
    assert near.quota.used(TENANT) == 201


def test_a_process_that_begins_without_redis_brings_the_count_to_the_record(
    redis_server: RedisServer, redis_url: str, faulty_proxy: Callable[[int], FaultyProxy]
) -> None:
    port = redis.connection.parse_url(redis_url)["port"]
    proxy = faulty_proxy(port)
    proxy.inject(Fault.REFUSE)
    record = Record()
    near, far = record.process(redis_url), record.process(redis_url.replace(f":{port}", f":{proxy.port}"))
    for process, rows in ((near, 1), (far, 50)):
        process.take(rows)
        process.flush()
    proxy.inject(Fault.NONE)
    far.quota.probe()
    far.take(1)
    assert shared(redis_url) == 52


@pytest.mark.parametrize("over_redis", [False, True])
def test_the_next_day_is_begun_before_midnight_and_needs_no_look_into_the_record(
    redis_url: str, over_redis: bool
) -> None:
    looks: list[int] = []

    def look(_tenant: str, day: int) -> tuple[int, int]:
        looks.append(day)
        return 5, 0

    midnight = (day_number() + 1) * DAY_SECONDS
    clock = [midnight - 3600.0]
    with redis.Redis.from_url(redis_url) as client:
        quota = RowQuota(client if over_redis else None, look, clock=lambda: clock[0])
        assert quota.take(TENANT, 1, 10)
        looked = len(looks)
        assert quota.used(TENANT) == 6
        for moment in (midnight - 1800, midnight - 30, midnight - 20, midnight + 1):
            clock[0] = moment
            quota.prepare()
        assert quota.take(TENANT, 10, 10)
        assert not quota.take(TENANT, 1, 10)
        assert quota.used(TENANT) == 10
    assert len(looks) == looked


def test_a_tenant_that_first_calls_after_midnight_is_looked_up_once() -> None:
    looks: list[int] = []

    def look(_tenant: str, day: int) -> tuple[int, int]:
        looks.append(day)
        return 5, 0

    quota = RowQuota(None, look)
    for _ in range(3):
        assert quota.take(TENANT, 1, 10)
    assert looks == [day_number()]


def test_rows_kept_for_later_cost_no_round_trip_and_exceed_the_quota_by_a_hundredth_at_most(
    redis_server: RedisServer, redis_url: str
) -> None:
    clients = [redis.Redis.from_url(redis_url) for _ in range(2)]
    workers = [RowQuota(client, lambda _tenant, _day: (0, 0), workers=2) for client in clients]
    limit = 10_000
    before = clients[0].info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    early = [worker.take(TENANT, 1, limit) for _ in range(2000) for worker in workers]
    calls = clients[0].info("commandstats")["cmdstat_evalsha"]["calls"] - before
    assert all(early)
    assert calls < 200
    taken = len(early) + [worker.take(TENANT, 1, limit) for _ in range(5000) for worker in workers].count(True)
    assert limit <= taken <= limit * 1.01
    for worker in workers:
        worker.send()
    assert shared(redis_url) == taken
    for client in clients:
        client.close()

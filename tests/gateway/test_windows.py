"""Sliding windows, over every storage in turn."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from limits import RateLimitItemPerHour
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import Redis

from service.bootstrap import connect_redis
from service.gateway.breaker import Breaker
from service.gateway.shared_windows import LEASED_SHARE, RedisWindows
from service.gateway.windows import Entry, MemoryWindows, Window, Windows
from tests.servers.redis import RedisServer


@pytest.fixture(params=["memory", "redis"])
def windows(request: pytest.FixtureRequest) -> Windows:
    if request.param == "memory":
        return MemoryWindows()
    server = request.getfixturevalue("redis_server")
    server.empty()
    return RedisWindows(breaker=Breaker(connect_redis(server.url)))


HOUR = 3600


@pytest.fixture(autouse=True)
def _within_one_hour() -> None:
    """Let no bucket of an hour end during a test."""
    left = HOUR - time.time() % HOUR
    if left < 10:
        time.sleep(left)


def test_as_many_as_the_limit_fit_and_no_more(windows: Windows) -> None:
    entry = Entry("k", 5, HOUR)
    outcomes = [windows.acquire_all([entry])[0] for _ in range(8)]
    assert outcomes == [True] * 5 + [False] * 3


def test_the_state_says_what_is_left(windows: Windows) -> None:
    _, (first,) = windows.acquire_all([Entry("k", 3, HOUR)])
    assert (first.remaining, first.limit, first.seconds) == (2, 3, HOUR)
    assert 1 <= first.reset <= HOUR


def test_a_request_counts_under_every_key_or_under_none(windows: Windows) -> None:
    narrow, wide = Entry("{t}a", 1, HOUR), Entry("{t}b", 10, HOUR)
    assert windows.acquire_all([narrow, wide])[0]
    assert not windows.acquire_all([narrow, wide])[0]
    _, (counted,) = windows.acquire_all([wide])
    assert counted.current == 2


def test_who_waits_as_long_as_was_said_gets_through(windows: Windows) -> None:
    entry = Entry("k", 3, 2)
    for _ in range(6):
        fits, (window,) = windows.acquire_all([entry])
        if not fits:
            time.sleep(window.reset)
            assert windows.acquire_all([entry])[0]


def test_no_sliding_window_holds_more_than_the_limit(windows: Windows) -> None:
    entry = Entry("k", 20, 1)
    taken = []
    end = time.monotonic() + 3.2
    while time.monotonic() < end:
        if windows.acquire_all([entry])[0]:
            taken.append(time.monotonic())
        time.sleep(0.002)
    assert len(taken) <= 20 * 4 + 1


def test_many_threads_share_one_limit_exactly(windows: Windows) -> None:
    entry = Entry("k", 100, HOUR)
    taken = []

    def take() -> None:
        taken.extend(windows.acquire_all([entry])[0] for _ in range(50))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken.count(True) == 100


def test_the_library_finds_the_storages_by_their_schemes(redis_url: str) -> None:
    breaker = Breaker(connect_redis(redis_url))
    for uri, options in (("modelward-memory://", {}), ("modelward-redis://", {"breaker": breaker})):
        limiter = SlidingWindowCounterRateLimiter(storage_from_string(uri, **options))
        item = RateLimitItemPerHour(2)
        assert [limiter.hit(item, uri) for _ in range(3)] == [True, True, False]
        assert limiter.get_window_stats(item, uri).remaining == 0
        assert not limiter.test(item, uri)


@pytest.mark.parametrize("poison", ["text", "hash", "list"])
def test_whatever_lies_in_redis_under_a_key_is_overwritten(redis_url: str, poison: str) -> None:
    with Redis.from_url(redis_url) as client:
        if poison == "text":
            client.set("k", b"\x80\x04garbage")
        elif poison == "hash":
            client.hset("k", mapping={"i": "x", "p": "nan", "c": b"\xff"})
        else:
            client.lpush("k", "a")
    windows = RedisWindows(breaker=Breaker(connect_redis(redis_url)))
    entry = Entry("k", 2, HOUR)
    assert [windows.acquire_all([entry])[0] for _ in range(3)] == [True, True, False]


def test_the_memory_forgets_the_oldest_keys() -> None:
    windows = MemoryWindows()
    for number in range(150_000):
        windows.acquire_all([Entry(str(number), 1, HOUR)])
    assert len(windows._buckets) <= 100_000


@pytest.mark.parametrize("elapsed", [0.0, 0.1, 0.5, 0.999])
@pytest.mark.parametrize(("previous", "current"), [(0, 10), (10, 0), (10, 5), (5, 10), (100, 10), (0, 30), (10, 9)])
def test_the_wait_is_enough_and_hardly_more(previous: int, current: int, elapsed: float) -> None:
    window = Window(10, 60, previous, current, elapsed)
    wait = window.reset
    if window.has_room:
        return
    assert later(window, wait).has_room
    assert not later(window, wait - 1.001).has_room


def later(window: Window, seconds: float) -> Window:
    turns, elapsed = divmod(window.elapsed + max(seconds, 0) / window.seconds, 1)
    if turns == 0:
        return window._replace(elapsed=elapsed)
    if turns == 1:
        return window._replace(previous=window.current, current=0, elapsed=elapsed)
    return window._replace(previous=0, current=0, elapsed=elapsed)


def test_places_taken_ahead_cost_one_round_trip_and_never_more_than_the_limit(redis_server: RedisServer) -> None:
    redis_server.empty()
    client = connect_redis(redis_server.url)
    workers = [RedisWindows(breaker=Breaker(connect_redis(redis_server.url)), workers=2) for _ in range(2)]
    limit = 10 * 2 * LEASED_SHARE
    entry, wide = Entry("{t}k", limit, HOUR), Entry("{t}w", 3 * limit, HOUR)
    before = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    admitted = [worker.acquire_all([entry, wide])[0] for _ in range(limit) for worker in workers].count(True)
    calls = client.info("commandstats")["cmdstat_evalsha"]["calls"] - before
    assert limit * 0.99 <= admitted <= limit
    assert calls < limit / 4 + (2 * limit - admitted)


def test_threads_that_take_ahead_at_once_lose_no_place_and_give_out_none_twice(redis_server: RedisServer) -> None:
    redis_server.empty()
    client = connect_redis(redis_server.url)
    windows = RedisWindows(breaker=Breaker(connect_redis(redis_server.url)), workers=2)
    keys, tenant = [Entry(f"{{t}}k{number}", 600, HOUR) for number in range(3)], Entry("{t}t", 4000, HOUR)

    def take(number: int) -> list[bool]:
        return [windows.acquire_all([keys[number % len(keys)], tenant])[0] for _ in range(300)]

    with ThreadPoolExecutor(9) as threads:
        taken = list(threads.map(take, range(9)))
    for number in range(len(keys)):
        assert sum(map(sum, taken[number :: len(keys)])) == 600
    lease = windows._leases[tenant.key]
    assert int(client.hget(tenant.key, "c") or 0) - lease.left == 3 * 600


def test_who_is_over_the_limit_costs_no_round_trip_until_there_is_room(redis_server: RedisServer) -> None:
    redis_server.empty()
    client = connect_redis(redis_server.url)
    windows = RedisWindows(breaker=Breaker(connect_redis(redis_server.url)))
    narrow, wide = Entry("{t}n", 2, 3), Entry("{t}w", 1000, HOUR)
    assert [windows.acquire_all([narrow, wide])[0] for _ in range(3)] == [True, True, False]

    def calls() -> int:
        return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])

    before = calls()
    refused = [windows.acquire_all([narrow, wide]) for _ in range(50)]
    assert calls() == before
    assert not any(fits for fits, _ in refused)
    waits = [each[0].reset for _, each in refused]
    assert waits == sorted(waits, reverse=True)
    assert windows.acquire_all([wide])[0]
    time.sleep(waits[-1])
    assert windows.acquire_all([narrow, wide])[0]
    assert windows.acquire_all([narrow._replace(limit=50), wide])[0]


def test_places_that_another_thread_brings_are_used_after_a_refusal(redis_server: RedisServer) -> None:
    redis_server.empty()
    windows = RedisWindows(breaker=Breaker(connect_redis(redis_server.url)))
    entry = Entry("k", 600, HOUR)
    for _ in range(600):
        assert windows.acquire_all([entry])[0]
    assert not windows.acquire_all([entry])[0]
    lease = windows._leases[entry.key]
    lease.left += 1
    assert windows.acquire_all([entry])[0]
    assert not windows.acquire_all([entry])[0]


def test_the_state_counts_what_was_given_out_and_not_what_was_taken_ahead(redis_server: RedisServer) -> None:
    redis_server.empty()
    windows = RedisWindows(breaker=Breaker(connect_redis(redis_server.url)))
    entry = Entry("k", 50 * LEASED_SHARE, HOUR)
    assert [windows.acquire_all([entry])[1][0].current for _ in range(60)] == list(range(1, 61))


def test_a_refused_request_gives_out_no_place_of_another_key(redis_server: RedisServer) -> None:
    redis_server.empty()
    windows = RedisWindows(breaker=Breaker(connect_redis(redis_server.url)))
    narrow, wide = Entry("{t}n", 1, HOUR), Entry("{t}w", 50 * LEASED_SHARE, HOUR)
    outcomes = [windows.acquire_all([narrow, wide]) for _ in range(3)]
    assert [fits for fits, _ in outcomes] == [True, False, False]
    assert windows.acquire_all([wide])[1][0].current == 2

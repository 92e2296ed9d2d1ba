"""Kept answers: bytes in, the same bytes out, or a miss."""

import pickle
import socket
import time
from collections.abc import Iterator

import pytest
from flask import Flask
from redis import Redis

from service.bootstrap import connect_redis
from service.gateway.breaker import Breaker
from service.gateway.caching import (
    PREFIX,
    Answers,
    BoundedMemory,
    SharedAnswers,
    answers,
    cache_status,
    caching_asked,
)
from service.predict.results import Caching, NullAnswers
from tests.gateway.application import settings_of
from tests.servers.subprocesses import wait_until

SECRET = b"s" * 32


@pytest.fixture
def memory() -> BoundedMemory:
    return BoundedMemory(100_000, 60)


@pytest.fixture
def redis(redis_server: object, redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


def shared(redis_url: str, secret: bytes = SECRET) -> SharedAnswers:
    return SharedAnswers(Breaker(connect_redis(redis_url)), BoundedMemory(100_000, 60), 60, secret)


def test_an_answer_is_found_again(memory: BoundedMemory) -> None:
    memory.set("a", b"1")
    memory.set("a", b"2")
    assert memory.get("a") == b"2"
    assert memory.get("b") is None


def test_an_answer_is_kept_for_its_time(memory: BoundedMemory) -> None:
    memory.set("a", b"1", timeout=1)
    assert memory.get("a") == b"1"
    time.sleep(1.05)
    assert memory.get("a") is None


def test_the_memory_is_bounded_in_bytes_and_the_least_used_go_first(memory: BoundedMemory) -> None:
    for number in range(100):
        memory.set(str(number), b"x" * 5000)
        memory.get("0")
    assert memory._held <= 100_000
    assert memory.get("0") is not None
    assert memory.get("1") is None
    assert memory.get("99") is not None


def test_an_answer_that_would_drive_out_all_others_is_not_kept(memory: BoundedMemory) -> None:
    memory.set("small", b"1")
    memory.set("large", b"x" * 50_000)
    assert memory.get("large") is None
    assert memory.get("small") == b"1"


def test_what_one_process_keeps_another_finds(redis: Redis, redis_url: str) -> None:
    here, there = shared(redis_url), shared(redis_url)
    here.set("tenant/digest/key", b"\x00\xffbytes")
    here.flush()
    assert there.get("tenant/digest/key") == b"\x00\xffbytes"
    assert 0 < redis.ttl(PREFIX + "tenant/digest/key") <= 60


def test_what_is_kept_reaches_the_others_by_itself(redis: Redis, redis_url: str) -> None:
    here = shared(redis_url)
    here.set("alone", b"1")
    wait_until(lambda: redis.exists(PREFIX + "alone"), "the answer is in Redis")


def test_many_answers_are_written_together_and_none_is_left_behind(redis: Redis, redis_url: str) -> None:
    here, there = (
        SharedAnswers(Breaker(connect_redis(redis_url)), BoundedMemory(32 << 20, 60), 60, SECRET),
        shared(redis_url),
    )
    sizes = [1] * 300 + [3_000_000, 700_000, 700_000, 1]
    kept = {f"together/{number}": b"x" * size for number, size in enumerate(sizes)}
    for key, value in kept.items():
        assert here.set(key, value)
    here.flush()
    assert here._waiting_bytes == 0
    assert redis.mget([PREFIX + key for key in kept]).count(None) == 0
    assert there.get("together/299") == b"x"
    assert redis.strlen(PREFIX + "together/300") == 3_000_000 + 16


@pytest.mark.parametrize("poison", [b"", b"short", b"x" * 100, pickle.dumps({"a": 1}), b"\x80\x04\x95garbage"])
def test_what_somebody_else_puts_into_redis_is_a_miss(redis: Redis, redis_url: str, poison: bytes) -> None:
    redis.set(PREFIX + "a", poison)
    assert shared(redis_url).get("a") is None


def test_a_value_of_another_type_is_a_miss_and_no_outage(redis: Redis, redis_url: str) -> None:
    redis.lpush(PREFIX + "a", "x")
    store = shared(redis_url)
    assert store.get("a") is None
    assert not store._breaker._open


def test_an_answer_moved_to_another_key_or_changed_is_a_miss(redis: Redis, redis_url: str) -> None:
    store = shared(redis_url)
    store.set("a", b"of a")
    store.flush()
    kept = redis.get(PREFIX + "a")
    assert isinstance(kept, bytes)
    redis.set(PREFIX + "b", kept)
    redis.set(PREFIX + "a", kept[:-1] + b"x")
    assert shared(redis_url).get("b") is None
    assert shared(redis_url).get("a") is None
    assert shared(redis_url, b"t" * 32).get("a") is None


def test_where_nothing_repeats_redis_is_seldom_asked(redis: Redis, redis_url: str) -> None:
    store = shared(redis_url)
    before = int(redis.info("commandstats")["cmdstat_get"]["calls"]) if redis.get("none") is None else 0
    for number in range(2000):
        store.get(str(number))
    asked = int(redis.info("commandstats")["cmdstat_get"]["calls"]) - before
    assert asked < 512 + 2000 / 32 + 2
    store.set("again", b"1")
    store.flush()
    other = shared(redis_url)
    assert other.get("again") == b"1"


def test_the_settings_choose_the_store(tmp_path: object, redis_url: str) -> None:
    def chosen(**settings: object) -> object:
        made = settings_of(tmp_path, **settings)
        breaker = Breaker(connect_redis(made.redis_url)) if made.redis_url else None
        return answers(Flask(__name__), made, breaker)

    assert isinstance(chosen(cached_answers_bytes=0), NullAnswers)
    assert isinstance(chosen(cached_answers_seconds=0), NullAnswers)
    for store in (chosen(), chosen(redis_url=redis_url)):
        assert isinstance(store, Answers)
        store.set("a", b"1")
        assert store.get("a") == b"1"


@pytest.mark.parametrize(
    ("control", "read", "write"),
    [
        (None, True, True),
        ("max-age=0", True, True),
        ("no-cache", False, True),
        ("No-Store", False, False),
        ("no-cache, no-store", False, False),
    ],
)
def test_a_caller_says_whether_an_answer_is_read_and_kept(control: str | None, read: bool, write: bool) -> None:
    assert caching_asked(control) == Caching(read=read, write=write)


def test_a_cache_status_is_that_of_rfc_9211() -> None:
    assert [cache_status(outcome) for outcome in ("hit", "miss", "bypass")] == [
        "modelward; hit",
        "modelward; fwd=miss",
        "modelward; fwd=bypass",
    ]


def test_what_waits_to_be_written_is_bounded_in_bytes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Redis(port=silent.getsockname()[1], socket_timeout=5)
        store = SharedAnswers(Breaker(client), BoundedMemory(100_000, 60), 60, SECRET)
        assert not store.set("large", b"x" * 50_000)
        kept = [store.set(str(number), b"x" * 10_000) for number in range(20)]
        assert kept == [True] * 9 + [False] * 11
        silent.accept()[0].close()
        store.flush()
        assert store.set("later", b"x" * 10_000)
        client.close()

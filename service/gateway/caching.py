"""Kept answers: flask-caching over two backends of our own, and what a caller says about them.

flask-caching's own backends unpickle what they find and count entries instead of
bytes. These keep raw bytes and nothing else. What lies in Redis carries a keyed digest,
so that whatever somebody else puts there is a miss.
"""

import contextlib
import hashlib
import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property, lru_cache, partial
from typing import Any, Final, Self

from flask import Flask
from flask_caching import Cache
from flask_caching.backends.base import BaseCache

from service.config import Settings
from service.gateway.breaker import Away, Breaker
from service.predict.results import AnswerStore, Caching, NullAnswers
from service.tenants.background import Background

PREFIX: Final = "mw:answer:"
DIGEST_BYTES: Final = 16
ENTRY_OVERHEAD: Final = 200
PATIENCE: Final = 512
SAMPLE: Final = 32
GATHER_SECONDS: Final = 0.05
WRITTEN_AT_ONCE: Final = 128
WRITTEN_BYTES: Final = 1 << 20
"""Of several answers in one round trip, whose time limit is short."""


ALLOWED: Final = Caching()

_OUTCOMES: Final = {"hit": "modelward; hit", "miss": "modelward; fwd=miss", "bypass": "modelward; fwd=bypass"}


class BoundedMemory(BaseCache):
    """Answers in the memory of a process, bounded in bytes; the least recently used go first."""

    def __init__(self, capacity: int, seconds: int) -> None:
        super().__init__(default_timeout=seconds)
        self.capacity = capacity
        self._held = 0
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def factory(cls, _app: Flask, config: dict[str, Any], _args: list[Any], options: dict[str, Any]) -> Self:
        """Make the backend from flask-caching's configuration."""
        return cls(options["capacity"], config["CACHE_DEFAULT_TIMEOUT"])

    def get(self, key: str) -> bytes | None:
        """Return the answer, where it is kept and fresh."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found[0] < time.monotonic():
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return found[1]

    def set(self, key: str, value: bytes, timeout: int | timedelta | None = None) -> bool:
        """Keep an answer; one that is larger than an eighth of the capacity is not worth what it drives out."""
        size = _size(key, value)
        if size > self.capacity // 8:
            return False
        seconds = self._normalize_timeout(timeout)
        with self._lock:
            if key in self._kept:
                self._drop(key)
            self._kept[key] = (time.monotonic() + seconds, value)
            self._held += size
            while self._held > self.capacity:
                self._drop(next(iter(self._kept)))
        return True

    def _drop(self, key: str) -> None:
        self._held -= _size(key, self._kept.pop(key)[1])


class SharedAnswers(BaseCache):
    """Answers in Redis for all processes, behind those in this process's own memory.

    Writing waits for nobody: answers gather for a twentieth of a second, and a thread writes
    many in one round trip, which costs a tenth of writing each by itself. Where bodies never
    repeat a look into Redis is wasted, so when a long row of them found nothing only every
    32nd request looks, until one finds something.

    :param own: answers of this process, asked first.
    :param secret: from which the key of the digests is derived.
    """

    def __init__(self, breaker: Breaker, own: BoundedMemory, seconds: int, secret: bytes) -> None:
        super().__init__(default_timeout=seconds)
        self._breaker = breaker
        self._own = own
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"kept answers").digest()
        self._waiting: list[tuple[str, bytes]] = []
        self._waiting_bytes = 0
        self._misses = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._writer = Background("answers", GATHER_SECONDS, self.flush)

    @classmethod
    def factory(cls, _app: Flask, config: dict[str, Any], _args: list[Any], options: dict[str, Any]) -> Self:
        """Make the backend from flask-caching's configuration."""
        seconds = config["CACHE_DEFAULT_TIMEOUT"]
        return cls(options["breaker"], BoundedMemory(options["capacity"], seconds), seconds, options["secret"])

    def get(self, key: str) -> bytes | None:
        """Return the answer, where it is kept here or in Redis and is one of ours."""
        answer = self._own.get(key)
        if answer is not None or not self._is_worth_asking():
            return answer
        try:
            found = self._breaker.call(lambda: self._breaker.client.get(PREFIX + key))
        except Away:
            return None
        answer = self._opened(key, found) if isinstance(found, bytes) else None
        if answer is not None:
            self._misses = 0
            self._own.set(key, answer)
        return answer

    def set(self, key: str, value: bytes, timeout: int | timedelta | None = None) -> bool:
        """Keep an answer; those that wait to be written hold no more bytes than this process keeps of its own."""
        if not self._own.set(key, value, timeout):
            return False
        size = _size(key, value)
        with self._lock:
            if self._waiting_bytes + size > self._own.capacity:
                return False
            self._waiting_bytes += size
            self._waiting.append((key, value))
            self._writer.start()
        return True

    def flush(self) -> None:
        """Write what waits, or give it up where Redis is away."""
        with self._writing:
            with self._lock:
                waiting, self._waiting = self._waiting, []
            for answers in _batches(waiting):
                try:
                    with contextlib.suppress(Away):
                        self._breaker.call(partial(self._store, answers))
                finally:
                    with self._lock:
                        self._waiting_bytes -= sum(_size(key, value) for key, value in answers)

    def _store(self, answers: list[tuple[str, bytes]]) -> None:
        with self._breaker.client.pipeline(transaction=False) as pipeline:
            for key, value in answers:
                # redis-py's own set() looks at a dozen options first, which takes half as long again.
                name, kept = PREFIX + key, self._digest(key, value) + value
                pipeline.execute_command("SET", name, kept, "EX", self.default_timeout)  # type: ignore[no-untyped-call]
            pipeline.execute()

    def _is_worth_asking(self) -> bool:
        self._misses += 1
        return self._misses < PATIENCE or self._misses % SAMPLE == 0

    def _digest(self, key: str, value: bytes) -> bytes:
        return hashlib.blake2b(key.encode() + b"\0" + value, digest_size=DIGEST_BYTES, key=self._key).digest()

    def _opened(self, key: str, found: bytes) -> bytes | None:
        digest, value = found[:DIGEST_BYTES], found[DIGEST_BYTES:]
        return value if hmac.compare_digest(digest, self._digest(key, value)) else None


class Answers(Cache):
    """flask-caching's cache of one application.

    It looks its backend up once. flask-caching asks which application is under way at each
    call, which costs more than the backend does.
    """

    @cached_property
    def cache(self) -> Any:
        """The backend."""
        return self.app.extensions["cache"][self]


def answers(app: Flask, settings: Settings, breaker: Breaker | None) -> AnswerStore:
    """Return the store of answers that the settings ask for."""
    if not settings.cached_answers_bytes or not settings.cached_answers_seconds:
        return NullAnswers()
    backend: type[BaseCache] = SharedAnswers if breaker else BoundedMemory
    options: dict[str, Any] = {"capacity": settings.cached_answers_bytes}
    if breaker:
        options |= {"breaker": breaker, "secret": settings.secret_key.get_secret_value().encode()}
    config = {
        "CACHE_TYPE": f"{backend.__module__}.{backend.__qualname__}",
        "CACHE_DEFAULT_TIMEOUT": settings.cached_answers_seconds,
        "CACHE_OPTIONS": options,
    }
    return Answers(app, with_jinja2_ext=False, config=config)


def caching_asked(control: str | None) -> Caching:
    """Return what a Cache-Control allows: ``no-cache`` asks for a fresh answer, ``no-store`` keeps none."""
    return ALLOWED if control is None else _stated(control)


@lru_cache(maxsize=64)
def _stated(control: str) -> Caching:
    directives = {directive.partition("=")[0].strip().lower() for directive in control.split(",")}
    stores = "no-store" not in directives
    return Caching(read=stores and "no-cache" not in directives, write=stores)


def cache_status(outcome: str) -> str:
    """Return the value of ``Cache-Status`` (RFC 9211) for ``hit``, ``miss`` or ``bypass``."""
    return _OUTCOMES[outcome]


def _batches(answers: list[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    batch: list[tuple[str, bytes]] = []
    size = 0
    for key, value in answers:
        if batch and (len(batch) == WRITTEN_AT_ONCE or size + len(value) > WRITTEN_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((key, value))
        size += len(value)
    if batch:
        yield batch


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_OVERHEAD

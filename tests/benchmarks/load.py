"""One load on one server: by wrk where it is installed, else by the generator of ``modelward bench``."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from service.cli.bench.generator import COUNTER_DIGITS
from service.cli.bench.load import Plan, Request, Running

CONNECTIONS = 16
SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Figures:
    """What a load gave: answers with the status 200 a second, milliseconds, and how many requests had none."""

    requests_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    errors: int


class OwnGenerator:
    """The generator of ``modelward bench``, in one process."""

    name = "the generator of modelward bench"

    def measure(self, url: str, requests: Sequence[Request], seconds: float, connections: int = CONNECTIONS) -> Figures:
        """Send the requests in turn."""
        measured = Running(Plan(url, requests, connections, seconds)).measured()
        p50, p99 = measured.percentiles([0.5, 0.99])
        return Figures(measured.requests_per_second, p50, p99, measured.errors.total())


class Wrk:
    """wrk with one thread, which sends the same requests as the other generator."""

    name = "wrk"

    def measure(self, url: str, requests: Sequence[Request], seconds: float, connections: int = CONNECTIONS) -> Figures:
        """Send the requests in turn, for whole seconds."""
        with tempfile.TemporaryDirectory() as directory:
            texts = Path(directory, "requests")
            texts.write_bytes(b"".join(b"%d\n%b" % (len(part), part) for each in requests for part in _pair(each)))
            command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(SCRIPT), url, "--"]
            done = subprocess.run([*command, str(texts)], capture_output=True, text=True, check=True)
        summary = json.loads(done.stderr.splitlines()[-1])
        errors = summary["errors"]
        rate = (summary["answers"] - errors["status"]) / summary["seconds"]
        forgotten = _forgotten(connections, rate, summary["mean"] / 1000, summary["seconds"])
        return Figures(rate, summary["p50"], summary["p99"], sum(errors.values()) + forgotten)


Generator = OwnGenerator | Wrk


def _forgotten(connections: int, rate: float, mean: float, seconds: float) -> int:
    """Return how many connections waited in vain, of which wrk says nothing.

    By Little's law as many requests are under way as come in a second, times the seconds
    that one takes. Where one takes long, too many are cut off at the end to tell.
    """
    waiting = connections - rate * mean
    return round(waiting) if mean < seconds / 20 and waiting > connections / 4 else 0


def generator(name: str) -> Generator:
    """Return the generator of that name: ``wrk``, ``own``, or ``auto`` for wrk where it is installed."""
    if name == "own" or (name == "auto" and shutil.which("wrk") is None):
        return OwnGenerator()
    return Wrk()


def _pair(request: Request) -> tuple[bytes, bytes]:
    return (request[0], request[1]) if len(request) == 2 else (request[0], b"")


def request(url: str, path: str, *body: str, method: str = "POST", headers: Mapping[str, str] | None = None) -> Request:
    """Return a request as it goes over the wire.

    :param body: one text, or two between which a number comes that no other request has.
    """
    parts = [part.encode() for part in body]
    length = sum(map(len, parts)) + COUNTER_DIGITS * (len(parts) - 1)
    named = {"Host": urlsplit(url).netloc, **(headers or {})}
    if parts:
        named |= {"Content-Type": "application/json", "Content-Length": str(length)}
    head = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    first, *rest = parts or [b""]
    return ("\r\n".join(head).encode() + first, *rest)

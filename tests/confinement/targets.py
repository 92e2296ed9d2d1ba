"""What a hostile estimator would do, as functions that confined children are told to run."""

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from service.confinement.child import Talk
from service.errors import Finding, Rejected


def echo(payload: bytes) -> bytes:
    return payload


def environment(payload: bytes) -> bytes:
    facts = {"variables": dict(os.environ), "threads": threading.active_count(), "pid": os.getpid()}
    return json.dumps(facts).encode()


def refuse(payload: bytes) -> bytes:
    raise Rejected("No.", code="for_a_test", findings=[Finding("there", "is wrong")])


def fail(payload: bytes) -> bytes:
    raise ZeroDivisionError("never seen by a caller")


def open_socket(payload: bytes) -> bytes:
    return _attempt(lambda: socket.socket(socket.AF_INET).connect(("127.0.0.1", int(payload))))


def open_local_socket(payload: bytes) -> bytes:
    return _attempt(socket.socketpair)


def write_file(payload: bytes) -> bytes:
    return _attempt(lambda: Path(payload.decode()).write_bytes(b"owned"))


def truncate_file(payload: bytes) -> bytes:
    return _attempt(lambda: os.truncate(payload.decode(), 0))


def remove_file(payload: bytes) -> bytes:
    return _attempt(lambda: Path(payload.decode()).unlink())


def read_file(payload: bytes) -> bytes:
    return _attempt(lambda: Path(payload.decode()).read_bytes())


def execute(payload: bytes) -> bytes:
    return _attempt(lambda: os.execv(sys.executable, [sys.executable, "-c", "pass"]))


def start_process(payload: bytes) -> bytes:
    return _attempt(lambda: subprocess.run([sys.executable, "-c", "pass"], check=False))


def fork(payload: bytes) -> bytes:
    return _attempt(os.fork)


def start_thread(payload: bytes) -> bytes:
    return _attempt(lambda: threading.Thread(target=print).start())


def signal_parent(payload: bytes) -> bytes:
    return _attempt(lambda: os.kill(os.getppid() or 1, signal.SIGTERM))


def trace(payload: bytes) -> bytes:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace(0, 0, 0, 0)
    return os.strerror(ctypes.get_errno()).encode()


def raise_limits(payload: bytes) -> bytes:
    return _attempt(lambda: resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)))


def allocate(payload: bytes) -> bytes:
    return str(np.ones(int(payload), dtype=np.uint8).nbytes).encode()


def spin(payload: bytes) -> bytes:
    while True:
        pass


def spin_deaf(payload: bytes) -> bytes:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    return spin(payload)


def sleep(payload: bytes) -> bytes:
    time.sleep(600)
    return b""


def crash(payload: bytes) -> bytes:
    ctypes.string_at(0)
    return b""


def exhaust(payload: bytes) -> bytes:
    return allocate(b"%d" % (1 << 40))


def leave(payload: bytes) -> bytes:
    os._exit(0)


def count_lines(data: mmap.mmap, opening: bytes) -> Talk:
    """Yield so many lines at a time as the opening says, then as each question says."""
    wanted = int(opening)
    while lines := [line for line in (data.readline() for _ in range(wanted)) if line]:
        question = yield {"lines": len(lines), "first": lines[0].decode()}, [line[:1] for line in lines]
        wanted = question["lines"]


def talk_badly(data: mmap.mmap, opening: bytes) -> Talk:
    """Answer once, and then do what another target does."""
    yield {}, []
    globals()[opening.decode()](opening)


def try_all(data: mmap.mmap, opening: bytes) -> Talk:
    """Yield what came of writing to the file, and of each attempt at something else."""
    attempts = [lambda: data.write(b"x"), *(partial(os.write, descriptor, b"") for descriptor in range(3, 1024))]
    yield {"done": [_attempt(attempt) for attempt in attempts].count(b"done")}, []


def hoard(data: mmap.mmap, opening: bytes) -> Talk:
    """Take as much memory as the opening says."""
    yield {"bytes": int(allocate(opening))}, []


def babble(payload: bytes) -> bytes:
    _write_to_channel(payload)
    os._exit(0)


def _write_to_channel(payload: bytes) -> None:
    for descriptor in range(3, 1024):
        try:
            os.write(descriptor, payload)
        except OSError:
            continue


def _attempt(act: Callable[[], object]) -> bytes:
    """Say what came of the attempt."""
    try:
        act()
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        return f"refused: {error}".encode()
    return b"done"

"""The fork server, run in this process; its other end is held by a thread."""

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.confinement import child, server, system_calls, wire
from service.errors import ChildFailed, Conflict, ModelwardError


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in (signal.SIGCHLD, signal.SIGTERM)}
    yield
    signal.set_wakeup_fd(-1)
    for each, handler in before.items():
        signal.signal(each, handler)
    system_calls.die_with_parent(0)


def serving(act: Callable[[socket.socket], None]) -> None:
    """Serve until ``act``, in another thread, is done with its end of the control socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    failures: list[BaseException] = []

    def drive() -> None:
        with ours:
            try:
                act(ours)
            except BaseException as failure:  # noqa: BLE001 - the main thread raises it.
                failures.append(failure)

    driver = threading.Thread(target=drive)
    driver.start()
    with theirs:
        server.ForkServer(theirs).serve()
    driver.join()
    if failures:
        raise failures[0]


def order(control: socket.socket, target: str) -> tuple[socket.socket, socket.socket]:
    wanted = {
        "do": "call",
        "target": f"tests.confinement.targets:{target}",
        "cpu_seconds": 5,
        "memory_bytes": 1 << 28,
    }
    channel, theirs = socket.socketpair()
    line, their_line = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, their_line:
        socket.send_fds(control, [json.dumps(wanted).encode()], [theirs.fileno(), their_line.fileno()])
    with contextlib.suppress(BrokenPipeError):  # The child may be gone already.
        channel.sendall(wire.pack({}, b"payload"))
    return channel, line


def gone(channel: socket.socket) -> bool:
    """Whether the child at the other end is no more; it may have left its payload unread."""
    try:
        return channel.recv(1) == b""
    except ConnectionResetError:
        return True


def ending(line: socket.socket) -> object:
    told = json.loads(line.recv(4096))
    return json.loads(line.recv(4096)) if told == {"begun": True} else told


def test_an_order_is_answered_and_its_end_reported() -> None:
    def act(control: socket.socket) -> None:
        channel, line = order(control, "echo")
        with channel, line:
            assert wire.receive(channel.recv, 100) == ({}, b"payload")
            assert ending(line) == {"exit": 0}

    serving(act)


def test_the_way_a_child_dies_is_reported() -> None:
    def act(control: socket.socket) -> None:
        channel, line = order(control, "crash")
        with channel, line:
            assert ending(line) == {"exit": -signal.SIGSEGV}

    serving(act)


def test_a_child_whose_caller_hangs_up_is_killed_and_others_go_on() -> None:
    def act(control: socket.socket) -> None:
        patient, line = order(control, "sleep")
        impatient, hung_up = order(control, "sleep")
        hung_up.close()
        with patient, line, impatient:
            assert gone(impatient)
            again, its_line = order(control, "echo")
            with again, its_line:
                assert wire.receive(again.recv, 100) == ({}, b"payload")
                assert ending(its_line) == {"exit": 0}
            line.close()
            assert gone(patient)

    serving(act)


def test_a_system_without_room_for_a_process_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    def act(control: socket.socket) -> None:
        monkeypatch.setattr(os, "fork", refuse)
        channel, line = order(control, "echo")
        with channel, line:
            assert ending(line) == {"refused": "Resource temporarily unavailable"}

    serving(act)


def test_an_order_that_lost_its_sockets_on_the_way_harms_no_other() -> None:
    def act(control: socket.socket) -> None:
        control.send(b'{"do": "call"}')
        channel, theirs = socket.socketpair()
        with channel, theirs:
            socket.send_fds(control, [b'{"do": "call"}'], [theirs.fileno()])
        channel, line = order(control, "echo")
        with channel, line:
            assert wire.receive(channel.recv, 100) == ({}, b"payload")
            assert ending(line) == {"exit": 0}

    serving(act)


def test_modules_are_imported_before_anything_is_served() -> None:
    settings = {"door": 0, "ready": 0, "parent": os.getppid(), "preload": ["no.such.module"], "budget_bytes": 0}
    with pytest.raises(ModuleNotFoundError):
        server.main([json.dumps(settings)])


def test_it_serves_in_a_fork_and_in_another_where_that_dies_until_the_door_closes() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    served: list[int] = []

    def drive() -> None:
        with ours:
            for _ in range(3):
                served.append(status(ours)["pid"])
                os.kill(served[-1], signal.SIGKILL)

    driver = threading.Thread(target=drive)
    driver.start()
    with theirs:
        server.keep_serving(theirs, 0)
    driver.join()
    assert len({*served, os.getpid()}) == 4


def status(control: socket.socket) -> dict[str, Any]:
    line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with line:
        with theirs:
            socket.send_fds(control, [b'{"do": "status"}'], [theirs.fileno()])
        return dict(json.loads(line.recv(4096)))


def test_it_does_not_serve_for_a_process_that_is_gone() -> None:
    with pytest.raises(SystemExit):
        server.end_with(os.getpid())


def run(function: Callable[[bytes], bytes]) -> tuple[dict[str, object], bytes]:
    """What a child would answer, without its confinement."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(wire.pack({}, b"payload"))
        wire.write_all(theirs.fileno(), child.answer(function, theirs.fileno()))
        return wire.receive(ours.recv, 100)


def raising(error: BaseException) -> Callable[[bytes], bytes]:
    def function(payload: bytes) -> bytes:
        raise error

    return function


def test_an_answer_is_a_frame() -> None:
    assert run(child.resolve("tests.confinement.targets:echo")) == ({}, b"payload")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (Conflict("No.", code="taken"), Conflict("No.", code="taken")),
        (MemoryError(), ChildFailed(code="child_out_of_memory")),
        (ZeroDivisionError("inside"), ChildFailed(code="child_crashed")),
    ],
)
def test_an_error_is_a_frame_too(raised: BaseException, expected: ModelwardError) -> None:
    header, _ = run(raising(raised))

    error = wire.revive(header)

    assert type(error) is type(expected)
    assert error.reason == expected.reason
    assert "inside" not in error.detail

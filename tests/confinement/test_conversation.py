"""A confined child that is asked again and again about one file, and has nothing else."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.confinement import Confinement, Conversation, Limits, child, wire
from service.errors import ChildFailed, DeadlineExceeded, ModelwardError, Rejected, Unavailable

LIMITS = Limits(cpu_seconds=1, memory_bytes=256 << 20)


@pytest.fixture(scope="module")
def confinement() -> Iterator[Confinement]:
    confinement = Confinement(preload=["tests.confinement.targets"])
    yield confinement
    confinement.close()


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[int]:
    """A file of three lines."""
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\nthree\n")
    with path.open("rb") as file:
        yield file.fileno()


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


@contextlib.contextmanager
def talking(confinement: Confinement, name: str, file: int, opening: bytes = b"") -> Iterator[Conversation]:
    with confinement.converse(f"tests.confinement.targets:{name}", file, opening, LIMITS) as conversation:
        yield conversation


def test_each_question_says_what_the_answer_after_the_next_is_like(confinement: Confinement, lines: int) -> None:
    with talking(confinement, "count_lines", lines, b"1") as conversation:
        assert conversation.ask({"lines": 2}, [], soon()) == ({"lines": 1, "first": "one\n"}, bytearray(b"o"))
        assert conversation.ask({"lines": 9}, [], soon()) == ({"lines": 2, "first": "two\n"}, bytearray(b"tt"))
        with pytest.raises(ChildFailed):
            conversation.ask({"lines": 9}, [], soon())  # There is nothing more, and nobody to ask.


def test_the_file_is_all_that_a_child_has_and_it_can_only_be_read(confinement: Confinement, lines: int) -> None:
    with talking(confinement, "try_all", lines) as conversation:
        # The channel is the one descriptor that is left.
        assert conversation.ask({}, [], soon())[0] == {"done": 1}
    assert os.pread(lines, 3, 0) == b"one"


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (b"refuse", Rejected),
        (b"fail", ChildFailed),
        (b"crash", ChildFailed),
        (b"leave", ChildFailed),
        (b"spin", DeadlineExceeded),
        (b"spin_deaf", ChildFailed),
    ],
)
def test_what_ends_a_conversation_is_told_to_whoever_asks_next(
    what: bytes, error: type[ModelwardError], confinement: Confinement, lines: int
) -> None:
    with talking(confinement, "talk_badly", lines, what) as conversation:
        assert conversation.ask({}, [], soon()) == ({}, bytearray())
        with pytest.raises(error):
            conversation.ask({}, [], soon())


def test_memory_beside_the_file_is_bounded(confinement: Confinement, lines: int) -> None:
    with talking(confinement, "hoard", lines, b"1000") as conversation:
        assert conversation.ask({}, [], soon())[0] == {"bytes": 1000}
    with talking(confinement, "hoard", lines, b"1000000000") as conversation, pytest.raises(ChildFailed) as failure:
        conversation.ask({}, [], soon())
    assert failure.value.reason == "child_out_of_memory"


def test_an_answer_that_does_not_come_in_time_is_not_waited_for(confinement: Confinement, lines: int) -> None:
    with talking(confinement, "talk_badly", lines, b"sleep") as conversation:
        conversation.ask({}, [], soon())
        with pytest.raises(DeadlineExceeded):
            conversation.ask({}, [], soon(0.2))


def test_a_fork_server_that_dies_is_said_to_be_away(confinement: Confinement, lines: int) -> None:
    def outlive() -> None:
        with talking(confinement, "talk_badly", lines, b"sleep") as conversation:
            conversation.ask({}, [], soon())
            os.kill(confinement.status()["pid"], signal.SIGKILL)
            conversation.ask({}, [], soon())

    with pytest.raises(Unavailable):
        outlive()
    with talking(confinement, "count_lines", lines, b"1") as conversation:
        assert conversation.ask({"lines": 1}, [], soon())[0]["lines"] == 1


def test_the_child_s_side_asks_for_the_next_answer_before_the_next_question(tmp_path: Path) -> None:
    made: list[int] = []

    def begin(opening: bytes) -> child.Talk:
        assert opening == b"opening"
        for number in range(2):
            made.append(number)
            yield {"number": number}, [b"ab", b"c"]
        raise MemoryError

    ours, theirs = socket.socketpair()
    with ours, theirs:
        talker = threading.Thread(target=child.converse, args=(begin, theirs.fileno()))
        talker.start()
        ours.sendall(wire.pack({}, b"opening"))
        for number in range(2):
            ours.sendall(wire.pack({}))
            assert wire.receive(ours.recv, 3) == ({"number": number}, b"abc")
        ours.sendall(wire.pack({}))
        assert wire.receive(ours.recv, 0)[0]["code"] == "child_out_of_memory"
        talker.join()
    assert made == [0, 1]


def test_a_talk_that_has_no_more_to_say_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(wire.pack({}, b"opening"))
        child.converse(lambda _opening: iter(()), theirs.fileno())  # type: ignore[arg-type, return-value]

"""Callers who send much at once, take nothing, or ask for what cannot be sent: each is the only one to feel it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.running import Server, get, one_response, received, status
from tests.server.test_bodies import MEGABYTE
from tests.server.test_requests import post

FLOOD = 9000
"""Requests that reach the server in one piece of its reading."""


def memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))


def test_requests_that_wait_behind_a_slow_one_stay_bytes(start: Callable[..., Server]) -> None:
    server = start()
    worker = server.workers()[0]
    server.get("/slow/1")
    before = memory(worker)
    flooding = [server.connect() for _ in range(10)]
    for connection in flooding:
        connection.sendall(get("/slow/300") + get("/x") * FLOOD)
    assert status(server.get("/environ")) in {200, 503}
    assert memory(worker) - before < 25 * MEGABYTE
    for connection in flooding:
        connection.close()


def test_every_request_of_a_flood_is_answered(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(get("/echo") * 999 + get("/echo", close=True))
        assert received(connection).count(b"HTTP/1.1 ") == 1000


def test_continue_is_not_said_in_the_middle_of_another_answer(server: Server) -> None:
    fields = b"X-Large: 1", b"Expect: 100-continue", b"Content-Length: 2000000"
    with server.connect() as connection:
        connection.sendall(get("/slow/300") + post(b"/echo", *fields))
        answer = b""
        while b"100 Continue" not in answer:
            part = connection.recv(65536)
            assert part
            answer += part
        assert answer.index(b"slow") < answer.index(b"100 Continue")
        connection.sendall(b"a" * 2_000_000)
        assert len(one_response(connection)[1]) == 2_000_000


@pytest.mark.parametrize("path", ["/unsendable", "/gone"])
def test_an_answer_that_cannot_be_sent_ends_its_connection_and_no_other(server: Server, path: str) -> None:
    for _ in range(30):
        assert status(server.ask(get(path))) in {0, 200, 500}  # It ends, whatever had been sent.
    assert status(server.get("/echo")) == 200

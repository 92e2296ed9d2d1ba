"""What all callers together may hold of a worker: memory for what they send, and connections."""

import socket

import pytest

from service.server.accepting import counted_as
from tests.server.applications import MEGABYTE
from tests.server.running import Server, Start, get, one_response, received, status
from tests.server.test_files import DELETED, opened
from tests.server.test_floods import FLOOD, memory
from tests.server.test_lanes import head
from tests.server.test_requests import post
from tests.servers.subprocesses import wait_until

HALF = 600_000
"""Bytes of which a megabyte has room for one, but not for two."""


def begun(server: Server, *fields: bytes, length: int = HALF) -> socket.socket:
    """Send all of a body but its last byte."""
    connection = server.connect()
    body = b"a" * (length - 1)
    connection.sendall(post(b"/echo", b"Content-Length: %d" % length, *fields, body=body))
    return connection


def test_where_there_is_no_room_strangers_are_refused_and_known_callers_go_to_files(start: Start) -> None:
    server = start(incoming_bytes=MEGABYTE)
    worker = server.workers()[0]
    with begun(server) as holding:
        with begun(server) as stranger:
            refused = received(stranger)
        assert status(refused) == 503
        assert b"retry-after" in refused.lower()
        assert refused.endswith(b"overloaded")
        with begun(server, b"X-Caller: known") as known:
            wait_until(lambda: opened(worker, DELETED) == 1, "the body goes to a file")
            known.sendall(b"z")
            assert one_response(known)[1] == b"a" * (HALF - 1) + b"z"
        assert (
            status(server.ask(post(b"/echo", b"Connection: close", b"Content-Length: 4000", body=b"a" * 4000))) == 200
        )
        holding.sendall(b"z")
        assert one_response(holding)[1] == b"a" * (HALF - 1) + b"z"
    for _ in range(3):
        with begun(server) as stranger:
            stranger.sendall(b"z")
            assert status(one_response(stranger)[0]) == 200


def test_bodies_that_never_end_take_no_more_than_the_room(start: Start) -> None:
    server = start(incoming_bytes=8 * MEGABYTE)
    worker = server.workers()[0]
    with begun(server, length=MEGABYTE) as first:
        first.sendall(b"z")
        one_response(first)  # Whatever such a body needs is there now.
    before = memory(worker)
    hanging = [begun(server, length=MEGABYTE // 2) for _ in range(100)]
    assert status(server.get("/echo")) == 200
    assert memory(worker) - before < 25 * MEGABYTE
    for connection in hanging:
        connection.close()


def test_the_room_is_there_again_after_senders_who_went_away(start: Start) -> None:
    server = start(incoming_bytes=MEGABYTE)

    def answered() -> bool:
        with begun(server) as connection:
            try:
                connection.sendall(b"z")
                return status(one_response(connection)[0]) == 200
            except OSError:
                return False  # It was refused while it still sent.

    for _ in range(5):
        begun(server).close()
        with server.connect() as broken:
            broken.sendall(b"GET /echo HTTP/1.1\r\nX-Half: " + b"a" * 40_000)
        with server.connect() as chunked:
            chunked.sendall(post(b"/echo", b"Transfer-Encoding: chunked", body=b"%x\r\n" % HALF + b"a" * HALF))
    wait_until(answered, "there is room for a body")


def test_requests_that_wait_unread_are_held_in_the_same_room(start: Start) -> None:
    server = start(incoming_bytes=MEGABYTE)
    flooding = [server.connect() for _ in range(12)]
    for number, connection in enumerate(flooding):
        connection.sendall(head("GET", "/slow/300", f"X-Caller: {number}") + get("/x") * FLOOD)
        connection.shutdown(socket.SHUT_WR)
    answers = [received(connection) for connection in flooding]
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    assert any(answer.endswith(b"overloaded") for answer in answers)
    assert status(server.get("/echo")) == 200


def test_an_address_has_no_more_than_its_connections(start: Start) -> None:
    server = start(connections_per_address=4)
    held = [server.connect() for _ in range(4)]
    for connection in held:
        connection.sendall(get("/echo"))
        assert status(one_response(connection)[0]) == 200
    refused = server.get("/echo")
    assert status(refused) == 503
    assert refused.endswith(b"too_many_connections")
    assert b"retry-after" in refused.lower()
    elsewhere = socket.create_connection(("127.0.0.1", server.port), timeout=20, source_address=("127.0.0.2", 0))
    with elsewhere:
        elsewhere.sendall(get("/echo"))
        assert status(one_response(elsewhere)[0]) == 200
    held.pop().close()
    wait_until(lambda: status(server.get("/echo")) == 200, "another one may come")


def test_proxies_have_no_such_cap(start: Start) -> None:
    server = start(connections_per_address=4, trusted_hops=1)
    held = [server.connect() for _ in range(12)]
    for connection in held:
        connection.sendall(get("/echo"))
        assert status(one_response(connection)[0]) == 200


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8::1:2:3:4", "2001:db8::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
    ],
)
def test_an_address_of_ipv6_counts_with_its_whole_network(address: str, counted: str) -> None:
    assert counted_as(address) == counted

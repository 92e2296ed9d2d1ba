"""Connections: kept, shared out, pipelined, and given up."""

import socket
from collections.abc import Callable
from pathlib import Path

from tests.server.applications import MEGABYTE
from tests.server.running import Server, get, one_response, received, status
from tests.server.test_requests import HOST, post
from tests.servers.subprocesses import wait_until

ESTABLISHED = "01"
"""How the kernel writes that state."""


def connections(server: Server, pid: int) -> int:
    """How many connections to the server a worker holds."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    held = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{server.port:04X}") and row[3] == ESTABLISHED}
    return sum(str(each.readlink()) in held for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink())


def test_requests_that_come_at_once_are_answered_in_order(server: Server) -> None:
    bodies = [b"%d" % number for number in range(200)]
    with server.connect() as connection:
        connection.sendall(b"".join(post(b"/echo", b"Content-Length: %d" % len(body), body=body) for body in bodies))
        connection.shutdown(socket.SHUT_WR)
        answers = received(connection)
    assert [answer.rpartition(b"\r\n")[2] for answer in answers.split(b"HTTP/1.1 200 OK")[1:]] == bodies


def test_a_slow_request_does_not_let_the_next_one_overtake_it(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(get("/slow/300") + get("/draining", close=True))
        answers = received(connection)
    assert answers.index(b"slow") < answers.index(b"False")


def test_callers_whose_answers_leave_together_all_get_theirs(server: Server) -> None:
    callers = {server.connect(): b"X-Caller: %d\r\n" % number for number in range(16)}
    for _ in range(50):
        for caller, name in callers.items():
            caller.sendall(b"GET /echo HTTP/1.1\r\n" + HOST + name + b"\r\n")
        assert [status(one_response(caller)[0]) for caller in callers] == [200] * len(callers)


def test_a_request_that_comes_byte_by_byte_is_one_request(server: Server) -> None:
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(b"/echo", b"Content-Length: 5", body=b"hello"):
            connection.sendall(bytes([byte]))
        assert one_response(connection)[1] == b"hello"


def test_an_old_client_may_keep_its_connection_by_asking(server: Server) -> None:
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            head, _ = one_response(connection)
            assert b"connection: keep-alive" in head.lower()
        connection.sendall(b"GET /echo HTTP/1.0\r\n\r\n")
        assert b"connection: close" in received(connection).lower()


def test_a_target_may_be_written_with_its_host(server: Server) -> None:
    response = server.ask(b"GET http://test/environ?a=1 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert b'"PATH_INFO":"/environ"' in response
    assert b'"QUERY_STRING":"a=1"' in response


def test_a_path_is_decoded_once(server: Server) -> None:
    assert status(server.get("/ec%68o")) == 200
    assert status(server.get("/ec%2568o")) == 404


def test_an_offer_to_speak_another_protocol_is_passed_over(server: Server) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    response = server.ask(b"GET /echo HTTP/1.1\r\n" + HOST + offer + b"\r\n")
    assert status(response) == 200
    assert b"connection: close" in response.lower()


def test_a_head_without_an_end_is_refused_before_it_fills_memory(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /echo HTTP/1.1\r\nX-Long: " + b"a" * (300 << 10))
        assert status(received(connection)) == 431


def test_a_head_that_does_not_come_to_its_end_in_time_is_408(server: Server) -> None:
    assert status(server.ask(b"GET /echo HTTP/1.1\r\nX: ")) == 408


def test_a_caller_who_takes_no_answers_is_given_up(start: Callable[..., Server]) -> None:
    server = start(workers=1)
    body = b"a" * MEGABYTE
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        connection.sendall(get("/echo"))
        one_response(connection)
        worker = server.workers()[0]
        assert connections(server, worker) == 1
        requests = post(b"/echo", b"Content-Length: %d" % len(body), body=body) * 16
        try:
            connection.sendall(requests)
        except OSError:
            return  # It was given up while it still sent.
        wait_until(lambda: not connections(server, worker), "the server gives the caller up")


def test_workers_share_what_comes_at_once(start: Callable[..., Server]) -> None:
    server = start(workers=2)
    opened: list[socket.socket] = []

    def shared() -> bool:
        # The server is announced with its first worker, and the second comes a little later.
        opened.extend(server.connect() for _ in range(10))
        for connection in opened[-10:]:
            connection.sendall(get("/echo"))
            assert status(one_response(connection)[0]) == 200
        return all(connections(server, pid) for pid in server.workers()) and len(server.workers()) == 2

    wait_until(shared, "both workers hold some of the connections")

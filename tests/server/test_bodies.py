"""Bodies: awaited whole, under a cap and a deadline."""

import time

import httpx2

from tests.server.running import Server, Start, get, is_answered, one_response, received, seconds_since, status
from tests.server.test_requests import post

MEGABYTE = 1 << 20
CHUNKED = b"Transfer-Encoding: chunked"


def chunked(body: bytes, size: int = 50_000) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_chunked_body_arrives_whole_and_has_a_length(server: Server) -> None:
    body = bytes(range(256)) * 9000
    with server.connect() as connection:
        connection.sendall(post(b"/echo", b"X-Large: 1", CHUNKED, body=chunked(body)))
        head, echoed = one_response(connection)
    assert echoed == body
    assert b"x-length: %d" % len(body) in head.lower()


def test_a_body_over_a_megabyte_arrives_whole(server: Server) -> None:
    body = b"ab" * (3 * MEGABYTE // 2)
    with server.connect() as connection:
        connection.sendall(post(b"/echo", b"X-Large: 1", b"Content-Length: %d" % len(body), body=body))
        assert one_response(connection)[1] == body


def test_a_declared_body_over_the_cap_is_413_before_it_is_sent(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(post(b"/echo", b"Content-Length: 100000000", b"Expect: 100-continue"))
        response = received(connection)
    assert status(response) == 413
    assert b"application/problem+json" in response


def test_a_client_that_sends_its_body_at_once_reads_the_413(server: Server) -> None:
    with httpx2.Client() as client:
        for _ in range(5):
            response = client.post(f"http://127.0.0.1:{server.port}/echo", content=b"a" * (20 * MEGABYTE))
            assert response.status_code == 413


def test_a_chunked_body_is_413_as_soon_as_it_passes_the_cap(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(post(b"/echo", CHUNKED))
        for _ in range(3):
            connection.sendall(b"%x\r\n%s\r\n" % (MEGABYTE // 2, b"a" * (MEGABYTE // 2)))
        assert status(received(connection)) == 413


def test_a_caller_whose_plan_allows_more_may_send_more_but_not_anything(server: Server) -> None:
    assert status(server.ask(post(b"/echo", b"X-Large: 1", b"Content-Length: %d" % (5 * MEGABYTE)))) == 413


def test_continue_is_said_to_a_body_that_may_come(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(post(b"/echo", b"Content-Length: 3", b"Expect: 100-continue"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"abc")
        assert one_response(connection)[1] == b"abc"


def test_a_body_that_does_not_arrive_in_time_is_408(server: Server) -> None:
    began = time.monotonic()
    assert status(server.ask(post(b"/echo", b"Content-Length: 10", body=b"abc"))) == 408
    assert seconds_since(began) > 0.5
    assert status(server.ask(post(b"/echo", CHUNKED, body=b"3\r\nabc\r\n"))) == 408


def test_slow_senders_hold_nobody_up(start: Start) -> None:
    server = start(body_seconds=60)
    slow = [server.connect() for _ in range(60)]
    for connection in slow:
        connection.sendall(post(b"/echo", b"Content-Length: 1000", body=b"a"))
    for _ in range(20):
        assert status(server.ask(get("/echo", close=True))) == 200
    assert not is_answered(*slow)


def test_a_sender_that_goes_away_is_forgotten(server: Server) -> None:
    for _ in range(20):
        with server.connect() as connection:
            connection.sendall(post(b"/echo", b"Content-Length: 1000", body=b"a"))
    assert status(server.get("/echo")) == 200


def test_a_slow_request_holds_nobody_up_even_on_a_route_that_was_quick(server: Server) -> None:
    with server.connect() as connection:
        for _ in range(20):
            connection.sendall(get("/slow/0"))
            one_response(connection)
    waiting = [server.connect() for _ in range(2)]
    for connection in waiting:
        connection.sendall(get("/slow/2000"))
    assert status(server.get("/echo")) == 200
    assert not is_answered(*waiting)
    for connection in waiting:
        assert one_response(connection)[1] == b"slow"
        connection.close()

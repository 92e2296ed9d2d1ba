"""What the server makes of requests, clean ones and others."""

import json
import socket

import pytest

from tests.server.running import Server, get, one_response, received, status

HOST = b"Host: test\r\n"
CLOSE = b"Connection: close\r\n"


def post(path: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


AMBIGUOUS = {
    "two lengths": post(b"/echo", b"Content-Length: 3", b"Content-Length: 4", body=b"abcd"),
    "a length beside a coding": post(
        b"/echo", b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"
    ),
    "a line feed alone": b"GET /echo HTTP/1.1\nHost: test\n\n",
    "length with a sign": post(b"/echo", b"Content-Length: +3", body=b"abc"),
    "negative length": post(b"/echo", b"Content-Length: -3", body=b"abc"),
    "length in words": post(b"/echo", b"Content-Length: three", body=b"abc"),
    "unknown coding": post(b"/echo", b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "two codings": post(b"/echo", b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "codings in two headers": post(
        b"/echo", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"
    ),
    "space before the colon": post(b"/echo", b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "folded header": b"GET /echo HTTP/1.1\r\n" + HOST + b"X-F: a\r\n b\r\n\r\n",
    "NUL in a header": b"GET /echo HTTP/1.1\r\n" + HOST + b"X-F: a\0b\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /echo HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no host": b"GET /echo HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "host with a space": b"GET /echo HTTP/1.1\r\nHost: a b\r\n\r\n",
    "another host in the target": b"GET http://evil/echo HTTP/1.1\r\n" + HOST + b"\r\n",
    "two keys": b"GET /echo HTTP/1.1\r\n" + HOST + b"X-API-Key: a\r\nX-API-Key: b\r\n\r\n",
    "two authorizations": b"GET /echo HTTP/1.1\r\n" + HOST + b"Authorization: a\r\nAuthorization: b\r\n\r\n",
    "chunk of no size": post(b"/echo", b"Transfer-Encoding: chunked", body=b"x\r\nabc\r\n0\r\n\r\n"),
    "chunk longer than its size": post(b"/echo", b"Transfer-Encoding: chunked", body=b"3\r\nabcXX0\r\n\r\n"),
    "chunk size with a sign": post(b"/echo", b"Transfer-Encoding: chunked", body=b"+3\r\nabc\r\n0\r\n\r\n"),
    "trailers": post(b"/echo", b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\nHost: b\r\n\r\n"),
    "a star": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT test:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "another version": b"GET /echo HTTP/2.0\r\n" + HOST + b"\r\n",
    "a version without headers": b"GET /echo HTTP/0.9\r\n\r\n",
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_request_that_can_be_read_in_two_ways_is_refused_and_its_connection_closed(server: Server, name: str) -> None:
    response = server.ask(AMBIGUOUS[name] + get("/smuggled"))
    assert status(response) in {400, 0}, response
    assert response.count(b"HTTP/1.1 ") <= 1


@pytest.mark.parametrize(
    "line", [b"GET /echo RTSP/1.0\r\n", b"OPTIONS /echo RTSP/1.1\r\n", b"SOURCE /echo ICE/1.0\r\n"]
)
def test_a_request_of_another_protocol_is_refused_however_it_arrives(server: Server, line: bytes) -> None:
    request = line + HOST + b"\r\n"
    assert status(server.ask(request)) == 400
    behind = server.ask(post(b"/echo", b"Content-Length: 2", body=b"\n\n") + request + get("/smuggled"))
    assert [int(answer[:3]) for answer in behind.split(b"HTTP/1.1 ")[1:]] == [200, 400]
    for cut in range(1, len(line)):
        with server.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(request[:cut])
            connection.sendall(request[cut:])
            assert status(received(connection)) == 400


def test_the_name_of_another_protocol_is_text_like_any_other(server: Server) -> None:
    body = b"GET /echo RTSP/1.0\r\n\r\n"
    fields = b"X-Played: over RTSP/1.0", b"Content-Length: %d" % len(body)
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(post(b"/echo?q=/RTSP/1.0", *fields, body=body))
            assert one_response(connection)[1] == body


def test_http_2_is_off(server: Server) -> None:
    assert status(server.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) != 200


def test_a_websocket_is_refused(server: Server) -> None:
    fields = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    with server.connect() as connection:
        connection.sendall(b"GET /echo HTTP/1.1\r\n" + HOST + fields + b"Sec-WebSocket-Version: 13\r\n\r\n")
        assert status(one_response(connection)[0]) == 400


def test_too_many_bytes_of_headers_are_431(server: Server) -> None:
    assert status(server.ask(b"GET /echo HTTP/1.1\r\n" + HOST + b"X-B: " + b"a" * 40_000 + b"\r\n\r\n")) == 431
    many = b"".join(b"X-%d: a\r\n" % number for number in range(150))
    assert status(server.ask(b"GET /echo HTTP/1.1\r\n" + HOST + many + b"\r\n")) == 431


def test_a_target_that_is_too_long_is_414(server: Server) -> None:
    assert status(server.ask(get("/echo?" + "a" * 9000))) == 414


def test_an_unknown_expectation_is_417(server: Server) -> None:
    assert status(server.ask(b"GET /echo HTTP/1.1\r\n" + HOST + b"Expect: tea\r\n\r\n")) == 417


@pytest.mark.parametrize(
    "fields",
    [
        b'If-Match: "99\xff"\r\n',
        b"Idempotency-Key: k\xff\r\n",
        b"Authorization: Bearer \xff\r\nX-API-Key: good\r\n",
        b"X-API-Key: \xff\r\nX-API-Key: good\r\n",
        b"X-A: 1\r\nX-A: 2\r\nX-Q: \xc3\xa4\r\n",
    ],
)
def test_a_header_that_is_not_ascii_is_refused_and_not_left_out(server: Server, fields: bytes) -> None:
    response = server.ask(b"GET /environ HTTP/1.1\r\n" + HOST + fields + b"\r\n")
    assert status(response) == 400
    assert response.endswith(b"malformed_request")


@pytest.mark.parametrize("method", [b"get", b"Get", b"delete"])
def test_a_method_that_is_not_in_capitals_is_none(server: Server, method: bytes) -> None:
    response = server.ask(method + b" /echo HTTP/1.1\r\n" + HOST + b"\r\n")
    assert status(response) == 501
    assert response.endswith(b"method_not_implemented")


def test_a_name_with_an_underscore_does_not_pass_for_one_with_a_dash(server: Server) -> None:
    response = server.ask(b"GET /environ HTTP/1.1\r\n" + HOST + CLOSE + b"X_API_KEY: forged\r\nX_B: c\r\n\r\n")
    assert status(response) == 200
    assert b"forged" not in response


def test_the_environment_is_that_of_wsgi(server: Server) -> None:
    fields = b"X-A: 1\r\nX-a: 2\r\nCookie: a=1\r\nCookie: b=2\r\nContent-Type: text/plain\r\n"
    response = server.ask(b"GET /environ?q=%C3%A4 HTTP/1.1\r\n" + HOST + CLOSE + fields + b"\r\n")
    environ = json.loads(response.partition(b"\r\n\r\n")[2])
    assert environ["HTTP_X_A"] == "1, 2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert environ["QUERY_STRING"] == "q=%C3%A4"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["SERVER_PORT"] == str(server.port)


def test_an_application_that_fails_outright_is_a_500(server: Server) -> None:
    assert status(server.get("/broken")) == 500
    assert status(server.get("/echo")) == 200


def test_head_has_the_length_and_no_body(server: Server) -> None:
    response = server.ask(b"HEAD /environ HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n")
    head, _, body = response.partition(b"\r\n\r\n")
    assert status(response) == 200
    assert b"content-length: 0" not in head.lower()
    assert body == b""


def test_requests_on_one_connection_are_answered_in_order(server: Server) -> None:
    with server.connect() as connection:
        for length in (0, 1, 1000, 100_000):
            connection.sendall(post(b"/echo", b"Content-Length: %d" % length, body=b"a" * length))
            assert one_response(connection)[1] == b"a" * length

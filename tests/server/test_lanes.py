"""Who waits for slow work leaves threads to the others, and only small bodies are worked on by the loop."""

import time

from tests.server.running import Server, is_answered, one_response, seconds_since, status
from tests.servers.subprocesses import wait_until


def head(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: test", *fields, "", ""]).encode()


def test_a_caller_who_waits_for_slow_calls_leaves_a_thread_to_others_and_waits_for_its_own(server: Server) -> None:
    began = time.monotonic()
    slow = [server.connect() for _ in range(6)]
    for connection in slow:
        connection.sendall(head("GET", "/slow/2000", "X-Caller: busy"))
    other = server.ask(head("GET", "/slow/1", "X-Caller: other", "Connection: close"))
    assert status(other) == 200
    assert not is_answered(*slow)
    refused = server.ask(head("GET", "/slow/1", "X-Caller: busy", "Connection: close"))
    assert status(refused) == 503
    assert b"too_many_under_way" in refused
    assert [one_response(connection)[1] for connection in slow] == [b"slow"] * 6
    assert seconds_since(began) > 3.9


def thread_of(server: Server, body: bytes, *fields: str, path: str = "/thread") -> bytes:
    connection = server.connect()
    connection.sendall(head("POST", path, f"Content-Length: {len(body)}", *fields) + body)
    return one_response(connection)[1]


def test_a_body_that_is_large_or_compressed_or_a_file_never_stops_the_loop(server: Server) -> None:
    threads = [thread_of(server, b"x") for _ in range(60)]
    assert threads[0].startswith(b"request")
    assert b"MainThread x" in threads
    assert thread_of(server, b"x" * 3000).startswith(b"request")
    assert thread_of(server, b"x", "Content-Encoding: gzip").startswith(b"request")
    assert thread_of(server, b"x", "Content-Type: application/vnd.apache.parquet").startswith(b"request")
    wait_until(lambda: thread_of(server, b"x") == b"MainThread x", "small ones run on the loop again")


def test_a_request_that_waits_for_another_process_never_does_so_on_the_loop(server: Server) -> None:
    waiting = [thread_of(server, b"wait", path="/waiting") for _ in range(20)]
    assert {answer.partition(b"_")[0] for answer in waiting} == {b"request"}
    wait_until(
        lambda: thread_of(server, b"quick", path="/waiting") == b"MainThread quick",
        "those that do not, are on the loop",
    )
    # The first that waits has begun there, and begins again in a thread with all that was sent.
    assert thread_of(server, b"wait a moment", path="/waiting").startswith(b"request")
    assert thread_of(server, b"wait a moment", path="/waiting").endswith(b" wait a moment")
    assert thread_of(server, b"quick", path="/waiting").startswith(b"request")

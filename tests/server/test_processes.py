"""Workers: started, killed, replaced, drained, stopped."""

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server.running import Server, Start, get, one_response, seconds_since, status
from tests.server.test_requests import post
from tests.servers.subprocesses import wait_until


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_stop_answers_what_is_under_way_and_does_not_wait_for_idle_connections(start: Start) -> None:
    server = start(drain_seconds=30)
    idle = [server.connect() for _ in range(5)]
    for connection in idle[:3]:
        connection.sendall(get("/echo"))
        one_response(connection)
    under_way = server.connect()
    under_way.sendall(get("/slow/700"))
    began = time.monotonic()
    server.child.send(signal.SIGTERM)
    _, body = one_response(under_way)
    assert body == b"slow"
    assert server.child.wait(60) == 0
    assert seconds_since(began) < 30
    assert (server.directory / "closed").exists()


def test_a_stop_is_bounded_whatever_hangs(start: Start) -> None:
    server = start(drain_seconds=2)
    body, head, work = server.connect(), server.connect(), server.connect()
    body.sendall(post(b"/echo", b"Content-Length: 10", body=b"a"))
    head.sendall(b"GET /echo HT")
    work.sendall(get("/slow/60000"))
    began = time.monotonic()
    server.child.send(signal.SIGTERM)
    server.child.wait(60)
    assert seconds_since(began) < 30
    assert (server.directory / "closed").exists()


def test_a_stopping_server_says_so_and_closes_connections_after_their_response(start: Start) -> None:
    server = start(drain_seconds=15)
    connection = server.connect()
    connection.sendall(get("/draining"))
    assert one_response(connection)[1] == b"False"
    server.child.send(signal.SIGTERM)
    wait_until(lambda: _says_draining(server), "the server says that it drains")
    assert server.child.wait() == 0


def _says_draining(server: Server) -> bool:
    with server.connect() as connection:
        connection.sendall(get("/draining"))
        head, body = one_response(connection)
    return body == b"True" and b"connection: close" in head.lower()


def test_a_worker_that_dies_is_replaced_and_takes_no_connection_with_it(start: Start) -> None:
    server = start(workers=2)
    killed: list[int] = []
    for _ in range(3):
        killed.append(server.workers()[0])
        os.kill(killed[-1], signal.SIGKILL)
        for _ in range(20):
            assert status(server.get("/echo")) == 200
        wait_until(lambda: len(server.workers()) == 2 and killed[-1] not in server.workers(), "it is replaced")
    assert server.child.stop() == 0


def test_no_worker_outlives_its_server(start: Start) -> None:
    server = start(workers=2)
    workers = server.workers()
    os.kill(server.child.pid, signal.SIGKILL)
    wait_until(lambda: all(is_gone(worker) for worker in workers), "the workers are gone")
    with socket.socket() as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port.bind(("127.0.0.1", server.port))


def test_a_hangup_replaces_every_worker_and_loses_no_request(start: Start) -> None:
    server = start(workers=2)
    before = set(server.workers())
    server.child.send(signal.SIGHUP)
    answered: list[int] = []
    with ThreadPoolExecutor(4) as callers:
        while before & set(server.workers()):
            answered += callers.map(lambda _: status(server.get("/echo")), range(40))
    assert set(answered) == {200}
    assert len(server.workers()) == 2
    assert server.child.stop() == 0


def test_workers_that_do_not_start_end_the_server(start: Start) -> None:
    server = start(target="broken", ready=False)
    assert server.child.wait(30) == 1
    assert "this worker does not start" in server.child.text()


def test_a_port_that_is_taken_ends_the_server_at_once(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = start(ready=False, port=taken.getsockname()[1])
        assert server.child.wait(30) != 0
    assert "Address already in use" in server.child.text()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_share_a_directory_of_metrics_where_there_are_several(start: Start, workers: int) -> None:
    server = start(workers=workers)
    stale = server.directory / "metrics"
    assert stale.exists() == (workers == 2)
    server.child.stop()
    assert not list(stale.glob("*"))

"""Callers who go away in the middle of something, and more of them than there are descriptors: nothing is left."""

import os
import resource
import socket
import struct
from pathlib import Path

from tests.server.applications import MEGABYTE
from tests.server.running import Server, Start, get, one_response, status
from tests.server.test_files import LONG
from tests.server.test_floods import memory
from tests.server.test_requests import HOST, post
from tests.servers.subprocesses import wait_until

ENDLESS = b"Content-Length: 3000000"
STATES = {
    "before anything": b"",
    "in a head": b"POST /echo HTTP/1.1\r\n" + HOST + b"X-Half: a",
    "in a body": post(b"/echo", b"Content-Length: 1000", body=b"a"),
    "in a body that goes to a file": post(b"/echo", b"X-Large: 1", ENDLESS, body=b"a" * (2 * MEGABYTE)),
    "in a chunk": post(b"/echo", b"Transfer-Encoding: chunked", body=b"ff\r\na"),
    "while the answer is made": get("/slow/100"),
    "while many wait": get("/slow/20") + get("/echo") * 500,
    "while it is sent": get(f"/file/{LONG}"),
    "while nobody takes it": post(b"/echo", b"Content-Length: 1000000", body=b"a" * 1_000_000) * 3,
    "after it was refused": b"GET / HTTP/3.0\r\n\r\n" + b"a" * 1000,
}


def leave(server: Server, sent: bytes, *, abruptly: bool) -> None:
    connection = server.connect()
    connection.settimeout(1)
    if abruptly:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    try:
        connection.sendall(sent)
    except OSError:
        pass  # The server takes no more of it until its answers are taken.
    finally:
        connection.close()


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_nothing_is_left_of_callers_who_go_away(start: Start) -> None:
    server = start(incoming_bytes=8 * MEGABYTE, threads=4)
    worker = server.workers()[0]

    def all_leave(times: int) -> None:
        for _ in range(times):
            for sent in STATES.values():
                for abruptly in (False, True):
                    leave(server, sent, abruptly=abruptly)

    server.get("/slow/1")
    idle = descriptors(worker)
    all_leave(2)  # Whatever they need is there now.
    wait_until(lambda: descriptors(worker) <= idle, "every descriptor is closed")
    before = memory(worker)
    all_leave(6)
    wait_until(lambda: descriptors(worker) <= idle, "every descriptor is closed again")
    assert memory(worker) - before < 16 * MEGABYTE
    # The room that their bodies took is there again: it holds eight such bodies at once, of callers who are not known.
    body = b"a" * (MEGABYTE - 1)
    held = [server.connect() for _ in range(7)]
    for connection in held:
        connection.sendall(post(b"/echo", b"Content-Length: %d" % MEGABYTE, body=body))
    for connection in held:
        connection.sendall(b"z")
        assert status(one_response(connection)[0]) == 200


def test_a_worker_without_descriptors_waits_for_some_and_goes_on(start: Start) -> None:
    server = start()
    worker = server.workers()[0]
    server.get("/slow/1")
    limit = descriptors(worker) + 4
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, limit))
    asking = [server.connect() for _ in range(20)]
    for connection in asking:
        connection.sendall(get("/echo"))
    wait_until(lambda: descriptors(worker) >= limit, "no descriptor is left")
    busy = processor_seconds(worker)
    began = os.times().elapsed
    wait_until(lambda: os.times().elapsed - began > 2, "it has waited for a while")
    assert processor_seconds(worker) - busy < 1
    for connection in asking:
        # Each that leaves makes way for another one.
        assert status(one_response(connection)[0]) == 200
        connection.close()
    wait_until(lambda: status(server.get("/echo")) == 200, "others come again")

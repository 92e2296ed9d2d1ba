"""The load generator against a server that answers as it is told."""

import json
import re
import socketserver
import ssl
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.cli.bench import requests
from service.cli.bench.generator import Load
from service.cli.bench.load import Measured, Plan, Running
from service.cli.bench.report import Row, remarks, require_answers
from service.cli.bench.server import Server, Target
from service.cli.output import Failure
from tests.servers.subprocesses import free_port, wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LIMITED = b'HTTP/1.1 429 Too Many Requests\r\ncontent-length: 23\r\n\r\n{"code": "rate_limited"}'.replace(b"23", b"24")
CHUNKED = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n")

Parts = Sequence[bytes]
"""What is sent for one answer, part by part; an empty part closes the connection."""


class Answering(socketserver.ThreadingTCPServer):
    """Gives each request, by its number, the answer that a function says, and keeps what was asked."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, answer: Callable[[int], Parts]) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.answer = answer
        self.asked: list[bytes] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Conversation(socketserver.StreamRequestHandler):
    server: Answering

    def handle(self) -> None:
        with suppress(ConnectionError):
            self._converse()

    def _converse(self) -> None:
        while head := self._head():
            body = self.rfile.read(int(re.search(rb"Content-Length: (\d+)", head)[1]))  # type: ignore[index]
            with self.server.lock:
                self.server.asked.append(body)
                number = len(self.server.asked)
            for part in self.server.answer(number):
                if not part:
                    return
                self.wfile.write(part)

    def _head(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b"", b"\r\n"):
            lines.append(line)
        return b"".join(lines)


Serve = Callable[[Callable[[int], Parts]], Answering]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[tuple[Answering, threading.Thread]] = []

    def start(answer: Callable[[int], Parts]) -> Answering:
        server = Answering(answer)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(private + signed.public_bytes(pem))
    return path


def load(url: str, **changes: Any) -> Load:
    """Return a load of this process that has run."""
    host, port = url.removeprefix("http://").removeprefix("https://").split(":")
    plan = {
        "host": host,
        "port": int(port),
        "tls": url.startswith("https"),
        "requests": [["POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n1.", ""]],
        "first": 0,
        "connections": 2,
        "seconds": 0.2,
        "patience": 5,
        "ends": [429],
        **changes,
    }
    made = Load(plan)
    made.run()
    return made


def test_every_answer_is_counted_with_its_time_and_no_two_requests_are_the_same(serve: Serve) -> None:
    server = serve(lambda _: [OK])
    ran = load(server.url)
    assert len(ran.latencies) > 10
    assert not ran.errors
    assert 0 < max(ran.latencies) < ran.elapsed * 1e6
    assert len(set(server.asked)) == len(server.asked) >= len(ran.latencies)


def test_answers_that_come_in_parts_and_in_chunks_are_whole_only_at_their_end(serve: Serve) -> None:
    server = serve(lambda number: CHUNKED if number % 2 else (OK[:20], OK[20:-1], OK[-1:]))
    ran = load(server.url)
    assert len(ran.latencies) > 4
    assert not ran.errors


def test_a_server_that_closes_after_each_answer_is_called_again(serve: Serve) -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    ran = load(serve(lambda _: [closing, b""]).url, seconds=0.4)
    assert len(ran.latencies) > 2
    assert not ran.errors


def test_refusals_are_counted_by_status_and_code_and_one_that_ends_it_ends_it(serve: Serve) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
    ran = load(serve(lambda number: [OK] if number < 10 else [busy] if number < 20 else [LIMITED]).url, seconds=30)
    assert ran.elapsed < 30
    assert len(ran.latencies) == 9
    assert ran.errors[503, ""] == 10
    assert ran.errors[429, "rate_limited"] >= 1


def test_what_is_not_answered_is_counted_and_the_load_goes_on(serve: Serve) -> None:
    server = serve(lambda number: [b""] if number == 1 else [] if number == 2 else [OK])
    ran = load(server.url, patience=0.2, seconds=0.6)
    assert ran.errors == {(0, "connection_closed"): 1, (0, "timeout"): 1}
    assert len(ran.latencies) > 10


def test_requests_that_are_never_answered_are_counted_at_the_end(serve: Serve) -> None:
    ran = load(serve(lambda number: [] if number == 5 else [OK]).url, seconds=1.5)
    assert ran.errors == {(0, "unanswered"): 1}
    assert len(ran.latencies) > 10


def test_a_port_where_nobody_listens_gives_errors_and_no_answer() -> None:
    ran = load(f"http://127.0.0.1:{free_port()}")
    assert not ran.latencies
    assert set(ran.errors) == {(0, "ConnectionRefusedError")}


def test_a_request_that_is_larger_than_what_a_socket_takes_arrives_whole(serve: Serve) -> None:
    size = 20_000_000
    server = serve(lambda number: [OK if number == 1 else LIMITED])
    text = f"POST / HTTP/1.1\r\nContent-Length: {size}\r\n\r\n" + "x" * size
    ran = load(server.url, requests=[[text]], seconds=30, connections=1)
    assert len(ran.latencies) == 1
    assert {len(body) for body in server.asked} == {size}


def test_tls_is_spoken_and_a_certificate_that_nobody_vouches_for_is_refused(
    serve: Serve, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(lambda _: [OK.replace(b"Content-Length: 2", b"Content-Length: 40000") + b" " * 39_998])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http", "https").replace("127.0.0.1", "localhost")
    assert set(load(url).errors) == {(0, "SSLCertVerificationError")}
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    ran = load(url)
    assert len(ran.latencies) > 2
    assert not ran.errors


def test_processes_share_the_connections_and_send_different_requests(serve: Serve) -> None:
    server = serve(lambda _: [OK])
    request = (b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n1.", b"")
    running = Running(Plan(server.url, [request], connections=3, seconds=0.3, processes=2))
    wait_until(lambda: running.wait(0.01), "it has ended")
    measured = running.measured()
    assert not measured.errors
    assert len(measured.latencies) > 10
    assert len(set(server.asked)) == len(server.asked)


def test_a_load_that_is_stopped_reports_what_it_has(serve: Serve) -> None:
    server = serve(lambda _: [OK])
    request = (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",)
    running = Running(Plan(server.url, [request], seconds=600))
    wait_until(lambda: len(server.asked) > 20, "it is under way")
    running.stop()
    measured = running.measured()
    assert len(measured.latencies) > 10
    assert measured.seconds < 600


def test_a_generator_that_fails_is_told_of(serve: Serve) -> None:
    running = Running(Plan(serve(lambda _: [OK]).url, [], seconds=600))
    with pytest.raises(RuntimeError, match="load generator"):
        running.measured()


def test_percentiles_are_latencies_of_answers() -> None:
    measured = Measured(seconds=2, latencies=array("I", range(1000, 101_000, 1000)))
    assert measured.percentiles([0, 0.5, 0.99, 1]) == [1.0, 51.0, 100.0, 100.0]
    assert measured.requests_per_second == 50
    assert Measured().percentiles([0.5]) == [0.0]
    assert Measured().requests_per_second == 0


def test_a_generator_without_rest_is_remarked_on() -> None:
    rested, busy = (Row(["iris"], cached=False, rounds=[Measured(2, share)]) for share in (1.0, 1.9))
    assert remarks([rested]) == []
    assert "busy 95% of the time" in remarks([rested, busy])[0]


def test_a_row_without_an_answer_is_a_failure() -> None:
    silent = Row(["iris"], cached=True, rounds=[Measured(2), Measured(2, errors=Counter({(0, "timeout"): 3}))])
    with pytest.raises(Failure, match=r"iris, cached: not one answer; no answer \(timeout\)"):
        require_answers([silent])
    with pytest.raises(Failure, match="none came in time"):
        require_answers([Row(["iris"], cached=True, rounds=[Measured(2)])])


def test_rounds_add_up_and_processes_run_beside_each_other() -> None:
    one = Measured(2, 1.5, array("I", [1, 2]), Counter({(503, ""): 1}))
    total = Measured()
    for _ in range(2):
        total.add(one)
    assert (total.seconds, total.busy, list(total.latencies), total.errors[503, ""]) == (4, 3, [1, 2, 1, 2], 2)
    total.join(one)
    assert (total.seconds, total.busy, len(total.latencies)) == (4, 3, 6)


SERVER = Server("http://127.0.0.1:8000", "mw_key")
COLUMNS = [
    {"name": "kind", "dtype": "string"},
    {"name": "size", "dtype": "float64"},
    {"name": "count", "dtype": "int64"},
    {"name": "new", "dtype": "bool"},
]


def rows(sent: list[tuple[bytes, ...]]) -> list[Any]:
    """Return the one row of each request, each of which must have the length that it says."""
    found = []
    for number, request in enumerate(sent):
        head, _, body = (b"%08d" % number).join(request).partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert b"Authorization: Bearer mw_key" in head
        (row,) = json.loads(body)["inputs"]
        found.append(row)
    return found


def test_rows_are_made_up_by_the_types_of_the_signature() -> None:
    target = Target("shop", {"inputs": COLUMNS, "layout": "matrix"})
    made = rows(requests.fresh(SERVER, target))
    assert len({str(row) for row in made}) == len(made)
    assert {tuple(map(type, row)) for row in made} == {(str, float, int, bool)}
    again = rows(requests.repeated(SERVER, target))
    assert len({str(row) for row in again}) == len(again) < len(made)


def test_texts_are_made_up_for_a_model_of_text() -> None:
    target = Target("mail", {"inputs": [{"name": "text", "dtype": "string"}], "layout": "text"})
    made = rows(requests.fresh(SERVER, target))
    assert len({row[0] for row in made}) == len(made)


def test_a_given_row_is_varied_where_it_is_continuous() -> None:
    target = Target("shop", {"inputs": COLUMNS, "layout": "matrix"})
    made = rows(requests.fresh(SERVER, target, ["a", 5, 3, True]))
    assert {(row[0], row[2], row[3]) for row in made} == {("a", 3, True)}
    assert len({row[1] for row in made}) == len(made)
    assert all(4.9 < row[1] < 5.1 for row in made)
    named = rows(requests.fresh(SERVER, target, {"size": 5.0, "kind": "a", "new": None, "count": 3}))
    assert {(row["kind"], row["count"], row["new"]) for row in named} == {("a", 3, None)}
    assert len({row["size"] for row in named}) == len(named)


def test_a_row_alone_says_enough() -> None:
    made = rows(requests.fresh(SERVER, Target("shop", None), ["a", 1, 2.0]))
    assert {(row[0], row[1]) for row in made} == {("a", 1)}
    assert len({row[2] for row in made}) == len(made)
    fixed = rows(requests.fresh(SERVER, Target("shop", None), [1, 2]))
    assert {tuple(row) for row in fixed} == {(1, 2)}


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(Failure, match=r"has 2 cells.*takes 4"):
        requests.fresh(SERVER, Target("shop", {"inputs": COLUMNS}), [1, 2])

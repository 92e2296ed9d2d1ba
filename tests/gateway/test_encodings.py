"""Compressed bodies, honest and hostile."""

import gzip
import io

import pytest

from service.errors import Malformed, TooLarge
from service.gateway.encodings import inflate
from tests.gateway.application import Running
from tests.gateway.test_limits import narrowed

TEXT = b"one row, and another one; " * 10_000


def sent(running: Running, body: bytes, encoding: str = "gzip") -> tuple[int, bytes]:
    fields = {"Content-Encoding": encoding}
    answer = running.ask("/echo", method="POST", key=running.key, data=body, headers=fields)
    return answer.status_code, answer.data if answer.status_code == 200 else answer.json["code"].encode()


def test_a_compressed_body_is_read_as_the_plain_one(running: Running) -> None:
    halves = gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])
    for body in (gzip.compress(TEXT), halves):
        assert sent(running, body) == (200, TEXT)
    assert sent(running, gzip.compress(b""), "X-GZip") == (200, b"")
    assert sent(running, TEXT, "identity") == (200, TEXT)


def test_what_is_no_gzip_is_refused(running: Running) -> None:
    whole = gzip.compress(TEXT)
    for body in (b"plain", whole[:-1], whole[:20], whole + b"more", whole[:-8] + bytes(8)):
        assert sent(running, body) == (400, b"invalid_encoding")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_another_encoding_is_refused(running: Running, encoding: str) -> None:
    assert sent(running, gzip.compress(TEXT), encoding) == (415, b"unsupported_media_type")


def test_a_body_is_held_to_the_plan_by_what_it_holds(running: Running) -> None:
    narrowed(running, max_body_bytes=100_000)
    assert sent(running, gzip.compress(bytes(100_000)))[0] == 200
    assert sent(running, gzip.compress(bytes(100_001))) == (413, b"body_too_large")


def test_a_bomb_is_not_inflated_beyond_the_cap() -> None:
    bomb = gzip.compress(bytes(50 << 20))
    into = io.BytesIO()
    with pytest.raises(TooLarge):
        inflate(io.BytesIO(bomb), len(bomb), 1000, into)
    assert into.tell() == 1001
    with pytest.raises(Malformed):
        inflate(io.BytesIO(bomb), len(bomb) - 4, 100 << 20, io.BytesIO())

"""Frames come back as they were made, and a broken one is never taken for another."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.confinement import wire
from service.errors import ChildFailed, Finding, NotFound, Rejected


@given(st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53) | st.none()), st.binary())
def test_a_frame_comes_back_as_it_was_made(header: dict[str, object], body: bytes) -> None:
    frame = wire.pack(header, body)

    assert wire.receive(io.BytesIO(frame).read, len(body)) == (header, body)
    unpacked, rest = wire.unpack(frame)
    assert (unpacked, bytes(rest)) == (header, body)


@given(st.integers(0, 40))
def test_a_frame_that_is_cut_off_is_none(cut: int) -> None:
    frame = wire.pack({"a": 1}, b"some bytes of a body, forty in all or so")
    part = frame[: len(frame) - 1 - cut]

    with pytest.raises(EOFError):
        wire.receive(io.BytesIO(part).read, 1000)
    with pytest.raises(ValueError, match="cut off"):
        wire.unpack(part)


def test_a_frame_larger_than_allowed_is_not_read() -> None:
    with pytest.raises(ValueError, match="larger"):
        wire.receive(io.BytesIO(wire.pack({}, bytes(11))).read, 10)


def test_an_error_comes_back_as_itself() -> None:
    error = Rejected("No.", code="why", findings=[Finding("here", "is wrong")], retry_after=2)

    again = wire.revive(wire.describe(error))

    assert type(again) is Rejected
    assert (again.detail, again.reason, again.findings, again.retry_after) == ("No.", "why", error.findings, 2)
    assert type(wire.revive(wire.describe(NotFound()))) is NotFound


@pytest.mark.parametrize("name", ["Finding", "Sequence", "ValueError", "nothing", ""])
def test_no_other_name_becomes_an_error(name: str) -> None:
    with pytest.raises(TypeError):
        wire.revive(wire.describe(ChildFailed()) | {"error": name})

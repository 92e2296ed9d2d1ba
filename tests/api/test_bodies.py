"""JSON in, without a server: what is accepted is what a slow, obvious reader accepts."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api import bodies
from service.errors import Invalid, Malformed

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
)


def nested(depth: int, kind: str) -> bytes:
    if kind == "lists":
        return b"[" * depth + b"]" * depth
    if kind == "objects":
        return b'{"a":' * depth + b"1" + b"}" * depth
    return b'[{"a":' * (depth // 2) + b"[]" * (depth % 2) + b"1" * (1 - depth % 2) + b"}]" * (depth // 2)


@given(VALUES)
def test_what_json_can_say_is_read_as_it_is(value: Any) -> None:
    assert bodies.strict_json(json.dumps(value).encode()) == value


@given(st.lists(st.tuples(st.sampled_from("ab:["), SCALARS), max_size=5), st.integers(0, 40))
def test_a_duplicate_key_is_refused_wherever_it_stands(pairs: list[tuple[str, Any]], around: int) -> None:
    inner = "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs) + "}"
    text = json.dumps({"inputs": [{}] * around, "more": 0}).replace('"more": 0', f'"more": {inner}')
    keys = [key for key, _ in pairs]
    if len(set(keys)) == len(keys):
        assert bodies.strict_json(text.encode())["more"] == dict(pairs)
    else:
        with pytest.raises(Malformed) as refusal:
            bodies.strict_json(text.encode())
        assert refusal.value.reason == "duplicate_key"


@pytest.mark.parametrize("rows", [1, 20, 200])
@pytest.mark.parametrize("at", ["first", "last"])
def test_a_duplicate_key_among_many_rows_is_refused(rows: int, at: str) -> None:
    good, bad = '{"a":1,"b":2}', '{"a":1,"a":2}'
    lines = [good] * rows
    lines.insert(0 if at == "first" else rows, bad)
    with pytest.raises(Malformed):
        bodies.strict_json(f'{{"inputs":[{",".join(lines)}]}}'.encode())


def test_a_duplicate_key_cannot_hide_behind_rows_of_another_kind() -> None:
    rows = ",".join(['{"a":1,"a":2}', "[5]"] * 20)
    with pytest.raises(Malformed):
        bodies.strict_json(f'{{"inputs":[{rows}]}}'.encode())


def test_keys_and_text_with_colons_and_brackets_are_no_duplicates_and_no_depth() -> None:
    value = {"a:b": [{"c[": ":" * 50, "d": "[" * 50}] * 30}
    assert bodies.strict_json(orjson.dumps(value)) == value


@pytest.mark.parametrize("kind", ["lists", "objects", "both"])
def test_thirty_two_levels_are_read_and_one_more_is_not(kind: str) -> None:
    bodies.strict_json(nested(32, kind))
    with pytest.raises(Malformed) as refusal:
        bodies.strict_json(nested(34, kind))
    assert refusal.value.reason == "nesting_too_deep"


def test_nesting_among_many_shallow_rows_is_found() -> None:
    rows = [b"[1,2]"] * 100 + [nested(32, "lists")]
    with pytest.raises(Malformed):
        bodies.strict_json(b'{"inputs":[' + b",".join(rows) + b"]}")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "empty_body"),
        (b"{", "malformed_json"),
        (b'{"a":1} x', "trailing_content"),
        (b'{"a":NaN}', "non_finite_number"),
        (b'{"a":-Infinity}', "non_finite_number"),
        (b'{"a":1e999}', "non_finite_number"),
        (b'{"a":"\xff"}', "invalid_encoding"),
        (b'{"a":"\\ud800"}', "invalid_encoding"),
        (b"\xef\xbb\xbf{}", "invalid_encoding"),
        (b"{'a':1}", "malformed_json"),
        (b'{"a":01}', "malformed_json"),
        (b'{"a":1,}', "malformed_json"),
        (b"[" * 100_000, "nesting_too_deep"),
    ],
)
def test_what_is_not_json_is_refused_with_its_reason(text: bytes, code: str) -> None:
    with pytest.raises(Malformed) as refusal:
        bodies.strict_json(text)
    assert refusal.value.reason == code


def test_the_refusal_of_malformed_json_does_not_echo_it() -> None:
    with pytest.raises(Malformed) as refusal:
        bodies.strict_json(b'{"password":"hunter2"')
    assert "hunter2" not in refusal.value.detail


class Named(bodies.Body):
    """A body of one name and one number."""

    name: str
    size: int = 0


def test_each_unknown_field_is_named() -> None:
    with pytest.raises(Invalid) as refusal:
        bodies.parse(Named, b'{"name":"a","tenant":"other","x":1}')
    assert {finding.at for finding in refusal.value.findings} == {"tenant", "x"}


@pytest.mark.parametrize("size", [b'"7"', b"true", b"7.5", b"null", b"[7]"])
def test_a_look_alike_of_a_number_is_refused_and_not_echoed(size: bytes) -> None:
    with pytest.raises(Invalid) as refusal:
        bodies.parse(Named, b'{"name":"hunter2","size":' + size + b"}")
    assert [finding.at for finding in refusal.value.findings] == ["size"]
    assert "hunter2" not in str(refusal.value.findings)


@pytest.mark.parametrize("text", [b"[]", b'"a"', b"1", b"null", b"true"])
def test_a_body_that_is_no_object_is_invalid(text: bytes) -> None:
    with pytest.raises(Invalid):
        bodies.parse(Named, text)


def test_a_nul_character_is_refused_where_it_stands() -> None:
    with pytest.raises(Invalid) as refusal:
        bodies.parse(Named, b'{"name":"a\\u0000b"}')
    assert (refusal.value.reason, refusal.value.findings[0].at) == ("nul_character", "name")


class Loose(bodies.Body):
    """A body of anything."""

    value: Any


@pytest.mark.parametrize(
    ("value", "at"),
    [({"a": ["x", "b\0"]}, "value.a[1]"), ({"a\0": 1}, "value.a\\u0000"), ([[{"k": "\0"}]], "value[0][0].k")],
)
def test_a_nul_character_is_found_at_any_depth(value: Any, at: str) -> None:
    with pytest.raises(Invalid) as refusal:
        bodies.parse(Loose, orjson.dumps({"value": value}))
    assert [finding.at for finding in refusal.value.findings] == [at]


def test_an_escaped_backslash_before_u0000_is_no_nul_character() -> None:
    assert bodies.parse(Named, b'{"name":"\\\\u0000"}').name == "\\u0000"

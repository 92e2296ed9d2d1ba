"""Arrays come back from their bytes as they were, and bytes that are none are refused."""

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import sparse

from service.predict.arrays import decode, encode

PLAIN = st.one_of(
    npst.floating_dtypes(endianness="="),
    npst.integer_dtypes(endianness="="),
    npst.unsigned_integer_dtypes(endianness="="),
    npst.boolean_dtypes(),
    npst.unicode_string_dtypes(endianness="=", max_len=5),
)
CELLS = st.one_of(
    st.text(), st.floats(), st.booleans(), st.none(), st.integers(-(2**53), 2**53), st.just(math.nan), st.just("")
)


def there_and_back(values: Any) -> Any:
    description, parts = encode(values)
    return decode(orjson.loads(orjson.dumps(description)), bytearray(b"".join(parts)))


def assert_same(given: Any, expected: Any) -> None:
    assert given.dtype == expected.dtype
    assert given.shape == expected.shape
    assert given.tobytes() == expected.tobytes()
    assert given.flags.c_contiguous
    assert given.flags.aligned


@given(npst.arrays(PLAIN, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
def test_numbers_booleans_and_texts_come_back_bit_for_bit(values: np.ndarray) -> None:
    assert_same(there_and_back(values), values)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=4))
def test_cells_of_several_types_come_back_as_they_were(rows: list[list[Any]]) -> None:
    values = np.empty((len(rows), 3), dtype=object)
    if rows:
        values[:] = rows
    again = there_and_back(values)
    assert again.shape == values.shape
    for cell, expected in zip(again.ravel(), values.ravel(), strict=True):
        assert type(cell) is type(expected)
        assert cell == expected or (math.isnan(cell) and math.isnan(expected))


def test_a_list_of_arrays_is_one_again() -> None:
    values = [np.array(["a", "äöü"]), np.zeros((2, 3)), np.array([True]), np.arange(3, dtype=np.int16)]
    again = there_and_back(values)
    for each, expected in zip(again, values, strict=True):
        assert_same(each, expected)


def test_what_lies_otherwise_in_memory_comes_back_in_c_order() -> None:
    values = np.arange(12.0).reshape(3, 4).T[::2]
    assert_same(there_and_back(values), np.ascontiguousarray(values))
    np.testing.assert_array_equal(there_and_back(sparse.csr_matrix(np.eye(3))), np.eye(3))
    np.testing.assert_array_equal(there_and_back(np.array([1, 2], dtype=">i4")), [1, 2])


def test_labels_of_numpy_are_plain_again() -> None:
    values = np.array([np.str_("a"), np.int64(3), np.bool_(True), b"b"], dtype=object)
    assert there_and_back(values).tolist() == ["a", 3, True, "b"]


@pytest.mark.parametrize(
    ("description", "body"),
    [
        ({}, b""),
        ({"dtype": "<f8", "shape": [2]}, bytes(8)),
        ({"dtype": "<f8", "shape": [1]}, bytes(16)),
        ({"dtype": "<f8", "shape": [-1]}, b""),
        ({"dtype": "<f8", "shape": [1 << 70]}, b""),
        ({"dtype": "<f8", "shape": ["1"]}, bytes(8)),
        ({"dtype": "<f8", "shape": None}, bytes(8)),
        ({"dtype": "|O", "shape": [1]}, bytes(8)),
        ({"dtype": "<V8", "shape": [1]}, bytes(8)),
        ({"dtype": "<i3", "shape": [1]}, bytes(3)),
        ({"dtype": 8, "shape": [1]}, bytes(8)),
        ({"dtype": "<U1", "shape": [1]}, (0x110000).to_bytes(4, "little")),
        ({"dtype": "<U1", "shape": [1]}, (0xD800).to_bytes(4, "little")),
        ({"objects": [1, 0, 3], "shape": [1]}, b"o{]["),
        ({"objects": [1, 0, 2], "shape": [2]}, b"o[]"),
        ({"objects": [1, -1, 2], "shape": [1]}, b"o[]"),
        ({"objects": [1], "shape": [1]}, b"o"),
        ({"list": [{"dtype": "<f8", "shape": [1]}]}, b""),
        ({"list": 3}, b""),
    ],
)
def test_what_is_no_array_is_refused(description: dict[str, Any], body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(description, body)


def test_a_byte_that_is_no_boolean_becomes_one() -> None:
    assert decode({"dtype": "|b1", "shape": [2]}, b"\x02\x00").view(np.uint8).tolist() == [1, 0]


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(TypeError):
        encode(np.array([1 << 70], dtype=object))

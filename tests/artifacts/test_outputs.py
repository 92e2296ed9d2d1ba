"""From what estimators return to what JSON can say."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from service.artifacts.outputs import MOST_BYTES, refuse_large, refuse_long_labels, rendered
from service.errors import TooLarge


def read(values: Any) -> Any:
    return orjson.loads(rendered(values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([1.5, np.nan, np.inf]), [1.5, None, None]),
        (np.array([1, 2], dtype=np.int32), [1, 2]),
        (np.array([True, False]), [True, False]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([b"a"]), ["a"]),
        (
            np.array(["a", None, np.str_("b"), np.int64(3), np.bool_(True), 2.5], dtype=object),
            ["a", None, "b", 3, True, 2.5],
        ),
        (np.array([["a", "b"]], dtype=object), [["a", "b"]]),
        (np.array([1, 2, 3, 4])[::2], [1, 3]),
        (np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]), [[1.0, 2.0], [3.0, 4.0]]),
        (sparse.csr_matrix([[0.0, 2.0]]), [[0.0, 2.0]]),
        ([np.array([[0.1, 0.9]]), np.array([[1.0, 0.0]])], [[[0.1, 0.9]], [[1.0, 0.0]]]),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), ["2020-01-01"]),
        (["a", "b"], ["a", "b"]),
        (np.array([0.1], dtype=np.float16), [float(np.float16(0.1))]),
        (np.array([0.5, np.nan], dtype=np.longdouble), [0.5, None]),
        (np.array([1.5, 2.0], dtype=">f8"), [1.5, 2.0]),
        (np.array([[1, 2]], dtype=">i4"), [[1, 2]]),
        (np.ma.masked_array([1.0, 2.0]), [1.0, 2.0]),
    ],
)
def test_outputs_become_json_s_own_types(values: Any, expected: Any) -> None:
    assert read(values) == expected


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_come_back_as_they_were(values: list[float]) -> None:
    assert [value.hex() for value in read(np.array(values))] == [value.hex() for value in values]


LONG = "ä" * 1000
ROWS = MOST_BYTES // 2003
TABLE = MOST_BYTES // 25


def repeated(label: str, rows: int, dtype: Any = object) -> Any:
    """Rows of one label that take no memory of their own."""
    return np.broadcast_to(np.array(label, dtype=dtype), rows)


@pytest.mark.parametrize(
    ("fits", "does_not"),
    [
        ([repeated(LONG, ROWS)], [repeated(LONG, ROWS + 1)]),
        ([repeated("a", 10_000, "U9999")], [repeated("a" * 9999, 10_000, "U9999")]),
        ([repeated('"' * 1000, 10_000)], [repeated('"' * 1000, 40_000)]),
        ([np.broadcast_to(0.5, (TABLE // 5, 5))], [np.broadcast_to(0.5, (TABLE // 5, 6))]),
        ([sparse.csr_matrix((1000, 1000))], [sparse.csr_matrix((10_000, 1_000_000))]),
        ([[np.broadcast_to(0.5, TABLE // 2)] * 2], [[np.broadcast_to(0.5, TABLE // 2)] * 3]),
        ([repeated("a", 9), np.broadcast_to(0.5, TABLE - 9)], [repeated("a", 9), np.broadcast_to(0.5, TABLE)]),
        ([np.array(["a", None, 1, 2.5, True], dtype=object)], [np.array([LONG * 40_000, None], dtype=object)]),
    ],
)
def test_what_would_be_too_large_as_json_is_refused_before_it_is_written(fits: list[Any], does_not: list[Any]) -> None:
    refuse_large(fits)
    with pytest.raises(TooLarge) as refusal:
        refuse_large(does_not)
    assert refusal.value.reason == "answer_too_large"


def test_rows_that_could_all_be_given_a_long_label_are_refused_before_a_model_runs() -> None:
    refuse_long_labels(1 << 30, None)
    refuse_long_labels(1 << 30, [0, 1, True])
    refuse_long_labels(100_000, ["a" * 600, "b"])
    with pytest.raises(TooLarge):
        refuse_long_labels(100_000, ["a" * 700, "b"])

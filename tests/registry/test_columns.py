"""Arrow's columns against a signature: what passes means what it means in JSON, and what does not is named."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import Invalid
from service.registry.cells import Cells, array_of, cells_of, frame_of
from service.registry.columns import ColumnReader
from service.registry.rows import Column, RowReader

FIRST_ROW = 1000


def columns(*dtypes: str, nullable: bool = False) -> list[Column]:
    return [Column(f"x{index}", dtype, nullable) for index, dtype in enumerate(dtypes)]


def batch(**arrays: Any) -> pa.RecordBatch:
    return pa.record_batch(arrays)


def read(inputs: Sequence[Column], table: pa.RecordBatch) -> Any:
    """Return the rows as an estimator would get them, after the way through a frame."""
    table.validate(full=True)
    header, parts = frame_of(ColumnReader(inputs, table.schema).read(table, FIRST_ROW))
    return array_of(cells_of(header, bytearray(b"".join(parts)), inputs), inputs, text=False)


def findings(inputs: Sequence[Column], table: pa.RecordBatch) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        read(inputs, table)
    assert caught.value.reason == "signature_mismatch"
    return [(finding.at, finding.message) for finding in caught.value.findings]


def test_columns_are_matched_by_name_and_stand_in_the_order_of_the_signature() -> None:
    X = read(columns("float64", "float64"), batch(x1=[2.0, 4.0], x0=[1.0, 3.0]))
    assert (X.dtype, X.flags["C_CONTIGUOUS"], X.tolist()) == (np.float64, True, [[1.0, 2.0], [3.0, 4.0]])


def test_columns_that_are_unknown_missing_or_there_twice_are_named() -> None:
    table = pa.record_batch([pa.array([1.0])] * 3, names=["x0", "width", "x0"])
    assert findings(columns("float64", "float64"), table) == [
        ("inputs.width", "is not an input of this model"),
        ("inputs.x0", "is there twice"),
        ("inputs.x1", "is missing"),
    ]


def test_twenty_findings_are_listed_of_many() -> None:
    wide = pa.record_batch([pa.array([1.0])] * 1000, names=[f"y{index}" for index in range(1000)])
    assert len(findings(columns("float64"), wide)) == 20
    assert len(findings(columns("float64"), batch(x0=[math.inf] * 1000))) == 20


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64()),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_every_type_of_number_is_a_number(kind: pa.DataType, dtype: str) -> None:
    array = pa.array(np.array([1, 0, 7]).astype(kind.to_pandas_dtype()), kind)
    assert read(columns(dtype), batch(x0=array)).tolist() == [[1.0], [0.0], [7.0]]
    assert read(columns(dtype), batch(x0=array).slice(1, 2)).tolist() == [[0.0], [7.0]]
    gaps = pa.array([None, 3], kind)
    assert np.array_equal(read(columns(dtype, nullable=True), batch(x0=gaps)), [[math.nan], [3.0]], equal_nan=True)
    assert findings(columns(dtype), batch(x0=gaps)) == [("inputs[1000].x0", "must not be missing")]


@pytest.mark.parametrize(
    ("dtype", "array", "expected"),
    [
        ("float64", pa.array([True]), "a number, not bool"),
        ("float64", pa.array(["1"]), "a number, not string"),
        ("float64", pa.array([1], pa.timestamp("us")), "a number, not timestamp[us]"),
        ("float64", pa.array([1], pa.decimal128(5, 2)), "a number, not decimal128(5, 2)"),
        ("float64", pa.array([[1.0]]), "a number, not list<item: double>"),
        ("float64", pa.array([{"a": 1.0}]), "a number, not struct<a: double>"),
        ("float64", pa.array([1.0]).dictionary_encode(), "a number, not dictionary<values=double"),
        ("int64", pa.array([1], pa.date32()), "an integer, not date32[day]"),
        ("bool", pa.array([1]), "true or false, not int64"),
        ("string", pa.array([b"a"]), "a string, not binary"),
        ("string", pa.array([1]), "a string, not int64"),
        ("string", pa.array(["a"], pa.string_view()), "a string, not string_view"),
    ],
    ids=str,
)
def test_a_column_of_another_type_is_named(dtype: str, array: pa.Array, expected: str) -> None:
    ((at, message),) = findings(columns(dtype), batch(x0=array))
    assert at == "inputs.x0"
    assert message.startswith(f"must be {expected}")


def test_an_extension_type_is_none_whatever_lies_under_it() -> None:
    uuids = pa.array([b"0" * 16], pa.uuid())
    assert findings(columns("string"), batch(x0=uuids)) == [
        ("inputs.x0", "must be a string, not extension<arrow.uuid>"),
    ]
    unknown = pa.field("x0", pa.float64(), metadata={b"ARROW:extension:name": b"somebody's own"})
    table = pa.record_batch([pa.array([1.0])], schema=pa.schema([unknown]))
    assert findings(columns("float64"), table) == [("inputs.x0", "must be a number, not an extension type over double")]


@pytest.mark.parametrize(
    ("dtype", "array", "message"),
    [
        ("float64", pa.array([math.nan]), "must not be missing"),
        ("float64", pa.array([math.inf]), "must be finite"),
        ("float64", pa.array([-math.inf], pa.float32()), "must be finite"),
        ("float64", pa.array([2**53 + 1]), "is an integer that no float64 equals"),
        ("float64", pa.array([2**63 - 1]), "is an integer that no float64 equals"),
        ("float64", pa.array([2**64 - 1], pa.uint64()), "is an integer that no float64 equals"),
        ("float64", pa.nulls(1), "must not be missing"),
        ("int64", pa.array([1.5]), "must be an integer"),
        ("int64", pa.array([2.0**63]), "is too large for an int64"),
        ("int64", pa.array([2**63], pa.uint64()), "is too large for an int64"),
        ("bool", pa.array([None], pa.bool_()), "must not be missing"),
        ("string", pa.array([None], pa.string()), "must not be missing"),
        ("string", pa.nulls(1), "must not be missing"),
    ],
    ids=str,
)
def test_a_cell_that_does_not_fit_is_named_by_its_row_in_the_body(dtype: str, array: pa.Array, message: str) -> None:
    ((at, found),) = findings(columns(dtype), batch(x0=array))
    assert at == "inputs[1000].x0"
    assert found.startswith(message)


@pytest.mark.parametrize("integer", [2**53 + 2, -(2**63), 2**62, -(2**53)])
def test_large_integers_that_a_float64_equals_are_exact(integer: int) -> None:
    assert read(columns("float64"), batch(x0=pa.array([integer]))).tolist() == [[float(integer)]]


def test_findings_stand_in_the_order_of_the_rows() -> None:
    table = batch(x1=[1.0, math.inf, None], x0=[None, 2.0, math.inf])
    assert findings(columns("float64", "float64"), table) == [
        ("inputs[1000].x0", "must not be missing"),
        ("inputs[1001].x1", "must be finite"),
        ("inputs[1002].x0", "must be finite"),
        ("inputs[1002].x1", "must not be missing"),
    ]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_strings_of_every_layout_are_strings(kind: pa.DataType) -> None:
    table = batch(
        x0=pa.array(["a", None, "ü\0"]).cast(kind), x1=pa.array([1, 2, None]), x2=pa.array([True, None, False])
    )
    X = read(columns("string", "int64", "bool", nullable=True), table)
    assert [repr(cell) for cell in X.ravel()] == ["'a'", "1", "True", "nan", "2", "nan", "'ü\\x00'", "nan", "False"]


def test_text_is_one_string_per_sample() -> None:
    table = batch(text=["good", "bad"])
    inputs = [Column("text", "string")]
    cells = ColumnReader(inputs, table.schema).read(table, 0)
    X = array_of(cells, inputs, text=True)
    assert (X.shape, X.dtype, X.tolist()) == ((2,), object, ["good", "bad"])


CELLS = {
    "float64": st.floats(allow_nan=False) | st.none(),
    "int64": st.integers(-(2**63), 2**63 - 1) | st.none(),
    "bool": st.booleans() | st.none(),
    "string": st.text(max_size=3) | st.none(),
}
ARROW = {"float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_(), "string": pa.string()}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], list[list[Any]]]:
    """Columns of a signature, and the cells of each."""
    dtypes = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4) | st.just(["float64"] * 3))
    inputs = [Column(f"x{index}", dtype, draw(st.booleans())) for index, dtype in enumerate(dtypes)]
    count = draw(st.integers(1, 5))
    return inputs, [draw(st.lists(CELLS[dtype], min_size=count, max_size=count)) for dtype in dtypes]


@settings(max_examples=300, deadline=None)
@given(tables())
def test_columns_mean_what_the_same_rows_in_json_mean(table: tuple[list[Column], list[list[Any]]]) -> None:
    inputs, cells = table
    arrays = [pa.array(each, ARROW[column.dtype]) for column, each in zip(inputs, cells, strict=True)]
    in_arrow = pa.record_batch(arrays, names=[column.name for column in inputs])
    try:
        expected = RowReader(inputs).read([list(row) for row in zip(*cells, strict=True)], "inputs")
    except Invalid as refusal:
        found = [(finding.at.replace("inputs[", "inputs[100"), finding.message) for finding in refusal.findings]
        assert findings(inputs, in_arrow) == found
        return
    X = read(inputs, in_arrow)
    assert (X.dtype, X.shape) == (expected.dtype, expected.shape)
    assert [(type(cell), repr(cell)) for cell in X.ravel().tolist()] == [
        (type(cell), repr(cell)) for cell in expected.ravel().tolist()
    ]


NUMBERS = np.array([[1.0], [0.0]])


@pytest.mark.parametrize(
    ("inputs", "cells"),
    [
        (columns("float64"), Cells(np.array([[math.inf]]), [])),
        (columns("float64"), Cells(np.array([[math.nan]]), [])),
        (columns("int64"), Cells(np.array([[0.5]]), [])),
        (columns("int64"), Cells(np.array([[2.0**63]]), [])),
        (columns("bool"), Cells(np.array([[2.0]]), [])),
        (columns("float64", "float64"), Cells(NUMBERS, [])),
        (columns("float64"), Cells(NUMBERS, [["a", "b"]])),
        (columns("float64", "string"), Cells(NUMBERS, [["a"]])),
        (columns("float64", "string"), Cells(NUMBERS, [["a", None]])),
        (columns("float64", "string"), Cells(NUMBERS, [["a", 1]])),  # type: ignore[list-item]
    ],
    ids=str,
)
def test_a_frame_that_no_honest_reader_sends_is_refused(inputs: list[Column], cells: Cells) -> None:
    header, parts = frame_of(cells)
    with pytest.raises(ValueError, match="the frame"):
        cells_of(header, b"".join(parts), inputs)

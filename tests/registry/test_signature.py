"""Rows against a signature: what passes means what was written, and what does not is named."""

import math
import time
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import Invalid
from service.registry.rows import Column, RowReader
from service.registry.signature import Signature


def signature(*dtypes: str, nullable: bool = False, layout: str = "matrix") -> Signature:
    inputs = [{"name": f"x{index}", "dtype": dtype, "nullable": nullable} for index, dtype in enumerate(dtypes)]
    return Signature.parse({"inputs": inputs, "layout": layout})


def findings(sig: Signature, inputs: object) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        sig.rows(inputs)
    assert caught.value.reason == "signature_mismatch"
    return [(finding.at, finding.message) for finding in caught.value.findings]


def test_lists_of_numbers_become_a_float64_matrix_in_c_order() -> None:
    X = signature("float64", "float64").rows([[1, 2.5], [3.0, 4]])
    assert X.dtype == np.float64
    assert X.flags["C_CONTIGUOUS"]
    assert X.tolist() == [[1.0, 2.5], [3.0, 4.0]]


def test_objects_are_put_in_the_order_of_the_signature() -> None:
    assert signature("float64", "float64").rows([{"x1": 2.0, "x0": 1.0}]).tolist() == [[1.0, 2.0]]


def test_a_single_feature_may_come_by_name() -> None:
    assert signature("float64").rows([{"x0": 1.0}, {"x0": 2.0}]).tolist() == [[1.0], [2.0]]


def test_text_becomes_one_string_per_sample() -> None:
    X = signature("string", layout="text").rows([["good"], ["bad\0"]])
    assert X.shape == (2,)
    assert X.tolist() == ["good", "bad\0"]


def test_mixed_columns_keep_each_cell_s_own_type() -> None:
    X = signature("float64", "int64", "bool", "string").rows([[1, 2.0, True, "a"]] * 40)
    assert X.dtype == object
    assert X[39].tolist() == [1.0, 2, True, "a"]
    assert [type(cell) for cell in X[39]] == [float, int, bool, str]


def test_a_missing_value_is_nan_where_the_estimator_takes_one() -> None:
    X = signature("float64", "string", nullable=True).rows([[None, "a"], [1.0, None]])
    assert math.isnan(X[0, 0])
    assert math.isnan(X[1, 1])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (True, "must be a number, not a boolean"),
        ("1", "must be a number, not a string"),
        (None, "must not be missing"),
        ([1.0], "must be a number, not an array"),
        ({}, "must be a number, not an object"),
        (float("nan"), "must not be missing"),
        (float("inf"), "must be finite"),
        (10**400, "is too large for a float64"),
        (2**53 + 1, "is an integer that no float64 equals; send it as a decimal number to round it"),
    ],
)
@pytest.mark.parametrize("rows", [4, 1000])
def test_one_bad_cell_among_numbers_is_named_by_row_and_column(cell: object, message: str, rows: int) -> None:
    inputs: list[list[Any]] = [[1.0, 2.0, 3.0] for _ in range(rows)]
    inputs[rows - 2][1] = cell
    assert findings(signature("float64", "float64", "float64"), inputs) == [(f"inputs[{rows - 2}].x1", message)]


@pytest.mark.parametrize(
    ("dtype", "cell", "message"),
    [
        ("int64", 1.5, "must be an integer"),
        ("int64", True, "must be an integer, not a boolean"),
        ("int64", 2**63, "is too large for an int64"),
        ("bool", 1, "must be true or false, not a number"),
        ("string", 1.0, "must be a string, not a number"),
    ],
)
def test_each_dtype_refuses_what_is_not_of_it(dtype: str, cell: object, message: str) -> None:
    assert findings(signature(dtype), [[cell]]) == [("inputs[0].x0", message)]


def test_an_integer_without_a_fraction_may_be_written_with_a_point() -> None:
    assert signature("int64").rows([[3.0], [2**53]]).tolist() == [[3.0], [float(2**53)]]


def test_ragged_rows_are_named() -> None:
    assert findings(signature("float64", "float64"), [[1.0, 2.0], [1.0]]) == [
        ("inputs[1]", "must have 2 values, and has 1")
    ]


def test_ragged_rows_of_several_types_are_named() -> None:
    sig = signature("float64", "string")
    assert findings(sig, [*[[1.0, "a"]] * 99, [1.0]]) == [("inputs[99]", "must have 2 values, and has 1")]
    assert len(findings(sig, [[1.0, "a", 2.0]] * 99)) == 20


def test_a_missing_cell_among_many_of_several_types_is_named() -> None:
    sig = signature("float64", "string")
    assert findings(sig, [*[[1.0, "a"]] * 99, [None, "a"]]) == [("inputs[99].x0", "must not be missing")]


def test_missing_and_unknown_features_are_named() -> None:
    assert findings(signature("float64", "float64"), [{"x0": 1.0, "width": 2.0}]) == [
        ("inputs[0].x1", "is missing"),
        ("inputs[0].width", "is not an input of this model"),
    ]


def test_rows_of_two_forms_are_refused() -> None:
    assert findings(signature("float64"), [[1.0], {"x0": 1.0}]) == [("inputs[1]", "must be an array of 1 values")]
    assert findings(signature("float64"), [{"x0": 1.0}, [1.0]]) == [
        ("inputs[1]", "must be an object by feature name, as the first row is")
    ]


@pytest.mark.parametrize("inputs", [[], {}, None, "x", 1.0])
def test_what_is_no_list_of_rows_is_refused(inputs: object) -> None:
    assert findings(signature("float64"), inputs) == [("inputs", "must be a list of at least one row")]


def test_twenty_findings_are_listed_of_many() -> None:
    assert len(findings(signature("float64"), [["x"]] * 1000)) == 20


def test_exactly_twenty_findings_are_said_to_be_all() -> None:
    with pytest.raises(Invalid) as caught:
        signature("float64").rows([["x"]] * 20)
    assert "first" not in caught.value.detail
    with pytest.raises(Invalid, match="the first 20 are listed"):
        signature("float64").rows([["x"]] * 21)


CELLS = st.one_of(
    st.floats(),
    st.integers(),
    st.integers(min_value=2**52, max_value=2**65),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63, -(2**63), 2**64, 10**400, 1e300, 3.0]),
    st.booleans(),
    st.text(max_size=3),
    st.none(),
    st.just([1.0]),
    st.just({"a": 1}),
)
GOOD = {
    "float64": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    "int64": st.integers(-(2**53), 2**53) | st.integers(-1000, 1000).map(float),
    "bool": st.booleans(),
    "string": st.text(max_size=5),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], bool, list[Any]]:
    """Columns, whether they are missing where null, and rows that mostly fit them."""
    dtypes = draw(st.lists(st.sampled_from(sorted(GOOD)), min_size=1, max_size=4) | st.just(["float64"] * 3))
    columns = [Column(f"x{index}", dtype, draw(st.booleans())) for index, dtype in enumerate(dtypes)]
    count = draw(st.integers(1, 6))
    rows: list[list[Any]] = [[draw(GOOD[column.dtype]) for column in columns] for _ in range(count)]
    for _ in range(draw(st.integers(0, 2))):
        rows[draw(st.integers(0, count - 1))][draw(st.integers(0, len(columns) - 1))] = draw(CELLS)
    if draw(st.integers(0, 9)) == 0:
        rows[-1] = draw(st.sampled_from([[], None, 7, "row", [*rows[-1], 1.0]]))
    # Enough rows to take the way of whole columns, and the one of chunks.
    repeats = draw(st.sampled_from([1, 1, 30, 200]))
    by_name = draw(st.booleans()) and all(isinstance(row, list) and len(row) == len(columns) for row in rows)
    named = [dict(zip((column.name for column in columns), row, strict=True)) for row in rows] if by_name else rows
    return columns, by_name, named * repeats


def reference(columns: list[Column], inputs: list[Any]) -> list[list[Any]] | None:
    """What the rows mean, cell by cell, or ``None`` where one does not fit."""
    answer = []
    for row in inputs:
        cells = [row[column.name] for column in columns] if isinstance(row, dict) else row
        if not isinstance(cells, list) or len(cells) != len(columns):
            return None
        converted = [one_cell(column, cell) for column, cell in zip(columns, cells, strict=True)]
        if any(isinstance(cell, Bad) for cell in converted):
            return None
        answer.append(converted)
    return answer


class Bad:
    """Stands for a cell that must be refused."""


def one_cell(column: Column, cell: Any) -> Any:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return math.nan if column.nullable else Bad()
    if column.dtype in {"bool", "string"}:
        return cell if type(cell).__name__ == {"bool": "bool", "string": "str"}[column.dtype] else Bad()
    return one_number(column, cell)


def one_number(column: Column, cell: Any) -> Any:
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return Bad()
    try:
        exact = float(cell)
    except OverflowError:
        return Bad()
    if not math.isfinite(exact) or exact != cell:
        return Bad()
    if column.dtype == "float64":
        return exact
    return int(cell) if exact.is_integer() and -(2**63) <= cell < 2**63 else Bad()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_rows_mean_what_a_slow_reference_says_or_are_refused_with_it(
    table: tuple[list[Column], bool, list[Any]],
) -> None:
    columns, _, inputs = table
    expected = reference(columns, inputs)
    try:
        X = RowReader(columns).read(inputs, "inputs")
    except Invalid:
        assert expected is None
        return
    assert expected is not None
    if X.dtype == object:
        assert [[(type(cell), repr(cell)) for cell in row] for row in X.tolist()] == [
            [(type(cell), repr(cell)) for cell in row] for row in expected
        ]
    else:
        np.testing.assert_array_equal(X, np.array(expected, dtype=np.float64))


def test_good_rows_cost_little_more_than_numpy_s_own_reading() -> None:
    inputs = orjson.loads(orjson.dumps(np.random.default_rng(0).normal(size=(10_000, 20)), option=16))
    sig = Signature.of_numbers(20)
    ratios = []
    for _ in range(5):
        begun = time.perf_counter()
        np.array(inputs, dtype=np.float64)
        between = time.perf_counter()
        sig.rows(inputs)
        ratios.append((time.perf_counter() - between) / (between - begun))
    assert min(ratios) < 8  # A Python step per cell costs some thirty times as much.


@pytest.mark.parametrize(
    ("document", "at"),
    [
        (None, "signature"),
        ({}, "signature.inputs"),
        ({"inputs": []}, "signature.inputs"),
        ({"inputs": [1]}, "signature.inputs[0]"),
        ({"inputs": [{"name": "", "dtype": "float64"}]}, "signature.inputs[0].name"),
        ({"inputs": [{"name": "a", "dtype": "float32"}]}, "signature.inputs[0].dtype"),
        ({"inputs": [{"name": "a", "dtype": ["float64"]}]}, "signature.inputs[0].dtype"),
        ({"inputs": [{"name": "a", "dtype": "float64", "nullable": 1}]}, "signature.inputs[0].nullable"),
        ({"inputs": [{"name": "a", "dtype": "float64", "unit": "cm"}]}, "signature.inputs[0].unit"),
        ({"inputs": [{"name": "a", "dtype": "float64"}] * 2}, "signature.inputs"),
        ({"inputs": [{"name": "a", "dtype": "float64"}], "layout": "text"}, "signature.inputs"),
        ({"inputs": [{"name": "a", "dtype": "float64"}], "layout": "image"}, "signature.layout"),
        ({"inputs": [{"name": "a", "dtype": "float64"}], "outputs": {}}, "signature.outputs"),
        ({"inputs": [{"name": "a", "dtype": "float64"}], "outputs": [{}]}, "signature.outputs[0]"),
        ({"inputs": [{"name": "a", "dtype": "float64"}], "extra": 1}, "signature.extra"),
    ],
)
def test_what_is_no_signature_is_refused_with_the_place(document: object, at: str) -> None:
    with pytest.raises(Invalid) as caught:
        Signature.parse(document)
    assert caught.value.reason == "invalid_signature"
    assert [finding.at for finding in caught.value.findings] == [at]

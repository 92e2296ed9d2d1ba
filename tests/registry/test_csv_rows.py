"""What a row means in CSV is what it means in JSON; what does not fit is named by row and column."""

import csv
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Invalid, Malformed, ModelwardError
from service.registry import csv_rows
from service.registry.csv_rows import batches_of_csv
from service.registry.rows import Column, RowReader

NUMBERS = [Column("a", "float64"), Column("b", "float64", nullable=True)]
MIXED = [Column("n", "int64"), Column("t", "bool"), Column("s", "string"), Column("o", "string", nullable=True)]


def batches(data: bytes, columns: list[Column] = NUMBERS, most: int = 100) -> list[list[list[Any]]]:
    return list(batches_of_csv(io.BytesIO(data), columns, most))


def read(data: bytes, columns: list[Column] = NUMBERS) -> list[Any]:
    (rows,) = batches(data, columns)
    return RowReader(columns).read(rows, "inputs").tolist()


def refused(data: bytes, columns: list[Column] = NUMBERS) -> ModelwardError:
    with pytest.raises(ModelwardError) as caught:
        read(data, columns)
    return caught.value


def named(data: bytes, columns: list[Column] = NUMBERS) -> list[tuple[str, str]]:
    return [(finding.at, finding.message) for finding in refused(data, columns).findings]


def test_the_first_line_names_the_columns_in_any_order() -> None:
    assert read(b"b,a\r\n2,1\r\n4e0,3.5\r\n") == [[1.0, 2.0], [3.5, 4.0]]
    assert read(b'\xef\xbb\xbf"a","b"\n1,"2"') == [[1.0, 2.0]]


def test_an_empty_cell_is_a_missing_value_but_in_strings_that_cannot_miss() -> None:
    ((one, other),) = (read(b"a,b\n1,\n\n2,3\n"),)
    assert np.isnan(one[1])
    assert other == [2.0, 3.0]
    assert batches(b"n,t,s,o\n1,TRUE,,\n", MIXED) == [[[1, True, "", None]]]
    assert named(b"a,b\n,1\n") == [("inputs[0].a", "must not be missing")]
    assert batches(b"b\n1\n\n2\n", NUMBERS[1:]) == [[[1], [None], [2]]]


def test_strings_hold_whatever_is_quoted() -> None:
    ((row,),) = batches(b'n,t,s,o\n-7,false,"a ""b"",\nc",\xc3\xa9\n', MIXED)
    assert row == [-7, False, 'a "b",\nc', "é"]


@pytest.mark.parametrize(
    "cell", [b"abc", b'"1,2"', b'"[1]"', b"true", b"1_0", b"nan", b"0x10", b"1e999", b"1\x00", b"null "]
)
def test_what_is_no_number_is_refused_by_its_place(cell: bytes) -> None:
    ((at, message),) = named(b"a,b\n1,1\n" + cell + b",2\n")
    assert at == "inputs[1].a"
    assert message.startswith("must ")


def test_integers_are_exact_or_refused() -> None:
    ((at, message),) = named(b"a,b\n9007199254740993,1\n")
    assert at == "inputs[0].a"
    assert "exact" in message or "float64" in message
    assert [at for at, _ in named(b"n,t,s,o\n1.5,yes,x,y\n", MIXED)] == ["inputs[0].n", "inputs[0].t"]


def test_rows_of_another_length_are_named() -> None:
    assert named(b"a,b\n1,2\n1\n1,2,3\n") == [
        ("inputs[1]", "must have 2 values, and has 1"),
        ("inputs[2]", "must have 2 values, and has 3"),
    ]


def test_columns_that_are_unknown_missing_or_there_twice_are_named() -> None:
    assert named(b"a,a,c\n1,2,3\n") == [
        ("inputs.a", "is there twice"),
        ("inputs.c", "is not an input of this model"),
        ("inputs.b", "is missing"),
    ]
    assert named(b"a,b\n") == [("inputs", "must hold at least one row")]
    assert isinstance(refused(b"\n"), Invalid)


@pytest.mark.parametrize("data", [b"a,b\n1,\xff\n", b'a,b\n"1,2\n', b'a,b\n"1"x,2\n'])
def test_what_is_no_csv_is_refused_as_a_whole(data: bytes) -> None:
    refusal = refused(data)
    assert refusal.reason == "invalid_body"
    assert "cannot be read as CSV" in refusal.detail


def test_a_row_without_an_end_is_refused_and_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "MOST_ROW_CHARACTERS", 1000)
    assert isinstance(refused(b"a,b\n" + b"1" * 2000), Malformed)
    assert isinstance(refused(b'a,b\n"' + b"1\n" * 1000), Malformed)


def test_rows_come_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"a,b\n" + b"1,2\n" * 25
    assert [len(rows) for rows in batches(data, most=10)] == [10, 10, 5]
    monkeypatch.setattr(csv_rows, "MOST_CELLS", 6)
    assert {len(rows) for rows in batches(data)} == {3, 1}


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**53), 2**53),
            st.booleans(),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=20),
            st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_every_row_comes_back_as_it_was_written(rows: list[tuple[Any, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["n", "t", "s", "o"])
    writer.writerows(rows)
    (found,) = batches(text.getvalue().encode(), MIXED)
    assert found == [list(row) for row in rows]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_every_number_is_the_one_that_was_written(numbers: list[float]) -> None:
    data = "a,b\n" + "".join(f"{number!r},\n" for number in numbers)
    (found,) = batches(data.encode())
    assert [row[0] for row in found] == numbers

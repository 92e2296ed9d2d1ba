"""Arrow streams and Parquet files, read a bounded number of rows at a time."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet
import pytest

from service.errors import Invalid, Malformed, ModelwardError, TooLarge
from service.registry import batches
from service.registry.batches import MOST_TEXT_BYTES, Batches, parsing
from service.registry.cells import ARROW, PARQUET, cells_of
from service.registry.rows import Column

NUMBER = [Column("x", "float64")]
TEXT = [Column("x", "string")]


def arrow(table: pa.Table, rows: int | None = None, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue()


def parquet(table: pa.Table, rows: int | None = None, **options: Any) -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(table, sink, row_group_size=rows, **options)
    return sink.getvalue()


FORMS = pytest.mark.parametrize(("form", "write"), [(ARROW, arrow), (PARQUET, parquet)])
Write = Callable[..., bytes]


def numbers(count: int) -> pa.Table:
    return pa.table({"x": np.arange(count, dtype=np.float64)})


def sizes(read: Batches, most: int) -> list[int]:
    """How many rows come at a time."""
    found = []
    while (cells := read.take(most)) is not None:
        found.append(cells.rows)
    return found


def refused(data: bytes, form: str, columns: list[Column] = NUMBER) -> ModelwardError:
    with pytest.raises(ModelwardError) as caught:
        sizes(Batches(data, form, columns, 100), 100)
    return caught.value


@FORMS
@pytest.mark.parametrize("rows", [1, 7, 100, 1000])
def test_rows_come_in_order_and_no_more_at_a_time_than_asked_for(form: str, write: Write, rows: int) -> None:
    read = Batches(write(numbers(1000), rows), form, NUMBER, 300)
    values: list[float] = []
    for most in (1, 300, 64, 635, 10):
        cells = read.take(most)
        if cells is not None:
            assert cells.rows <= most
            values += cells.numbers[:, 0].tolist()
    assert values == list(map(float, range(1000)))
    assert read.take(1) is None


@FORMS
def test_many_small_batches_become_one(form: str, write: Write) -> None:
    assert sizes(Batches(write(numbers(1000), 3), form, NUMBER, 1000), 400) == [400, 400, 200]


def test_batches_without_rows_are_passed_over() -> None:
    some, none = numbers(3).to_batches()[0], numbers(0).schema.empty_table().to_batches()[0:1]
    table = pa.Table.from_batches([some, *none, some])
    assert sizes(Batches(arrow(table), ARROW, NUMBER, 100), 100) == [6]


@FORMS
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_compressed_buffers_and_pages_are_read(form: str, write: Write, compression: str | None) -> None:
    chosen = compression or ("none" if form == PARQUET else None)
    assert sizes(Batches(write(numbers(500), 100, compression=chosen), form, NUMBER, 200), 200) == [200, 200, 100]


@FORMS
def test_a_body_without_rows_says_so(form: str, write: Write) -> None:
    error = refused(write(numbers(0)), form)
    assert isinstance(error, Invalid)
    assert [(finding.at, finding.message) for finding in error.findings] == [("inputs", "must hold at least one row")]


@FORMS
def test_cells_are_named_by_their_row_in_the_whole_body(form: str, write: Write) -> None:
    values = np.arange(500.0)
    values[407] = np.inf
    error = refused(write(pa.table({"x": values}), 50), form)
    assert [finding.at for finding in error.findings] == ["inputs[407].x"]


@FORMS
def test_long_strings_come_in_fewer_rows(form: str, write: Write) -> None:
    long = "x" * (MOST_TEXT_BYTES // 4)
    table = pa.table({"x": [long, "b", long, long, None, long, "g", long * 8, "i"]})
    read = Batches(write(table), form, [Column("x", "string", nullable=True)], 100)
    found = []
    while (cells := read.take(100)) is not None:
        found.append([text and text[0] for text in cells.texts[0]])
    assert found == [["x", "b", "x", "x", None], ["x", "g"], ["x"], ["i"]]


@FORMS
def test_a_text_that_many_rows_share_is_not_written_out_for_all_of_them_at_once(form: str, write: Write) -> None:
    shared = pa.array(["x" * (MOST_TEXT_BYTES // 2)]).dictionary_encode()
    table = pa.table({"x": pa.DictionaryArray.from_arrays(pa.array([0] * 50, pa.int32()), shared.dictionary)})
    assert sizes(Batches(write(table), form, TEXT, 100), 100) == [2] * 25
    assert len(write(table)) < 2 * MOST_TEXT_BYTES


@FORMS
def test_a_column_without_any_value_is_read(form: str, write: Write) -> None:
    table = pa.table({"x": pa.nulls(3), "y": pa.nulls(3)})
    inputs = [Column("x", "string", nullable=True), Column("y", "float64", nullable=True)]
    cells = Batches(write(table), form, inputs, 10).take(10)
    assert cells is not None
    assert cells.texts == [[None, None, None]]
    assert np.isnan(cells.numbers).all()


@FORMS
@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"\xff\xff\xff\xff\x00\x00\x00\x00", b"{}", b"\x80\x04\x95", b"\0" * 99]
)
def test_what_is_not_of_the_form_is_malformed(form: str, write: Write, data: bytes) -> None:
    error = refused(data, form)
    assert (type(error), error.reason) == (Malformed, "invalid_body")
    assert form in error.detail


@FORMS
def test_a_file_that_breaks_off_is_malformed(form: str, write: Write) -> None:
    whole = write(numbers(1000), 100)
    between_batches = [index for index in range(len(whole)) if whole.startswith(b"\xff\xff\xff\xff", index)]
    for end in [*range(1, len(whole) - 1, 97), *between_batches[1:]]:
        assert isinstance(refused(whole[:end], form), Malformed)


def test_what_follows_an_arrow_stream_is_not_passed_over() -> None:
    assert refused(arrow(numbers(3)) * 2, ARROW).reason == "trailing_content"


def test_offsets_that_point_outside_are_malformed() -> None:
    honest = arrow(pa.table({"x": ["x" * 1234]}))
    offsets, beyond = np.array([0, 1234], np.int32).tobytes(), np.array([0, 10_000_000], np.int32).tobytes()
    before, _, after = honest.rpartition(offsets)
    assert isinstance(refused(before + beyond + after, ARROW, TEXT), Malformed)


def test_indices_that_point_outside_are_malformed() -> None:
    words = pa.array(["a", "b"])
    array = pa.DictionaryArray.from_arrays(pa.array([0, 99], pa.int32()), words, safe=False)
    assert isinstance(refused(arrow(pa.table({"x": array})), ARROW, TEXT), Malformed)


def test_text_that_is_not_utf_8_is_malformed() -> None:
    offsets = pa.py_buffer(np.array([0, 2], np.int32))
    array = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    assert isinstance(refused(arrow(pa.table({"x": array})), ARROW, TEXT), Malformed)


class Evil:
    """What runs something where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@FORMS
def test_a_type_that_is_pickled_into_the_schema_is_refused_and_never_opened(
    form: str, write: Write, tmp_path: Path
) -> None:
    opened = tmp_path / "opened"
    names = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(Evil(opened))}
    table = pa.table([pa.array([1.0])], schema=pa.schema([pa.field("x", pa.float64(), metadata=names)]))
    error = refused(write(table), form)
    assert [finding.at for finding in error.findings] == ["inputs.x"]
    assert "extension" in error.findings[0].message
    assert not opened.exists()


def test_memory_that_is_not_there_is_said_to_be_too_much() -> None:
    with pytest.raises(TooLarge) as caught, parsing(ARROW):
        raise MemoryError
    assert caught.value.reason == "batch_too_large"


def test_a_talk_yields_the_rows_and_then_none() -> None:
    opening = orjson.dumps({"form": ARROW, "columns": [["x", "float64", False]], "rows": 4, "most": 9})
    talk = batches.talk(arrow(numbers(10)), opening)
    replies = [next(talk), talk.send({"rows": 5}), talk.send({"rows": 9}), talk.send({"rows": 1})]
    assert [header["rows"] for header, _ in replies] == [4, 5, 1, 0]
    header, body = replies[1]
    assert cells_of(header, b"".join(body), NUMBER).numbers[:, 0].tolist() == [4.0, 5.0, 6.0, 7.0, 8.0]
    with pytest.raises(StopIteration):
        talk.send({})

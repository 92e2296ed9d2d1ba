"""The rows of an Arrow stream or a Parquet file, a bounded number at a time, read in a confined child.

What parses a stranger's file can be made to take memory without end, or to crash. So it
happens where neither matters to anybody but the sender: the child has the file as a
read-only mapping, a bound on all other memory, and a channel on which it answers with
cells and with nothing else.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet

from service.confinement.child import Talk
from service.errors import Finding, Malformed, ModelwardError
from service.registry.cells import PARQUET, Cells, frame_of, out_of_memory
from service.registry.columns import ColumnReader
from service.registry.rows import AT, Column, mismatch

MOST_TEXT_BYTES: Final = 8 << 20
"""Of the strings in one frame, but that a single row may have more."""

PARQUET_ROWS: Final = 8192
"""Decoded at once, beside a page of each column."""

MOST_GATHERED_BYTES: Final = 16 << 20
"""Of batches that become one, the last of them not counted."""

_READING: Final = pa.ipc.IpcReadOptions(use_threads=False, ensure_alignment=pa.ipc.Alignment.DataTypeSpecific)
_END: Final = b"\xff\xff\xff\xff\0\0\0\0"
_SHOWN: Final = 200


class Batches:
    """The rows of one file, in the order of their coming.

    :param data: the whole file, which is not copied.
    :param form: ``ARROW`` or ``PARQUET``.
    :param most: rows that Parquet decodes at once.
    :raises Malformed: it is not of that form.
    :raises Invalid: its columns are not the signature's inputs.
    :raises TooLarge: reading it takes more memory than there is.
    """

    def __init__(self, data: Any, form: str, columns: Sequence[Column], most: int) -> None:
        self._form = form
        self._waiting: deque[pa.RecordBatch] = deque()
        self._first_row = 0
        with parsing(self._form):
            source = pa.BufferReader(pa.py_buffer(data))
            schema, self._batches = _open_parquet(source, columns, most) if form == PARQUET else _open_arrow(source)
        self._reader = ColumnReader(columns, schema)

    def take(self, most: int) -> Cells | None:
        """Return the cells of the next rows, at most so many; ``None`` after the last.

        :raises Malformed: the file breaks off, or breaks its form.
        :raises Invalid: cells do not fit the signature, or there is no row at all.
        :raises TooLarge: reading on takes more memory than there is.
        """
        with parsing(self._form):
            batch = self._next(most)
        if batch is None:
            if not self._first_row:
                raise mismatch([Finding(AT, "must hold at least one row")])
            return None
        cells = self._reader.read(batch, self._first_row)
        self._first_row += batch.num_rows
        return cells

    def _next(self, most: int) -> pa.RecordBatch | None:
        """Return the next rows as one batch; many small ones become one."""
        gathered: list[pa.RecordBatch] = []
        rows = size = 0
        while rows < most and size < MOST_GATHERED_BYTES:
            batch = self._waiting.popleft() if self._waiting else self._valid()
            if batch is None:
                break
            gathered.append(batch.slice(0, most - rows))
            rows += gathered[-1].num_rows
            size += gathered[-1].nbytes
            if batch.num_rows > gathered[-1].num_rows:
                self._waiting.append(batch.slice(gathered[-1].num_rows))
        if not gathered:
            return None
        whole = gathered[0] if len(gathered) == 1 else pa.concat_batches(gathered)
        fitting = _fitting(whole, self._reader.text_places)
        if fitting < rows:
            self._waiting.appendleft(whole.slice(fitting))
        return whole.slice(0, fitting)

    def _valid(self) -> pa.RecordBatch | None:
        """Return the next batch that has rows, after a look at all of it: offsets and indices may point anywhere."""
        for batch in self._batches:
            batch.validate(full=True)
            if batch.num_rows:
                return batch
        return None


@contextmanager
def parsing(form: str) -> Iterator[None]:
    """Turn whatever a parser raises in the block into what its caller may know: it is about the body.

    :raises Malformed: ``invalid_body``.
    :raises TooLarge: ``batch_too_large``.
    """
    try:
        yield
    except ModelwardError:
        raise
    except MemoryError as error:
        raise out_of_memory() from error
    except Exception as error:
        reason = str(error).partition("\n")[0][:_SHOWN]
        raise Malformed(f"The body cannot be read as {form}: {reason}", code="invalid_body") from error


def _open_arrow(source: pa.BufferReader) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    stream = pa.ipc.open_stream(source, options=_READING)

    def batches() -> Iterator[pa.RecordBatch]:
        yield from stream
        end = source.tell()
        if end != source.size():
            raise Malformed("Something follows the Arrow stream.", code="trailing_content")
        # Arrow itself takes a stream that was cut off between two batches for a shorter one.
        source.seek(max(0, end - len(_END)))
        if source.read() != _END:
            raise Malformed("The Arrow stream breaks off: it has no mark at its end.", code="invalid_body")

    return stream.schema, batches()


def _open_parquet(
    source: pa.BufferReader, columns: Sequence[Column], most: int
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    # As a dictionary, a text that many rows share is decoded once.
    texts = [column.name for column in columns if column.dtype == "string"]
    file = pa.parquet.ParquetFile(source, pre_buffer=False, read_dictionary=texts)
    return file.schema_arrow, file.iter_batches(min(most, PARQUET_ROWS), use_threads=False)


def _fitting(batch: pa.RecordBatch, text_places: Sequence[int]) -> int:
    """Return how many of the first rows have strings of ``MOST_TEXT_BYTES`` together; one at least."""
    if not text_places:
        return int(batch.num_rows)
    sizes = sum(_text_bytes(batch.column(place)) for place in text_places)
    return max(1, int(np.searchsorted(np.cumsum(sizes), MOST_TEXT_BYTES, side="right")))


def _text_bytes(array: pa.Array) -> Any:
    if pa.types.is_null(array.type):
        return np.zeros(len(array), np.int64)
    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
    else:
        lengths = pc.binary_length(array)
    return lengths.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def talk(data: Any, opening: bytes) -> Talk:
    """Yield the cells of the file, so many rows at a time as was asked for before; the last frame has no rows.

    :param data: the mapped file.
    :param opening: ``{"form", "columns": [[name, dtype, nullable], …], "rows", "most"}`` in JSON:
        rows at first, and at any time.
    """
    asked = orjson.loads(opening)
    batches = Batches(data, asked["form"], [Column(*each) for each in asked["columns"]], asked["most"])
    most = asked["rows"]
    while (cells := batches.take(most)) is not None:
        question = yield frame_of(cells)
        most = question["rows"]
    yield {"rows": 0}, ()

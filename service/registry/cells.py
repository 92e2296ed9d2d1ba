"""The cells of some rows, on their way from the child that read a file to the array of an estimator.

The child has parsed a stranger's file and may have been taken over by it. What it sends
is held to the same bounds as everything else that comes in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import orjson

from service.errors import TooLarge
from service.registry.rows import Array, Column

ARROW: Final = "Arrow"
PARQUET: Final = "Parquet"
CSV: Final = "CSV"
"""Forms of files: a stream of Arrow's interprocess format, a Parquet file, and lines of text (RFC 4180)."""

Buffer: TypeAlias = bytes | bytearray | memoryview

_NUMBER_BYTES: Final = 8
_STRING: Final = "string"


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of some rows.

    :param numbers: float64 (rows, inputs that are no strings), in the order of the inputs and
        in C order; NaN is a missing value, and a boolean is 0 or 1.
    :param texts: for each input of strings its cells; ``None`` is a missing one.
    """

    numbers: Array
    texts: Sequence[Sequence[str | None]]

    @property
    def rows(self) -> int:
        """How many rows they are."""
        return len(self.numbers)


def frame_of(cells: Cells) -> tuple[dict[str, Any], list[Buffer]]:
    """Return a header and the parts of a body: the numbers as they lie in memory, then each column of texts as JSON."""
    texts: list[Buffer] = [orjson.dumps(column) for column in cells.texts]
    numbers = cells.numbers.reshape(-1).view(np.uint8).data
    return {"rows": cells.rows, "texts": list(map(len, texts))}, [numbers, *texts]


def cells_of(header: Mapping[str, Any], body: Buffer, columns: Sequence[Column]) -> Cells:
    """Return the cells of a frame.

    :raises ValueError: they are not what ``frame_of`` makes of cells that fit the columns.
    :raises TypeError: likewise.
    :raises KeyError: likewise.
    """
    numeric = [column for column in columns if column.dtype != _STRING]
    textual = [column for column in columns if column.dtype == _STRING]
    rows, lengths = header["rows"], header["texts"]
    end = rows * len(numeric) * _NUMBER_BYTES
    if len(lengths) != len(textual) or len(body) != end + sum(lengths):
        raise ValueError("the frame is not of the length that its header says")
    numbers = np.frombuffer(body, np.float64, rows * len(numeric)).reshape(rows, len(numeric))
    texts = []
    for column, length in zip(textual, lengths, strict=True):
        texts.append(orjson.loads(memoryview(body)[end : end + length]))
        end += length
        if len(texts[-1]) != rows or not set(map(type, texts[-1])) <= _kinds(column):
            raise ValueError("the frame holds texts that do not fit")
    if not _fit(numeric, numbers):
        raise ValueError("the frame holds numbers that do not fit")
    return Cells(numbers, texts)


def out_of_memory() -> TooLarge:
    """Return the refusal of a file that takes more memory to read than there is for it."""
    return TooLarge(
        "A batch or page of the body takes more memory to read than there is for it; write smaller ones.",
        code="batch_too_large",
    )


def _kinds(column: Column) -> set[type]:
    return {str, type(None)} if column.nullable else {str}


def _fit(columns: Sequence[Column], numbers: Array) -> bool:
    finite = np.isfinite(numbers)
    if finite.all() and all(column.dtype == "float64" for column in columns):
        return True
    return all(_column_fits(column, numbers[:, index], finite[:, index]) for index, column in enumerate(columns))


def _column_fits(column: Column, values: Array, finite: Array) -> bool:
    if not (finite | (np.isnan(values) if column.nullable else False)).all():
        return False
    present = values[finite]
    if column.dtype == "bool":
        return bool(((present == 0) | (present == 1)).all())
    if column.dtype == "int64":
        return bool(((present == np.floor(present)) & (present >= -(2.0**63)) & (present < 2.0**63)).all())
    return True


def array_of(cells: Cells, columns: Sequence[Column], *, text: bool) -> Array:
    """Return cells as the array that ``Signature.rows`` makes of the same rows.

    :param text: whether the estimator takes one string per sample instead of a matrix.
    """
    if text:
        return np.array(cells.texts[0], dtype=object)
    if not cells.texts:
        return cells.numbers
    X = np.empty((cells.rows, len(columns)), dtype=object)
    numbers, texts = iter(cells.numbers.T), iter(cells.texts)
    for position, column in enumerate(columns):
        if column.dtype == _STRING:
            X[:, position] = [np.nan if cell is None else cell for cell in next(texts)]
        else:
            X[:, position] = _objects(column, next(numbers))
    return X


def _objects(column: Column, numbers: Array) -> Array:
    """Return numbers as objects of the column's own type; a missing one is NaN."""
    if column.dtype == "float64":
        return numbers
    objects = numbers.astype(object)
    present = ~np.isnan(numbers)
    objects[present] = numbers[present].astype(np.int64 if column.dtype == "int64" else np.bool_)
    return objects

"""The rows of a CSV body (RFC 4180), some at a time, as the values that the same rows have in JSON.

They are read as strictly as JSON's afterwards, by the same reader: a text where a number
is expected, or an integer that no float64 equals, is refused and never made to fit. The
first line names the inputs, in any order. An empty cell is a missing value, but for an
input of strings that may not be missing, where it is the empty string.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import IO, Any, Final

import orjson

from service.errors import Finding, Malformed
from service.registry.rows import AT, MAXIMUM_FINDINGS, Column, differing_names, mismatch

MOST_ROW_CHARACTERS: Final = 8 << 20
MOST_CELLS: Final = 1 << 18
"""Held at once, each as a string of its own."""

_SHOWN: Final = 200
_TRUTHS: Final[dict[str, bool | None]] = {"true": True, "false": False, "": None}

csv.field_size_limit(MOST_ROW_CHARACTERS)


def batches_of_csv(file: IO[bytes], columns: Sequence[Column], most: int) -> Iterator[list[list[Any]]]:
    """Yield rows in the order of the columns, at most so many at a time.

    :param file: in UTF-8, with a byte order mark or without; it stays open.
    :raises Malformed: it is not CSV, or a row is too long.
    :raises Invalid: its first line does not name each input once, or no row follows it.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        yield from _batches(_rows(text), columns, max(1, min(most, MOST_CELLS // len(columns))))
    except (csv.Error, UnicodeDecodeError) as error:
        raise _unreadable(str(error)) from error
    finally:
        text.detach()


def _batches(rows: Iterator[list[str]], columns: Sequence[Column], most: int) -> Iterator[list[list[Any]]]:
    names = next(rows, [])
    findings = list(islice(differing_names(columns, names), MAXIMUM_FINDINGS + 1))
    if findings:
        raise mismatch(findings)
    # Of a single column, an empty line is a row whose only cell is empty.
    filled = (row or [""] for row in rows if row or len(columns) == 1)
    places = [names.index(column.name) for column in columns]
    chunk = list(islice(filled, most))
    if not chunk:
        raise mismatch([Finding(AT, "must hold at least one row")])
    while chunk:
        yield _converted(chunk, columns, places)
        chunk = list(islice(filled, most))


def _converted(rows: list[list[str]], columns: Sequence[Column], places: Sequence[int]) -> list[list[Any]]:
    """Return the rows as values; those that are too short or too long as they came, for the reader to name them."""
    whole = [row for row in rows if len(row) == len(columns)]
    cells = list(zip(*whole, strict=True)) or [()] * len(columns)
    values = [_values(column, cells[place]) for column, place in zip(columns, places, strict=True)]
    converted = map(list, zip(*values, strict=True))
    return [next(converted) if len(row) == len(columns) else list(row) for row in rows]


def _values(column: Column, cells: Sequence[str]) -> Sequence[Any]:
    if column.dtype == "string":
        return [cell or None for cell in cells] if column.nullable else cells
    if column.dtype == "bool":
        return [_TRUTHS.get(cell.lower(), cell) for cell in cells]
    try:
        numbers: list[Any] = orjson.loads(f"[{','.join(cell or 'null' for cell in cells)}]")
    except orjson.JSONDecodeError:
        return list(map(_number, cells))
    return numbers if len(numbers) == len(cells) else list(map(_number, cells))


def _number(cell: str) -> Any:
    """Return the number that a cell is, ``None`` for an empty one, and the cell itself where it is neither."""
    try:
        value = orjson.loads(cell or "null")
    except orjson.JSONDecodeError:
        return cell
    return value if value is None or type(value) in {int, float} else cell


class _Lines:
    """The lines of a text, as long as those of one row are not too long together."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.characters = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._text.readline(MOST_ROW_CHARACTERS)
        if not line:
            raise StopIteration
        self.characters += len(line)
        if self.characters >= MOST_ROW_CHARACTERS:
            raise _unreadable(f"a row has more than {MOST_ROW_CHARACTERS} characters")
        return line


def _rows(text: io.TextIOWrapper) -> Iterator[list[str]]:
    lines = _Lines(text)
    for row in csv.reader(lines, strict=True):
        lines.characters = 0
        yield row


def _unreadable(why: str) -> Malformed:
    return Malformed(f"The body cannot be read as CSV: {why[:_SHOWN]}", code="invalid_body")

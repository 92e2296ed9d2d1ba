"""From the rows of a request to the array of an estimator, strictly.

numpy is generous: it reads ``true`` as 1.0, ``"7"`` as text or as a number, rounds a large
integer, and each of these answers a question that nobody asked. So every cell's type is
looked at. Good rows never cost a Python step per cell: the set of the cells' types, made
by the interpreter's own loops, already proves them good. Only where it does not are cells
taken one by one, by the exact reader, which is the definition of what is accepted and
which names what is not.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from math import isfinite
from operator import itemgetter
from typing import Any, Final, TypeAlias

import numpy as np

from service.errors import Finding, Invalid

Array: TypeAlias = np.ndarray[Any, Any]
Row: TypeAlias = Sequence[Any]

AT: Final = "inputs"
"""What the rows of a request are called in findings."""

MAXIMUM_FINDINGS: Final = 20
EXACT_INTEGERS: Final = 1 << 53
"""Below this, every integer is a float64 and no other integer is the same float64."""

_SHOWN: Final = 100
_CHUNK_ROWS: Final = 256
_MISSING: Final = np.array(None, dtype=object)
_FEW_CELLS: Final = 64
_NUMBERS: Final = frozenset({float, int})
_KINDS: Final[dict[str, frozenset[type]]] = {
    "float64": _NUMBERS,
    "int64": _NUMBERS,
    "bool": frozenset({bool}),
    "string": frozenset({str}),
}
_JSON_NAMES: Final = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One input: its name, its dtype, and whether it may be missing (``null``)."""

    name: str
    dtype: str
    nullable: bool = False

    def convert(self, cell: object) -> float | int | bool | str:
        """Return the one value that ``cell`` stands for.

        A missing value is NaN. A number without a fraction is accepted for an int64; an
        integer that no float64 equals is not accepted for a float64.

        :raises ValueError: with the rest of a sentence that begins with the cell's place.
        """
        kind = type(cell)
        if cell is None or (kind is float and cell != cell):  # noqa: PLR0124 - NaN alone differs from itself
            if not self.nullable:
                raise ValueError("must not be missing")
            return float("nan")
        if kind not in _KINDS[self.dtype]:
            raise ValueError(f"must be {EXPECTED[self.dtype]}, not {_JSON_NAMES.get(kind, 'that')}")
        if self.dtype == "float64":
            return _exact_float(cell)
        if self.dtype == "int64":
            return _exact_integer(cell)
        assert isinstance(cell, bool | str)
        return cell


EXPECTED: Final = {"float64": "a number", "int64": "an integer", "bool": "true or false", "string": "a string"}


def _exact_float(cell: Any) -> float:
    try:
        value = float(cell)
    except OverflowError:
        raise ValueError("is too large for a float64") from None
    if value - value != 0:
        raise ValueError("must be finite")
    if value != cell:
        raise ValueError("is an integer that no float64 equals; send it as a decimal number to round it")
    return value


def _exact_integer(cell: Any) -> int:
    value = _exact_float(cell)
    if not value.is_integer():
        raise ValueError("must be an integer")
    if not -(2.0**63) <= value < 2.0**63:
        raise ValueError("is too large for an int64")
    return int(value)


class RowReader:
    """Reads rows against columns that do not change.

    :param text: whether the estimator takes one string per sample instead of a matrix.
    """

    def __init__(self, columns: Sequence[Column], *, text: bool = False) -> None:
        self._columns = tuple(columns)
        self._text = text
        names = [column.name for column in columns]
        self._by_name: Callable[[dict[str, Any]], Row] = (
            itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
        )
        self._dtype = np.dtype(object if any(column.dtype == "string" for column in columns) else np.float64)
        self._plain = all(column.dtype == "float64" and not column.nullable for column in columns)

    def read(self, inputs: object, at: str, first: int = 0) -> Array:
        """Return the rows as an array; ``Signature.rows`` says which.

        :param first: the number of the first row, for the findings.
        :raises Invalid: with the first cells that do not fit.
        """
        if type(inputs) is not list or not inputs:
            raise mismatch([Finding(at, "must be a list of at least one row")])
        rows = self._positional(inputs)
        X = None if rows is None else self._fast(rows)
        if X is None:
            X = self._exact(inputs, at, first)
        return X[:, 0] if self._text else X

    def _positional(self, inputs: list[Any]) -> Sequence[Row] | None:
        kinds = set(map(type, inputs))
        if kinds == {list}:
            return inputs
        if kinds == {dict} and set(map(len, inputs)) == {len(self._columns)}:
            try:
                return list(map(self._by_name, inputs))
            except KeyError:
                return None
        return None

    def _fast(self, rows: Sequence[Row]) -> Array | None:
        """Return the array where whole columns prove good, else ``None``."""
        try:
            if self._plain:
                return self._matrix(rows)
            if len(rows) * len(self._columns) > _FEW_CELLS:
                return self._columnwise(rows)
        except (ValueError, OverflowError):
            return None  # Ragged rows, or an integer that no number of numpy's holds.
        return None  # Few cells are faster one by one.

    def _matrix(self, rows: Sequence[Row]) -> Array | None:
        kinds = set(map(type, chain.from_iterable(rows)))
        if not kinds <= _NUMBERS:
            return None
        X = np.array(rows, dtype=np.float64)
        if X.shape != (len(rows), len(self._columns)) or not _is_finite(X, rows):
            return None
        return None if int in kinds and not _below_exact(X) else X

    def _columnwise(self, rows: Sequence[Row]) -> Array | None:
        X = np.empty((len(rows), len(self._columns)), self._dtype)
        cells = list(zip(*rows, strict=True))
        if len(cells) != len(self._columns):
            return None
        for index, (column, values) in enumerate(zip(self._columns, cells, strict=True)):
            converted = _converted(column, values)
            if converted is None:
                return None
            X[:, index] = converted
        return X

    def _exact(self, inputs: list[Any], at: str, first: int) -> Array:
        """Return the array, reading cell by cell wherever a chunk of rows does not prove good."""
        findings: list[Finding] = []
        chunks = []
        as_objects = type(inputs[0]) is dict
        for start in range(0, len(inputs), _CHUNK_ROWS):
            chunk = inputs[start : start + _CHUNK_ROWS]
            rows = self._positional(chunk) if (type(chunk[0]) is dict) == as_objects else None
            X = None if rows is None or len(inputs) <= _CHUNK_ROWS else self._fast(rows)
            if X is None:
                X = np.empty((len(chunk), len(self._columns)), self._dtype)
                for index, row in enumerate(chunk):
                    found = self._read_row(row, X[index], f"{at}[{first + start + index}]", as_objects=as_objects)
                    findings += islice(found, MAXIMUM_FINDINGS + 1 - len(findings))
                    if len(findings) > MAXIMUM_FINDINGS:
                        raise mismatch(findings)
            chunks.append(X)
        if findings:
            raise mismatch(findings)
        return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)

    def _read_row(self, row: object, into: Array, at: str, *, as_objects: bool) -> Iterator[Finding]:
        if as_objects and isinstance(row, dict):
            yield from self._name_differences(row, at)
            places = ((index, column) for index, column in enumerate(self._columns) if column.name in row)
            cells = ((index, column, row[column.name]) for index, column in places)
        elif not as_objects and isinstance(row, list) and len(row) == len(self._columns):
            cells = ((index, self._columns[index], cell) for index, cell in enumerate(row))
        else:
            yield Finding(at, self._shape_expected(row, as_objects=as_objects))
            return
        for index, column, cell in cells:
            try:
                into[index] = column.convert(cell)
            except ValueError as error:
                yield Finding(f"{at}.{column.name}" if column.name else at, str(error))

    def _name_differences(self, row: dict[str, Any], at: str) -> Iterator[Finding]:
        known = {column.name for column in self._columns}
        for column in self._columns:
            if column.name not in row:
                yield Finding(f"{at}.{column.name}", "is missing")
        for name in row:
            if name not in known:
                yield Finding(f"{at}.{name[:_SHOWN]}", "is not an input of this model")

    def _shape_expected(self, row: object, *, as_objects: bool) -> str:
        if as_objects:
            return "must be an object by feature name, as the first row is"
        if isinstance(row, list):
            return f"must have {len(self._columns)} values, and has {len(row)}"
        return f"must be an array of {len(self._columns)} values"


def _converted(column: Column, cells: Row) -> Array | None:
    kinds = set(map(type, cells))
    missing = type(None) in kinds
    kinds.discard(type(None))
    if not kinds <= _KINDS[column.dtype] or (missing and not column.nullable):
        return None
    if column.dtype in {"bool", "string"}:
        values = np.array(cells, dtype=object)
        values[values == _MISSING] = np.nan
        return values
    return _converted_numbers(column, np.array(cells, dtype=np.float64))


def _converted_numbers(column: Column, numbers: Array) -> Array | None:
    absent = np.isnan(numbers)
    present = numbers[~absent]
    if (absent.any() and not column.nullable) or not _below_exact(present):
        return None
    if column.dtype == "float64":
        return numbers
    if not (present == np.floor(present)).all():
        return None
    integers = numbers.astype(object)
    integers[~absent] = present.astype(np.int64)
    return integers


def _is_finite(X: Array, rows: Sequence[Row]) -> bool:
    """Whether every number is finite; numpy's two calls take longer than a look at a few cells."""
    return all(map(isfinite, chain.from_iterable(rows))) if X.size <= _FEW_CELLS else bool(np.isfinite(X).all())


def _below_exact(numbers: Array) -> bool:
    return bool((np.abs(numbers) < EXACT_INTEGERS).all())


def differing_names(columns: Sequence[Column], names: Sequence[str]) -> Iterator[Finding]:
    """Yield what is wrong with the names that a file has for its columns; their order is free."""
    known = {column.name for column in columns}
    met: set[str] = set()
    for name in names:
        if name not in known:
            yield Finding(f"{AT}.{name[:_SHOWN]}", "is not an input of this model")
        elif name in met:
            yield Finding(f"{AT}.{name}", "is there twice")
        met.add(name)
    for column in columns:
        if column.name not in met:
            yield Finding(f"{AT}.{column.name}", "is missing")


def mismatch(findings: Sequence[Finding]) -> Invalid:
    """Return the refusal of rows, with the first of the places that are wrong."""
    more = f"; the first {MAXIMUM_FINDINGS} are listed" if len(findings) > MAXIMUM_FINDINGS else ""
    return Invalid(
        f"The rows do not fit the model's signature; each place is named under errors{more}.",
        code="signature_mismatch",
        findings=findings[:MAXIMUM_FINDINGS],
    )

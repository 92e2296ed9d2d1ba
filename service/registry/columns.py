"""From Arrow's columns to the cells of a signature, as strictly as from JSON.

Columns are matched by name, in any order. Their types are looked at once, and their
values a column at a time; only cells that do not prove good are taken one by one, by the
same exact reader as JSON's, which names what is wrong with each.

Arrow is read in a confined child alone (``service.registry.batches``): this is the one
module beside it that needs pyarrow to read.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final

import numpy as np
import pyarrow as pa

from service.errors import Finding
from service.registry.cells import Cells
from service.registry.rows import (
    AT,
    EXACT_INTEGERS,
    EXPECTED,
    MAXIMUM_FINDINGS,
    Array,
    Column,
    differing_names,
    mismatch,
)

_EXTENSION: Final = b"ARROW:extension:name"
_SHOWN: Final = 100
_WIDE: Final = 8
"""Bytes of the integers that a float64 may not hold exactly."""


class ColumnReader:
    """Reads batches of one schema against the inputs of a signature."""

    def __init__(self, columns: Sequence[Column], schema: pa.Schema) -> None:
        """Match the schema's columns to the inputs.

        :raises Invalid: naming each column that is unknown, missing, there twice or of another type.
        """
        places = {name: place for place, name in enumerate(schema.names)}
        different = chain(differing_names(columns, schema.names), _differing_types(columns, schema, places))
        findings = list(islice(different, MAXIMUM_FINDINGS + 1))
        if findings:
            raise mismatch(findings)
        self._inputs = [(column, places[column.name]) for column in columns]
        self.text_places = [place for column, place in self._inputs if column.dtype == "string"]

    def read(self, batch: pa.RecordBatch, first_row: int) -> Cells:
        """Return the cells of a batch that is valid and not empty.

        :param first_row: the number of its first row in the whole body, for the findings.
        :raises Invalid: with the first cells of the batch that do not fit.
        """
        rows = batch.num_rows
        numbers = np.empty((rows, len(self._inputs) - len(self.text_places)))
        texts: list[list[str | None]] = []
        faults: list[tuple[int, int, str]] = []
        filled = 0
        for position, (column, place) in enumerate(self._inputs):
            array = batch.column(place)
            if column.dtype == "string":
                found = _read_texts(column, array, texts)
            else:
                found = _read_numbers(column, array, numbers[:, filled])
                filled += 1
            faults += ((row, position, message) for row, message in islice(found, MAXIMUM_FINDINGS + 1))
        if faults:
            raise mismatch(list(self._findings(sorted(faults), first_row)))
        return Cells(numbers, texts)

    def _findings(self, faults: Sequence[tuple[int, int, str]], first_row: int) -> Iterator[Finding]:
        for row, position, message in faults[: MAXIMUM_FINDINGS + 1]:
            yield Finding(f"{AT}[{first_row + row}].{self._inputs[position][0].name}", message)


def _differing_types(columns: Sequence[Column], schema: pa.Schema, places: dict[str, int]) -> Iterator[Finding]:
    for column in columns:
        field = schema.field(places[column.name]) if column.name in places else None
        if field is not None and not _fits(column, field):
            yield Finding(f"{AT}.{column.name}", f"must be {EXPECTED[column.dtype]}, not {_named(field)}")


def _fits(column: Column, field: pa.Field) -> bool:
    if _is_extension(field):
        return False
    return pa.types.is_null(field.type) or _TYPES[column.dtype](field.type)


def _is_extension(field: pa.Field) -> bool:
    return isinstance(field.type, pa.BaseExtensionType) or _EXTENSION in (field.metadata or {})


def _named(field: pa.Field) -> str:
    kind = (
        "an extension type over " if _is_extension(field) and not isinstance(field.type, pa.BaseExtensionType) else ""
    )
    return f"{kind}{field.type}"[:_SHOWN]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_TYPES: Final[dict[str, Callable[[pa.DataType], bool]]] = {
    "float64": _is_number,
    "int64": _is_number,
    "bool": pa.types.is_boolean,
    "string": _is_text,
}


def _read_numbers(column: Column, array: pa.Array, into: Array) -> Iterator[tuple[int, str]]:
    """Write the column's values; yield row and complaint of each that does not fit."""
    missing = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    raw = _values(array)
    into[:] = raw
    if missing is not None:
        into[missing] = np.nan
    doubtful = _doubtful(column, into, raw)
    if not doubtful.any():
        return
    for row in np.flatnonzero(doubtful).tolist():
        cell = None if missing is not None and missing[row] else raw[row].item()
        try:
            column.convert(cell)
        except ValueError as error:
            yield row, str(error)


def _values(array: pa.Array) -> Array:
    """Return what the array holds, without a copy; where it is null, anything."""
    if pa.types.is_null(array.type):
        return np.zeros(len(array))
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    dtype: np.dtype[Any] = np.dtype(array.type.to_pandas_dtype())
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)


def _doubtful(column: Column, values: Array, raw: Array) -> Array:
    """Return which cells must be looked at one by one.

    :param values: ``raw`` as float64, NaN where it is null.
    """
    doubtful: Array = ~np.isfinite(values)
    if raw.dtype.kind in "iu" and raw.dtype.itemsize == _WIDE:
        doubtful |= ~_is_exact(values, raw)
    if column.dtype == "int64":
        doubtful |= (values != np.floor(values)) | (values < -(2.0**63)) | (values >= 2.0**63)
    if column.nullable:
        doubtful &= ~np.isnan(values)
    return doubtful


def _is_exact(values: Array, integers: Array) -> Array:
    """Return where a float64 is the integer that it was made from."""
    small: Array = np.abs(values) < EXACT_INTEGERS
    if small.all():
        return small
    with np.errstate(
        invalid="ignore"
    ):  # What is out of range comes back as another integer, or is caught by the limit.
        back = values.astype(integers.dtype)
    exact: Array = (back == integers) & (values < 2.0 ** (64 if integers.dtype.kind == "u" else 63))
    return exact


def _read_texts(column: Column, array: pa.Array, into: list[list[str | None]]) -> Iterator[tuple[int, str]]:
    """Append the column's cells; yield row and complaint of each that does not fit."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    into.append(array.to_numpy(zero_copy_only=False).tolist())
    if array.null_count and not column.nullable:
        for row in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist():
            yield row, "must not be missing"

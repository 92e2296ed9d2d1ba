"""Answers as Arrow streams and Parquet files, written batch by batch.

A file has one column for each output. Where an output has several values for a row, as
``predict_proba`` has, the column holds lists of a fixed size, as it does in JSON. Which
version gave them stands in the schema's metadata. It needs pyarrow, which is an extra.
"""

import contextlib
import io
import tempfile
from collections.abc import Mapping
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from service.artifacts.outputs import natural, refuse_over
from service.errors import Unacceptable
from service.registry.cells import PARQUET
from service.registry.rows import Array

IN_MEMORY_BYTES: Final = 1 << 20
"""Longer files lie on the disk."""

_TYPES: Final = {"float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_(), "string": pa.string()}


class _Sink(io.RawIOBase):
    """What a writer writes to: a file, or nothing any more once nobody takes it.

    A writer that is given up still writes its end.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file: IO[bytes] | None = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data) if self.file is None else self.file.write(data)


class AnswerFile:
    """A file that grows by one batch of answers at a time.

    :param form: ``ARROW`` or ``PARQUET``.
    :param dtypes: of the outputs by name, as a signature has them.
    :param metadata: of the schema.
    :param most: bytes that the file may have.
    """

    def __init__(self, form: str, dtypes: Mapping[str, str], metadata: Mapping[str, str], most: int) -> None:
        self._form = form
        self._dtypes = dtypes
        self._metadata = metadata
        self._most = most
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - whoever takes it closes it.
        self._sink = _Sink(self._file)
        self._writer: Any = None

    def write(self, values: Mapping[str, Array]) -> None:
        """Add the outputs for some rows.

        :raises TooLarge: ``answer_too_large``.
        :raises Unacceptable: an output fits into no column.
        """
        columns = {name: _column(array, self._dtypes.get(name, "string")) for name, array in values.items()}
        batch = pa.record_batch(columns)
        if self._writer is None:
            self._writer = self._begun(batch.schema.with_metadata(dict(self._metadata)))
        self._writer.write_batch(batch)
        refuse_over(self._file.tell(), self._most)

    def finish(self) -> IO[bytes]:
        """Return the whole file."""
        self._writer.close()
        return self._file

    def close(self) -> None:
        """Let go of a file that nobody takes."""
        self._sink.file = None
        if self._writer is not None:
            self._writer.close()
        # Closing writes what found no room before.
        with contextlib.suppress(OSError):
            self._file.close()

    def _begun(self, schema: pa.Schema) -> Any:
        if self._form == PARQUET:
            return pa.parquet.ParquetWriter(self._sink, schema)
        return pa.ipc.new_stream(self._sink, schema)


def _column(values: Array, dtype: str) -> pa.Array:
    """Return the values of an output, (n,) or (n, …), as one column."""
    try:
        column = _flat(values.reshape(-1), dtype)
        for width in reversed(values.shape[1:]):
            column = pa.FixedSizeListArray.from_arrays(column, width)
    except (pa.ArrowException, OverflowError) as error:
        raise Unacceptable(
            "An output has labels of several types, or no values at all, and fits into no column; "
            "take it as application/json."
        ) from error
    return column


def _flat(values: Array, dtype: str) -> pa.Array:
    kind = values.dtype.kind
    if kind == "f":
        return pa.array(np.ascontiguousarray(values, np.float64))
    if kind in "iub":
        exact = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
        return pa.array(exact).cast(pa.bool_() if kind == "b" else pa.int64())
    return pa.array(natural(values.tolist()), _TYPES[dtype])

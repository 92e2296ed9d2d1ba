"""Tables as the client sends and receives them: in files, so that their size does not matter."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from os import PathLike
from pathlib import Path
from typing import IO, Any, Final

ARROW: Final = "application/vnd.apache.arrow.stream"
PARQUET: Final = "application/vnd.apache.parquet"

_PARQUET_MAGIC: Final = b"PAR1"
_PIECE: Final = 256 << 10
_BATCH_ROWS: Final = 65_536


class Content:
    """The content of a file, from its beginning each time that it is sent."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.length = file.seek(0, os.SEEK_END)

    def __iter__(self) -> Iterator[bytes]:
        """Yield it in pieces."""
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece


@contextmanager
def written(table: Any) -> Iterator[tuple[Content, str]]:
    """Yield a table as the content of a file, and its media type.

    :param table: a ``pyarrow.Table`` or ``RecordBatchReader``, or the path of a Parquet file or an Arrow stream.
    """
    if isinstance(table, str | PathLike):
        with Path(table).open("rb") as file:
            media = PARQUET if file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC else ARROW
            yield Content(file), media
        return
    import pyarrow as pa  # noqa: PLC0415 - only whoever has tables needs it.

    batches = table.to_reader(_BATCH_ROWS) if isinstance(table, pa.Table) else table
    with tempfile.TemporaryFile() as file:
        with pa.ipc.new_stream(file, batches.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        yield Content(file), ARROW


def answer() -> AbstractContextManager[Any]:
    """Return a file for an answer, which has a name until the block ends."""
    return tempfile.NamedTemporaryFile()


def read(file: Any) -> Any:
    """Return the record batches of an answer, which may be read after its file's name is gone."""
    import pyarrow as pa  # noqa: PLC0415 - only whoever has tables needs it.

    file.flush()
    return pa.ipc.open_stream(pa.memory_map(file.name))

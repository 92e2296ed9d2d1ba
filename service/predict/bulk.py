"""The rows of a file, in batches of a size that suits the model.

A confined child reads the file (``service.registry.batches``), and a thread takes in what
it has read, while the model works. Whatever the file holds, this process has two batches
of it in memory: the one that is predicted, and the next.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from math import prod
from typing import IO, Final

import orjson

from service.confinement import Confinement, Conversation, Limits
from service.confinement.places import Places
from service.errors import ChildFailed, DeadlineExceeded, Malformed, ModelwardError, TooLarge
from service.registry.cells import CSV, Cells, array_of, cells_of, out_of_memory
from service.registry.csv_rows import batches_of_csv
from service.registry.resolution import ResolvedVersion
from service.registry.rows import Array

READER: Final = "service.registry.batches"
"""The module that reads files. It needs pyarrow, which is an extra."""

MOST_ROWS: Final = 10_000_000
MOST_BATCH_ROWS: Final = 65_536
MOST_BATCH_BYTES: Final = 16 << 20
"""Of a batch's inputs, and of each of its outputs."""

FIRST_ROWS: Final = 2048
BATCH_SECONDS: Final = 0.2
"""How long a batch should keep its model.

Long enough that what each batch costs beside its rows is nothing; and not longer, because
others wait for the same model, and one that is slow takes much memory for each row, too.
"""

PLACES: Final = 4
"""Files that are read at once, for each worker."""

_CPU_SECONDS: Final = 120
_NUMBER_BYTES: Final = 8
_OBJECT_BYTES: Final = 100
_CHARACTER_BYTES: Final = 4


def can_read() -> bool:
    """Whether files can be read at all here."""
    return find_spec("pyarrow") is not None


class Bulk:
    """Reads files, a few at a time.

    :param seconds: that all of one file may take, the model's work included.
    :param memory_bytes: that a reader may take beside its file.
    :param most_rows: in one file; a few bytes of Parquet may stand for any number of rows.
    :param place_seconds: that a file waits for its turn.
    :param reader: the function that reads a file, in its child.
    """

    def __init__(
        self,
        confinement: Confinement,
        seconds: float,
        memory_bytes: int = 1 << 30,
        *,
        most_rows: int = MOST_ROWS,
        place_seconds: float = 10,
        reader: str = f"{READER}:talk",
    ) -> None:
        self._confinement = confinement
        self._seconds = seconds
        self._limits = Limits(cpu_seconds=_CPU_SECONDS, memory_bytes=memory_bytes)
        self._most_rows = most_rows
        self._place_seconds = place_seconds
        self._reader = reader
        self._places = Places(PLACES)

    def batches(self, version: ResolvedVersion, file: IO[bytes], form: str) -> Iterator[tuple[Array, float]]:
        """Yield rows as ``Signature.rows`` returns them, and the seconds that are left for everything.

        :param file: not empty, with a descriptor; nobody may change it meanwhile.
        :param form: ``ARROW``, ``PARQUET`` or ``CSV``.
        :raises Malformed: it is not of that form, or breaks off.
        :raises Invalid: columns or cells do not fit the signature; the findings name each.
        :raises TooLarge: it takes too much memory to read, or has too many rows.
        :raises DeadlineExceeded: the time is over.
        :raises Unavailable: as many files are being read as can be.
        """
        deadline = time.monotonic() + self._seconds
        if form == CSV:
            yield from self._batches_of_csv(version, file, deadline)
            return
        pace = _Pace(most_rows(version))
        columns = [[column.name, column.dtype, column.nullable] for column in version.signature.inputs]
        opening = orjson.dumps({"form": form, "columns": columns, "rows": pace.rows, "most": pace.most})
        places = self._places.one(version.tenant_id, self._place_seconds)
        reading = self._confinement.converse(self._reader, file.fileno(), opening, self._limits)
        # What is left of the conversation ends before the thread that listens to it.
        with places, ThreadPoolExecutor(1, "reading") as ahead, reading as child:
            total = 0
            coming = ahead.submit(_read, child, version, form, pace.rows, deadline)
            while cells := coming.result():
                coming = ahead.submit(_read, child, version, form, pace.rows, deadline)
                total = self._counted(total + cells.rows)
                X = array_of(cells, version.signature.inputs, text=version.signature.layout == "text")
                with pace.of(cells.rows):
                    yield X, self._left(deadline)

    def _batches_of_csv(
        self, version: ResolvedVersion, file: IO[bytes], deadline: float
    ) -> Iterator[tuple[Array, float]]:
        """Yield rows of text, which is read here: nothing parses it but Python's own reader and JSON's."""
        total = 0
        place = self._places.one(version.tenant_id, self._place_seconds)
        with place, open(file.fileno(), "rb", closefd=False) as text:
            text.seek(0)
            for rows in batches_of_csv(text, version.signature.inputs, most_rows(version)):
                X = version.signature.rows(rows, first=total)
                total = self._counted(total + len(rows))
                yield X, self._left(deadline)

    def _counted(self, rows: int) -> int:
        if rows > self._most_rows:
            raise TooLarge(f"A body may hold at most {self._most_rows} rows.")
        return rows

    def _left(self, deadline: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"All rows of a body must be predicted in {self._seconds:g} s; send fewer at once.")
        return left


class _Pace:
    """How many rows the next batch has: as many as the model answers in ``BATCH_SECONDS``."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.rows = min(FIRST_ROWS, most)

    @contextmanager
    def of(self, rows: int) -> Iterator[None]:
        """Learn from how long so many rows take."""
        begun = time.perf_counter()
        yield
        faster = BATCH_SECONDS / max(time.perf_counter() - begun, 1e-6)
        self.rows = max(1, min(self.most, int(rows * min(faster, 4))))


def most_rows(version: ResolvedVersion) -> int:
    """Return how many rows a batch has at most, so that its inputs and outputs stay within ``MOST_BATCH_BYTES``."""
    inputs = version.signature.inputs
    cell = _OBJECT_BYTES if any(column.dtype == "string" for column in inputs) else _NUMBER_BYTES
    labels = [len(label) * _CHARACTER_BYTES for label in version.classes or () if isinstance(label, str)]
    widths = [_NUMBER_BYTES * prod(output.get("shape", ())) for output in version.signature.outputs]
    widest: int = max(len(inputs) * cell, *labels, *widths)
    return max(1, min(MOST_BATCH_ROWS, MOST_BATCH_BYTES // widest))


def _read(child: Conversation, version: ResolvedVersion, form: str, rows: int, deadline: float) -> Cells | None:
    try:
        header, body = child.ask({"rows": rows}, [], deadline)
        return cells_of(header, body, version.signature.inputs) if header["rows"] else None
    except ChildFailed as failure:
        raise _about(form, failure) from failure
    except (ValueError, TypeError, KeyError) as nonsense:
        raise _unreadable(form) from nonsense


def _about(form: str, failure: ChildFailed) -> ModelwardError:
    """Return what the end of a reader says about the body that it read."""
    return out_of_memory() if failure.reason == "child_out_of_memory" else _unreadable(form)


def _unreadable(form: str) -> Malformed:
    return Malformed(f"The body cannot be read as {form}: its reader crashed.", code="invalid_body")

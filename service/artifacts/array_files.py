"""The array files inside a ``.skops`` file: their headers, before numpy reads the data.

A header may promise more than the file holds, and numpy makes room for the promise; an
array of objects is a pickle. A sparse matrix is a zip of arrays inside the zip.
"""

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy

from service.artifacts.formats import pickle_refused
from service.errors import Finding

_SPARSE_MEMBER: Final = re.compile(r"(indices|indptr|format|shape|data|row|col|offsets|coords|_is_array)\.npy")
_HEADERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_NUMBERS_AND_TEXT: Final = "biufSU"


def check(archive: zipfile.ZipFile, spare: int) -> Iterator[Finding]:
    """Yield what is wrong with the array files of ``archive``.

    :param spare: bytes that nested archives may add when they are unpacked.
    :raises Unsupported: an array holds objects, which is a pickle.
    """
    for member in archive.infolist():
        at = member.filename
        try:
            if at.endswith(".npy"):
                yield from _array(archive, member, at)
            elif at.endswith(".npz"):
                with zipfile.ZipFile(io.BytesIO(archive.read(member))) as nested:
                    spare -= sum(inner.file_size for inner in nested.infolist())
                    yield from _sparse(nested, at, spare)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, struct.error) as error:
            yield Finding(at, f"cannot be read as an array: {error}")


def _sparse(nested: zipfile.ZipFile, at: str, spare: int) -> Iterator[Finding]:
    if spare < 0:
        yield Finding(at, "makes the archive larger than it may be when unpacked")
        return
    for member in nested.infolist():
        if not _SPARSE_MEMBER.fullmatch(member.filename):
            yield Finding(at, "holds what is no part of a sparse matrix")
        else:
            yield from _array(nested, member, f"{at}/{member.filename}")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, at: str) -> Iterator[Finding]:
    with archive.open(member) as file:
        read_header = _HEADERS.get(npy.read_magic(file))
        if read_header is None:
            yield Finding(at, "has a version of the array format that skops does not write")
            return
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise pickle_refused(f"The array {at} holds pickled objects.")
        if not _plain(dtype):
            yield Finding(at, f"has elements of the type {dtype}, which no estimator holds")
        if math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
            yield Finding(at, "does not hold as many elements as its header says")


def _plain(dtype: np.dtype[Any]) -> bool:
    """Whether elements are numbers or text, or records of them, as trees keep their nodes."""
    if dtype.fields is not None:
        return all(_plain(field[0]) for field in dtype.fields.values())
    return dtype.base.kind in _NUMBERS_AND_TEXT

"""The container of a ``.skops`` file, checked before anything in it is unpacked.

A file that skops writes is a plain zip: members named by number, deflated or stored,
nothing before, between or behind them. Whatever departs from that is refused, which
takes care of path traversal, files that are two formats at once, and bombs.
"""

import io
import itertools
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from service.artifacts import array_files
from service.artifacts.formats import HOW_TO_CONVERT, WHY_NO_PICKLE, pickle_refused
from service.errors import Finding, Rejected, Unsupported

SCHEMA: Final = "schema.json"
MAX_FINDINGS: Final = 20

_END: Final = struct.Struct("<4s4H2LH")
_FOREIGN: Final = f"The file's container is not one that skops writes. {HOW_TO_CONVERT}"
_PICKLES: Final = (".pkl", ".pickle", ".joblib", ".sav")
_PICKLE: Final = f"; it is a pickle by its name. {WHY_NO_PICKLE}"
_MEMBER: Final = re.compile(r"schema\.json|[0-9]{1,20}\.np[yz]")
_DIRECTORY_ENTRY: Final = 46 + 64
_LOCAL_HEADER: Final = 30


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a container may be; sizes are bytes after unpacking."""

    entries: int = 100_000
    entry: int = 512 << 20
    schema: int = 64 << 20
    total: int = 1 << 30
    ratio: int = 200
    ratio_from: int = 16 << 20
    """Below this total no ratio is too high: a small file of zeros harms nobody."""


BOUNDS: Final = Bounds()


def check(data: bytes, bounds: Bounds = BOUNDS) -> None:
    """Check everything that can be known without making an object.

    :raises Unsupported: it is a zip of another kind.
    :raises Rejected: it departs from what skops writes, or is too large when unpacked.
    """
    with open_archive(data, bounds) as archive:
        members = archive.infolist()
        _require_skops(members)
        _refuse(itertools.chain(_members(members, bounds), _gaps(archive)))
        _refuse(array_files.check(archive, bounds.total - sum(member.file_size for member in members)))


def open_archive(data: bytes, bounds: Bounds = BOUNDS) -> zipfile.ZipFile:
    """Open the archive, once its directory is known to lie at the end and to be of a sane size.

    :raises Rejected: it is cut off, has more members than it may, or holds more than the archive.
    """
    tail = data[-_END.size :]
    if len(tail) < _END.size or tail[:4] != b"PK\x05\x06":
        raise _rejected("archive", "is cut off, or something is appended to it")
    _, _, _, _, entries, size, offset, comment = _END.unpack(tail)
    if comment or offset + size + _END.size != len(data):
        raise _rejected("archive", "holds something before or behind what skops writes")
    if entries > bounds.entries or size > bounds.entries * _DIRECTORY_ENTRY:
        raise _rejected("archive", f"lists more than {bounds.entries:,} members")
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, UnicodeDecodeError) as error:
        raise _rejected("archive", f"cannot be read as a zip: {error}") from None


def unpacked_bytes(data: bytes) -> int:
    """Return how many bytes a file unpacks to; those of one that is no archive are its own."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile:
        return len(data)


def read(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return one member's bytes.

    :raises Rejected: it is not there, or not what the directory says of it.
    """
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, ValueError) as error:
        raise _rejected(name, f"cannot be unpacked: {error}") from None


def _require_skops(members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    if SCHEMA in names:
        return
    if any(name.endswith((".pkl", ".pickle", ".joblib")) for name in names):
        raise pickle_refused("This archive holds a pickle.")
    if any(name.endswith(".npy") and not _MEMBER.fullmatch(name) for name in names):
        raise Unsupported(f"This is an array archive of numpy (.npz), not an estimator. {HOW_TO_CONVERT}")
    raise _rejected(SCHEMA, "is missing; this is a zip, but not one that skops wrote")


def _members(members: list[zipfile.ZipInfo], bounds: Bounds) -> Iterator[Finding]:
    for name, count in Counter(member.filename for member in members).items():
        if count > 1:
            yield Finding(name, "is there more than once")
    for member in members:
        yield from _member(member, bounds)
    yield from _sizes(members, bounds)


def _member(member: zipfile.ZipInfo, bounds: Bounds) -> Iterator[Finding]:
    at = member.filename[:100]
    most = bounds.schema if member.filename == SCHEMA else bounds.entry
    if not _MEMBER.fullmatch(member.filename) or member.orig_filename != member.filename:
        yield Finding(at, f"is no name that skops gives to a member{_PICKLE if at.endswith(_PICKLES) else ''}")
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        yield Finding(at, "is neither stored nor deflated")
    if member.flag_bits & 1:
        yield Finding(at, "is encrypted")
    if member.file_size > most:
        yield Finding(at, f"is larger than {most:,} bytes when unpacked")


def _sizes(members: list[zipfile.ZipInfo], bounds: Bounds) -> Iterator[Finding]:
    total = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if total > bounds.total:
        yield Finding("archive", f"is larger than {bounds.total:,} bytes when unpacked")
    if total > bounds.ratio_from and total > packed * bounds.ratio:
        yield Finding("archive", f"unpacks to more than {bounds.ratio} times its size")


def _gaps(archive: zipfile.ZipFile) -> Iterator[Finding]:
    """Yield a finding where members do not follow each other from the first byte to the directory."""
    position = 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        if member.header_offset != position:
            yield Finding(member.filename[:100], "does not begin where the member before it ends")
            return
        position += _LOCAL_HEADER + len(member.orig_filename.encode()) + member.compress_size
    if position != archive.start_dir:
        yield Finding("archive", "holds something between its members and its directory")


def _refuse(findings: Iterator[Finding]) -> None:
    first = list(itertools.islice(findings, MAX_FINDINGS))
    if first:
        raise Rejected(_FOREIGN, findings=first)


def _rejected(at: str, message: str) -> Rejected:
    return Rejected(_FOREIGN, findings=[Finding(at, message)])

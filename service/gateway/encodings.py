"""Compressed bodies: inflated before any view reads them, and never beyond what the caller may send."""

import tempfile
import zlib
from typing import IO, Final

from service.errors import Malformed, TooLarge, Unavailable, Unsupported
from service.gateway.auth import ANONYMOUS_BODY_BYTES
from service.gateway.context import Exchange

GZIP: Final = frozenset({"gzip", "x-gzip"})

_IN_MEMORY_BYTES: Final = 1 << 20
_NO_ROOM_SECONDS: Final = 5
_PIECE: Final = 64 << 10
_INFLATED_AT_ONCE: Final = 1 << 20
_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS


def decode(exchange: Exchange) -> None:
    """Replace a gzip body by what it holds, so that all else sees a plain one.

    :raises Unsupported: the body is in another encoding.
    :raises Malformed: it is not gzip, breaks off, or something follows it.
    :raises TooLarge: it holds more bytes than the caller may send.
    :raises Unavailable: there is no room for what it holds.
    """
    environ = exchange.environ
    encoding = environ.get("HTTP_CONTENT_ENCODING")
    if encoding is None or environ.get("CONTENT_LENGTH") in {None, "", "0"}:
        return
    name = encoding.strip().lower()
    if name not in GZIP | {"identity"}:
        exchange.fields.append(("Accept-Encoding", "gzip"))
        raise Unsupported("A body is sent as it is, or in the encoding gzip.", code="unsupported_media_type")
    if name in GZIP:
        most = exchange.principal.plan.max_body_bytes if exchange.principal else ANONYMOUS_BODY_BYTES
        compressed = environ["wsgi.input"]
        body = exchange.inflated = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - the exchange ends it.
        try:
            inflate(compressed, int(environ["CONTENT_LENGTH"]), most, body)
        except OSError as error:
            raise no_room() from error
        compressed.close()
        environ["CONTENT_LENGTH"] = str(body.tell())
        body.seek(0)
        environ["wsgi.input"] = body
    del environ["HTTP_CONTENT_ENCODING"]


def inflate(compressed: IO[bytes], length: int, most: int, into: IO[bytes]) -> None:
    """Write what ``length`` bytes of gzip hold; several members may follow each other (RFC 1952).

    :raises Malformed: they are not gzip, break off, or something follows them.
    :raises TooLarge: they hold more than ``most`` bytes.
    """
    stream = zlib.decompressobj(_GZIP_FORMAT)
    try:
        while length and (piece := compressed.read(min(length, _PIECE))):
            length -= len(piece)
            while piece:
                if stream.eof:
                    stream = zlib.decompressobj(_GZIP_FORMAT)
                into.write(stream.decompress(piece, min(most + 1 - into.tell(), _INFLATED_AT_ONCE)))
                if into.tell() > most:
                    raise TooLarge(f"The body holds more than the {most} bytes that this caller may send.")
                piece = stream.unused_data or stream.unconsumed_tail
    except zlib.error as error:
        raise _not_gzip() from error
    if not stream.eof:
        raise _not_gzip()


def no_room() -> Unavailable:
    """Return the refusal of a call whose temporary files find no room."""
    return Unavailable("There is no room for temporary files now.", code="no_room", retry_after=_NO_ROOM_SECONDS)


def _not_gzip() -> Malformed:
    return Malformed("The body is not gzip, or it breaks off.", code="invalid_encoding")

"""From the head of a request to a WSGI environment, refusing what two parsers could read in two ways.

The parser (llhttp, strict) has already refused folded headers, two lengths, a length
beside a coding, a bare line feed and bytes that no header may hold. What is left to
refuse here is what it lets through: missing or repeated headers of which there is
exactly one, values that are not printable ASCII, names with an underscore (WSGI cannot
tell them from a dash; they are dropped), and sizes.
"""

import io
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

Environ = dict[str, Any]

MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 32 << 10
MAX_TARGET_BYTES: Final = 8 << 10

_HOST: Final = re.compile(r"[A-Za-z0-9._~\-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)(.*)")
_ONLY_ONCE: Final = frozenset(
    {
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "HTTP_AUTHORIZATION",
        "HTTP_CONTENT_ENCODING",
        "HTTP_EXPECT",
        "HTTP_HOST",
        "HTTP_IDEMPOTENCY_KEY",
        "HTTP_IF_MATCH",
        "HTTP_TRANSFER_ENCODING",
        "HTTP_X_API_KEY",
        "HTTP_X_REQUEST_ID",
        "HTTP_X_REQUEST_TIMEOUT_MS",
    }
)
_KNOWN_NAMES: Final = 512


class Head(NamedTuple):
    """What stands before a request's body, as it was sent.

    :param target: what follows the method.
    :param version: ``1.0`` or ``1.1``.
    :param headers: names and values in the order of their coming.
    """

    method: str
    target: bytes
    version: str
    headers: list[tuple[bytes, bytes]]


class Refusal(Exception):
    """A request that never reaches the application.

    :param status: the HTTP status.
    :param code: the stable code of the problem.
    :param detail: a sentence for the caller.
    :param retry_after: seconds after which to try again, where that helps.
    """

    def __init__(self, status: int, code: str, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after


def malformed(detail: str) -> Refusal:
    """Return the refusal of what is no clean request."""
    return Refusal(400, "malformed_request", detail)


class Environs:
    """Makes WSGI environments.

    Header names are translated once and remembered; the number remembered is bounded
    because callers choose them.
    """

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}

    def base(self, client: str, server: tuple[str, int]) -> Environ:
        """Return what the environments of all requests of a connection have in common.

        :param client: the caller's address.
        :param server: address and port that the caller reached.
        """
        return {
            "SCRIPT_NAME": "",
            "SERVER_NAME": server[0],
            "SERVER_PORT": str(server[1]),
            "REMOTE_ADDR": client,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.input_terminated": True,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }

    def of(self, base: Environ, head: Head) -> Environ:
        """Return the environment of a request, with an empty body.

        :raises Refusal: the request is one that could be read in two ways, or is too large.
        """
        environ = base.copy()
        self._add_headers(environ, head.headers)
        environ["REQUEST_METHOD"] = head.method
        environ["SERVER_PROTOCOL"] = f"HTTP/{head.version}"
        environ["PATH_INFO"], environ["QUERY_STRING"] = _path_and_query(head.target, environ.get("HTTP_HOST"))
        environ["wsgi.input"] = io.BytesIO()
        _check(environ, head.version)
        return environ

    def _add_headers(self, environ: Environ, headers: list[tuple[bytes, bytes]]) -> None:
        if len(headers) > MAX_HEADERS:
            raise Refusal(431, "headers_too_large", f"A request has at most {MAX_HEADERS} headers.")
        size = 0
        names = self._names
        for name, value in headers:
            size += len(name) + len(value)
            key = names.get(name)
            if key is None:
                key = self._translate(name)
            text = _text(value)
            if key not in environ:
                environ[key] = text
            elif key in _ONLY_ONCE:
                raise malformed(f"The header {name.decode()} was sent more than once.")
            else:
                environ[key] = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ', '}{text}"
        environ.pop("", None)
        if size > MAX_HEADER_BYTES:
            raise Refusal(431, "headers_too_large", f"Headers take at most {MAX_HEADER_BYTES} bytes together.")

    def _translate(self, name: bytes) -> str:
        """Return the environment's name of a header; a name with an underscore has none and is dropped."""
        key = "" if b"_" in name else name.decode("ascii").upper().replace("-", "_")
        if key not in {"", "CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = "HTTP_" + key
        if len(self._names) < _KNOWN_NAMES:
            self._names[name] = key
        return key


def _text(value: bytes) -> str:
    if not value.isascii():
        raise malformed("The values of headers must be ASCII.")
    text = value.decode("ascii").strip(" \t")
    if not text.isprintable() and not text.replace("\t", "").isprintable():
        raise malformed("The values of headers must hold no control characters.")
    return text


def _path_and_query(target: bytes, host: str | None) -> tuple[str, str]:
    if len(target) > MAX_TARGET_BYTES:
        raise Refusal(414, "uri_too_long", f"A path and its query take at most {MAX_TARGET_BYTES} bytes.")
    text = target.decode("latin-1")
    absolute = _ABSOLUTE.fullmatch(text)
    if absolute is not None:
        if absolute[1] != host:
            raise malformed("The header Host does not name the target's host.")
        text = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    if not text.startswith("/") or "#" in text or not text.isascii():
        raise malformed("The request's target must be a path.")
    path, _, query = text.partition("?")
    return unquote_to_bytes(path).decode("latin-1") if "%" in path else path, query


def _check(environ: Mapping[str, Any], version: str) -> None:
    if version not in {"1.1", "1.0"}:
        raise malformed("The only versions spoken here are HTTP/1.1 and HTTP/1.0.")
    host = environ.get("HTTP_HOST")
    if host is None:
        if version == "1.1":
            raise malformed("The header Host is missing.")
    elif not _HOST.fullmatch(host):
        raise malformed("The header Host does not name a host.")
    coding = environ.get("HTTP_TRANSFER_ENCODING")
    if coding is not None and (coding.lower() != "chunked" or version != "1.1" or "CONTENT_LENGTH" in environ):
        raise malformed("The only transfer coding accepted is chunked, in HTTP/1.1 and without a length beside it.")
    length = environ.get("CONTENT_LENGTH")
    if length is not None and not length.isdigit():
        raise malformed("The header Content-Length must be a number.")
    if environ.get("HTTP_UPGRADE", "").lower() == "websocket":
        raise malformed("There are no websockets here.")
    if environ.get("HTTP_EXPECT", "100-continue").lower() != "100-continue":
        raise Refusal(417, "expectation_failed", "The only expectation that can be met is 100-continue.")

"""Predictions over bodies and answers that are files: Arrow streams, Parquet, and bodies in CSV.

One version answers for all rows, batch by batch. Nothing is answered before the last batch
is: until then the answer grows in a temporary file, so that an error in any row is an
error of the call.
"""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final, TypeAlias

import numpy as np
import orjson
from flask import Response, request

from service.api.answers import JSON, Ready
from service.artifacts.outputs import MOST_BYTES, natural, refuse_over, size_of, typed
from service.errors import DeadlineExceeded, Malformed, Unacceptable, Unsupported
from service.gateway.caching import cache_status
from service.gateway.context import environ, exchange, principal, services
from service.gateway.encodings import no_room
from service.ids import new_id
from service.predict.bulk import can_read, most_rows
from service.registry.cells import ARROW, CSV, PARQUET
from service.registry.resolution import ResolvedVersion
from service.registry.rows import Array
from service.server import FileBody, waiting
from service.server.deadlines import seconds_left

FORMS: Final = {
    "application/vnd.apache.arrow.stream": ARROW,
    "application/vnd.apache.parquet": PARQUET,
}
"""The form of each media type beside JSON in which an answer can be."""

BODIES: Final = {"text/csv": CSV, **FORMS}
"""The form of each media type beside JSON in which rows can come."""

_CHARSETS: Final = frozenset({"utf-8", "us-ascii"})

AVAILABLE: Final = can_read()
INSTALL: Final = "The operator of this server has to install modelward[bulk] for Arrow and Parquet."

_ANYTHING: Final = frozenset({None, JSON, "*/*"})


def is_plain(environ: Mapping[str, Any]) -> bool:
    """Whether a request is in JSON and takes it, as nearly all are; one look at the headers is all it costs them."""
    return environ.get("CONTENT_TYPE") == JSON and environ.get("HTTP_ACCEPT") in _ANYTHING


def form_of_body() -> str | None:
    """Return the form of the request's body, ``None`` where it is no file.

    :raises Unsupported: it is one, and this server cannot read it.
    """
    form = BODIES.get(request.mimetype)
    if form == CSV:
        if request.mimetype_params.get("charset", "utf-8").lower() not in _CHARSETS:
            raise Unsupported("CSV is read as UTF-8; send it so.", code="unsupported_media_type")
    elif form is not None and not AVAILABLE:
        raise Unsupported(f"{form} cannot be read here. {INSTALL}", code="unsupported_media_type")
    elif form is None and request.mimetype != JSON:
        possible = ", ".join([JSON, *BODIES])
        raise Unsupported(f"Send the body as one of {possible}.", code="unsupported_media_type")
    return form


def media_of_answer() -> str:
    """Return the media type that the caller likes best, JSON where it does not mind.

    :raises Unacceptable: it takes none that there is.
    """
    accepted = request.accept_mimetypes
    possible = [JSON, *(FORMS if AVAILABLE else ())]
    chosen = accepted.best_match(possible) if accepted else JSON
    if chosen is None:
        missing = "" if AVAILABLE or not accepted.best_match(list(FORMS)) else f" {INSTALL}"
        raise Unacceptable(f"Predictions are answered as {', '.join(possible)}.{missing}")
    return chosen


@dataclass(frozen=True, slots=True)
class Call:
    """What one call asks of which version.

    :param outputs: by name; ``None`` is ``predict`` alone.
    :param id: the caller's own, ``None`` to make one.
    """

    version: ResolvedVersion
    outputs: tuple[str, ...] | None
    id: str | None

    def identity(self) -> dict[str, Any]:
        """Return what an answer says about itself beside its outputs."""
        found = self.version
        return {
            "id": self.id or new_id("prd"),
            "model": found.model,
            "version": found.number,
            "alias": found.alias,
        }


Batches: TypeAlias = Generator[tuple[Array, float | None], None, None]
"""Rows as ``Signature.rows`` returns them, and the seconds that are left."""


def batches_of_rows(version: ResolvedVersion, inputs: object) -> Batches:
    """Yield the rows of a JSON body batch by batch; raises as ``Signature.rows`` does."""
    X = version.signature.rows(inputs)
    most = most_rows(version)
    for start in range(0, len(X), most):
        yield X[start : start + most], None


def batches_of_file(version: ResolvedVersion, form: str) -> Batches:
    """Yield the rows of the request's body batch by batch; raises as ``Bulk.batches`` does."""
    waiting.wait()
    with _file_of_body() as file:
        yield from services().bulk.batches(version, file, form)


@contextmanager
def _file_of_body() -> Iterator[IO[bytes]]:
    """Yield the request's body as a file with a descriptor; one that is in memory is written to a file first.

    :raises Malformed: it is empty.
    """
    body = request.environ["wsgi.input"]
    with tempfile.TemporaryFile() as copy:
        if _has_file(body):
            body.flush()
        else:
            shutil.copyfileobj(request.stream, copy)
            copy.flush()
            body = copy
        if not os.fstat(body.fileno()).st_size:
            raise Malformed("The body is empty; a file was expected.", code="empty_body")
        yield body


def _has_file(body: Any) -> bool:
    """Whether a body lies in a file already; another server's may have the descriptor of a socket."""
    try:
        return stat.S_ISREG(os.fstat(body.fileno()).st_mode)
    except (AttributeError, OSError):
        return False


def _until_the_caller_goes(seconds: float | None) -> float | None:
    """Return the seconds that a batch may take.

    :raises DeadlineExceeded: the caller does not wait any more.
    """
    left = seconds_left(environ())
    if left == 0:
        raise DeadlineExceeded("The time of X-Request-Timeout-Ms was over before all rows were predicted.")
    return min((each for each in (seconds, left) if each is not None), default=None)


def answered(call: Call, batches: Batches, media: str) -> Response:
    """Return the answer to all rows, as a body of that media type."""
    gathered = _InJson(call) if media == JSON else _InFile(call, media)
    try:
        with closing(batches), services().predictor.batches(principal(), call.version, call.outputs) as batched:
            for X, seconds in batches:
                gathered.write(batched.predict(X, _until_the_caller_goes(seconds)))
            response = gathered.response()
    except BaseException as error:
        gathered.close()
        if isinstance(error, OSError):
            raise no_room() from error
        raise
    response.headers.extend(
        [("Cache-Status", cache_status("bypass")), ("Modelward-Runtime", ", ".join(batched.runtimes))]
    )
    return response


class _InJson:
    """Gathers an answer in memory, which is why it is bounded as every answer in JSON is."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._parts: dict[str, list[Array]] = {}
        self._size = 0

    def write(self, values: Mapping[str, Array]) -> None:
        self._size += size_of(values.values())
        refuse_over(self._size)
        for name, array in values.items():
            self._parts.setdefault(name, []).append(array)

    def response(self) -> Response:
        outputs = {name: typed(np.concatenate(parts)) for name, parts in self._parts.items()}
        body = orjson.dumps({**self._call.identity(), "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Ready(body, JSON)

    def close(self) -> None:
        """Nothing is held but memory."""


class _InFile:
    """Gathers an answer in a temporary file."""

    def __init__(self, call: Call, media: str) -> None:
        # pyarrow takes a while to load, and most servers are never asked for it.
        if "pyarrow" not in sys.modules:
            waiting.wait()
        from service.api.answer_files import AnswerFile  # noqa: PLC0415

        self._call = call
        self._media = media
        dtypes = {output["name"]: output["dtype"] for output in call.version.signature.outputs}
        self._file = AnswerFile(FORMS[media], dtypes, _metadata(call), _most_bytes())

    def write(self, values: Mapping[str, Array]) -> None:
        self._file.write(values)

    def response(self) -> Response:
        body = FileBody(self._file.finish())
        response = Response(body, mimetype=self._media, direct_passthrough=True)
        response.content_length = body.length
        response.headers.extend(_headers(self._call.version))
        return response

    def close(self) -> None:
        self._file.close()


def _metadata(call: Call) -> dict[str, str]:
    """Return what a schema says of an answer, each name with ``modelward.`` before it."""
    said = {**call.identity(), "request_id": exchange().request_id}
    if call.version.classes is not None:
        said["classes"] = orjson.dumps(natural(list(call.version.classes))).decode()
    return {f"modelward.{name}": str(value) for name, value in said.items() if value is not None}


def _headers(version: ResolvedVersion) -> Iterator[tuple[str, str]]:
    yield "Modelward-Model", version.model
    yield "Modelward-Version", str(version.number)
    if version.alias is not None:
        yield "Modelward-Alias", version.alias


def _most_bytes() -> int:
    """Return how many bytes an answer in a file may have: as many as the caller may send, and no fewer than in JSON."""
    return max(MOST_BYTES, min(principal().plan.max_body_bytes, services().settings.body_bytes))

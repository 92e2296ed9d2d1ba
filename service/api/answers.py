"""Answers out: a view of the domain through the model that documents it."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import orjson
from flask import Response, request
from pydantic import BaseModel, ConfigDict
from werkzeug.datastructures import Headers

from service.gateway.context import Environ

JSON = "application/json"


class Answer(BaseModel):
    """Base of every documented answer; it is filled from a view's attributes."""

    model_config = ConfigDict(from_attributes=True)


A = TypeVar("A", bound=Answer)


class Listing(Answer, Generic[A]):
    """One page of a list, and the cursor that continues it."""

    data: list[A]
    next_cursor: str | None


def show(answer: type[Answer], view: object, status: int = 200, *, location: str | None = None) -> Response:
    """Return ``view`` in the shape of ``answer``.

    A view that carries a ``revision`` gets it as its ``ETag``, and a GET that already has
    that revision gets 304.

    :param location: path of a resource that was just made.
    """
    response = Response(answer.model_validate(view).model_dump_json(), status, mimetype=JSON)
    revision = getattr(view, "revision", None)
    if revision is not None:
        response.set_etag(str(revision))
        if request.method in {"GET", "HEAD"} and request.if_none_match.contains(str(revision)):
            response.status_code = 304
            response.set_data(b"")
    if location is not None:
        response.headers["Location"] = location
    return response


def show_json(value: Any, status: int = 200) -> Response:
    """Return ``value`` as JSON; numpy arrays and ``orjson.Fragment`` are allowed in it."""
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, mimetype=JSON)


class Ready(Response):
    """A 200 whose bytes and headers need no more work; Werkzeug's would take as long as a small model.

    :param body: the whole body.
    :param fields: headers beyond ``Content-Type`` and ``Content-Length``.
    """

    def __init__(self, body: bytes, media: str, *fields: tuple[str, str]) -> None:
        # All that the base's constructor sets.
        self.headers = Headers()
        self.headers._list = [("Content-Type", media), ("Content-Length", str(len(body))), *fields]  # noqa: SLF001
        self._status, self._status_code = "200 OK", 200
        self.direct_passthrough = False
        self._on_close = []
        self.response = [body]

    @property
    def content_length(self) -> int:  # type: ignore[override]
        """Bytes of the body."""
        return sum(map(len, self.response))

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        if environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        start_response(self._status, self.headers._list)  # noqa: SLF001 - nobody needs it once it is sent.
        return self.response  # type: ignore[return-value]


def nothing() -> Response:
    """Return 204."""
    return Response(status=204)

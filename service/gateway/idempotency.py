"""``@idempotent``: a creating request that is sent again gets the first one's response."""

import base64
from collections.abc import Callable, Iterator
from functools import wraps
from hashlib import blake2b
from typing import Any, Final, ParamSpec

import orjson
from flask import Response, make_response, request

from service.gateway.context import principal, services
from service.tenants.idempotency import Replay
from service.tenants.principal import Principal

P = ParamSpec("P")

REPLAYED: Final = ("Idempotent-Replayed", "true")
KEPT_FIELDS: Final = ("Content-Type", "Location", "ETag")

_MARK: Final = "__modelward_idempotent__"
_PIECE: Final = 1 << 20


def idempotent(view: Callable[P, Any]) -> Callable[P, Any]:
    """Honour ``Idempotency-Key``: the same key and request replay the first response.

    Only what succeeded is kept: after an error the same key may be tried again. What the
    view does and the record of its response are committed together.

    :raises Malformed: the key is not one of 1 to 255 visible ASCII characters.
    :raises Invalid: the key was used for another request.
    :raises Conflict: the first request is still under way.
    """

    @wraps(view)
    def once(*args: P.args, **kwargs: P.kwargs) -> Any:
        key = request.environ.get("HTTP_IDEMPOTENCY_KEY")
        if key is None:
            return view(*args, **kwargs)
        records = services().idempotency
        claim = records.claim(principal().tenant_id, key, _fingerprint())
        if isinstance(claim, Replay):
            return _replayed(claim.response)
        with records.execution(claim) as finish:
            response = make_response(view(*args, **kwargs))
            if response.status_code < 300:  # noqa: PLR2004
                finish(_kept(response))
        return response

    setattr(once, _MARK, True)
    return once


def is_idempotent(view: Callable[..., Any]) -> bool:
    """Whether a view honours ``Idempotency-Key``."""
    return bool(getattr(view, _MARK, False))


def _fingerprint() -> bytes:
    """Return a digest of who asks, of what they may do, and of all that was asked."""
    hasher = blake2b(digest_size=32)
    for part in _reach(principal()):
        _add(hasher, part.encode())
    for part in (request.method, request.path, request.query_string.decode("latin-1")):
        _add(hasher, part.encode())
    _add(hasher, (request.mimetype or "").encode())
    if request.mimetype == "multipart/form-data":
        # A client that builds the same form again draws another boundary, so the parts count.
        for name, value in request.form.items(multi=True):
            _add(hasher, name.encode())
            _add(hasher, value.encode())
        for name, file in request.files.items(multi=True):
            _add(hasher, name.encode())
            while piece := file.stream.read(_PIECE):
                hasher.update(piece)
            file.stream.seek(0)
    else:
        _add(hasher, request.environ.get("HTTP_CONTENT_ENCODING", "").encode())
        hasher.update(request.get_data())
    return hasher.digest()


def _reach(caller: Principal) -> Iterator[str]:
    """Yield what tells callers apart: a token that was narrowed must not read what its key was answered."""
    yield caller.subject
    yield ",".join(sorted(caller.scopes))
    for allowed in (caller.models, caller.networks):
        yield "all" if allowed is None else ",".join(["only", *sorted(map(str, allowed))])


def _add(hasher: Any, part: bytes) -> None:
    hasher.update(len(part).to_bytes(8))
    hasher.update(part)


def _kept(response: Response) -> bytes:
    fields = {name: response.headers[name] for name in KEPT_FIELDS if name in response.headers}
    body = base64.b64encode(response.get_data()).decode()
    return orjson.dumps({"status": response.status_code, "fields": fields, "body": body})


def _replayed(kept: bytes) -> Response:
    first = orjson.loads(kept)
    response = Response(base64.b64decode(first["body"]), first["status"], headers=first["fields"])
    response.headers.add(*REPLAYED)
    return response

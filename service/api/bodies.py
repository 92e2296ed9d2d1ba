"""JSON in: strict, bounded, and refused with the place that is wrong.

``strict_json`` reads bytes into a value. What it accepts is what RFC 8259 calls
interoperable: no ``NaN``, no duplicate key, no lone surrogate, at most 32 levels.
``read`` goes on to a pydantic model. Predict bodies are large and skip pydantic, so the
checks of ``strict_json`` are built to cost no Python step per cell.
"""

import json
from collections.abc import Collection, Iterable, Set
from typing import Any, Final, TypeVar

import orjson
from flask import request
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from service.errors import Finding, Invalid, Malformed, Unsupported
from service.gateway.context import Environ, environ

MAXIMUM_DEPTH: Final = 32
MAXIMUM_FINDINGS: Final = 20
_UNFIT: Final = "Some fields do not fit; each is named under errors."
_LOOKED_INTO: Final = 16
_CONTAINERS: Final = frozenset({dict, list})
_CODES: Final = (
    ("depth limit", "nesting_too_deep"),
    ("UTF-8", "invalid_encoding"),
    ("surrogate", "invalid_encoding"),
    ("infinity", "non_finite_number"),
    ("content after document", "trailing_content"),
    ("zero-length", "empty_body"),
)

M = TypeVar("M", bound=BaseModel)


class Body(BaseModel):
    """Base of every request body: unknown fields and look-alike types are refused.

    A default that is empty stands for a field that was left out and may break the field's
    own rule, so the schema does not show it.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON Schema without empty defaults."""
        shown = handler(schema)
        for described in handler.resolve_ref_schema(shown).get("properties", {}).values():
            if not described.get("default", True):
                del described["default"]
        return shown


class Change(Body):
    """Base of every PATCH body: what is left out stays as it is, and no default is ever used."""

    def changes(self) -> dict[str, Any]:
        """Return what was sent, by field."""
        return self.model_dump(exclude_unset=True)


def require_json(sent: Environ) -> None:
    """Refuse a request whose body does not say that it is JSON.

    :param sent: the WSGI environment of the request under way.
    :raises Unsupported: the content type is missing or another.
    """
    if sent.get("CONTENT_TYPE") != "application/json" and request.mimetype != "application/json":
        raise Unsupported("Send the body as application/json.", code="unsupported_media_type")


def json_body() -> Any:
    """Return the JSON value of the request's body.

    :raises Unsupported: the content type is missing or another.
    :raises Malformed: it is not strict JSON.
    """
    sent = environ()
    require_json(sent)
    return strict_json(request_body(sent))


def request_body(sent: Environ) -> bytes:
    """Return the bytes of the request's body.

    :param sent: the WSGI environment of the request under way.
    """
    # A server that says that the input ends by itself needs no look at its length. Where
    # Flask's request was made, an earlier step may have read the body, and it keeps that.
    if "wsgi.input_terminated" not in sent or "werkzeug.request" in sent:
        return request.get_data(cache=False)
    body: bytes = sent["wsgi.input"].read()
    return body


def read(model: type[M], *, optional: bool = False) -> M:
    """Return the request's JSON body as ``model``.

    :param optional: whether no body at all means one of defaults.
    :raises Unsupported: the content type is missing or another.
    :raises Malformed: it is not strict JSON.
    :raises Invalid: it breaks the model; the findings name each place.
    """
    if optional and not request.content_type and not request.get_data(cache=True):
        return model()
    sent = environ()
    require_json(sent)
    return parse(model, request_body(sent))


def parse(model: type[M], data: bytes) -> M:
    """Return ``data`` as ``model``; raises as ``read`` does."""
    refuse_nul(data, strict_json(data))
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise invalid(error) from error


def require_fields(value: Any, *, required: Set[str], optional: Set[str] = frozenset()) -> dict[str, Any]:
    """Return an object that has the required fields and no others than the optional ones.

    :raises Invalid: naming each field that is missing or not known.
    """
    if type(value) is not dict:
        raise unfit("body", f"An object with {' and '.join(sorted(required))} is expected.")
    if value.keys() - optional != required:
        missing = [Finding(name, "The field is required.") for name in sorted(required - value.keys())]
        unknown = [Finding(name, "The field is not known.") for name in sorted(value.keys() - required - optional)]
        raise Invalid(_UNFIT, code="invalid_body", findings=(missing + unknown)[:MAXIMUM_FINDINGS])
    return value


def unfit(at: str, message: str) -> Invalid:
    """Return the refusal of a body for one place in it."""
    return Invalid(_UNFIT, code="invalid_body", findings=[Finding(at, message)])


def invalid(error: ValidationError) -> Invalid:
    """Return pydantic's complaint as findings, without what was sent."""
    complaints = error.errors(include_url=False, include_context=False, include_input=False)
    findings = [Finding(place(item["loc"]), item["msg"]) for item in complaints[:MAXIMUM_FINDINGS]]
    return Invalid(_UNFIT, code="invalid_body", findings=findings)


def place(path: Iterable[object]) -> str:
    """Return a path into a JSON value as ``inputs[3].width``; the whole value is ``body``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".") or "body"


def strict_json(data: bytes) -> Any:
    """Return the JSON value of ``data``.

    :param data: UTF-8 text.
    :raises Malformed: with a code that says which rule it breaks.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _malformed(error, data) from error
    if not _proven_plain(data, value):
        _refuse_depth(value)
        _refuse_duplicates(data)
    return value


def _malformed(error: orjson.JSONDecodeError, data: bytes) -> Malformed:
    reason = error.msg
    code = next((code for part, code in _CODES if part in reason), "malformed_json")
    if code == "malformed_json" and error.doc[error.pos :].lstrip("-").startswith(("NaN", "Infinity")):
        code = "non_finite_number"
    if not data:
        return Malformed("The body is empty; JSON was expected.", code=code)
    return Malformed(f"The body is not JSON: {reason} at character {error.pos}.", code=code)


def _proven_plain(data: bytes, value: object) -> bool:
    """Whether a count of bytes already proves that there is no duplicate key and no deep nesting.

    Each key was written with a colon and each container with a bracket. A single key has no
    duplicate, and few containers cannot nest deep. Where there are no more of them in the
    text than keys and containers were found within three levels of the value, none is a
    duplicate, and none lies deeper. Brackets and colons inside strings only make the count
    larger, which leads to the exact look.
    """
    colons, brackets = data.count(b":"), data.count(b"[") + data.count(b"{")
    if colons <= 1 and brackets <= MAXIMUM_DEPTH:
        return True
    return (brackets, colons) == _found(value)


def _found(value: object, depth: int = 0) -> tuple[int, int]:
    """Return the containers and keys found in ``value``, with no step per cell of a long list."""
    keys = 0
    items: Collection[Any]
    if type(value) is dict:
        keys, items = len(value), value.values()
    elif type(value) is list:
        items = value
    else:
        return 0, 0
    containers = 1
    if len(items) > _LOOKED_INTO:
        kinds = set(map(type, items))
        if kinds == {dict}:
            keys += sum(map(len, items))
        return containers + (len(items) if kinds in ({dict}, {list}) else 0), keys
    if depth < MAXIMUM_DEPTH:
        for item in items:
            if type(item) in _CONTAINERS:
                below = _found(item, depth + 1)
                containers, keys = containers + below[0], keys + below[1]
    return containers, keys


def _refuse_depth(value: object) -> None:
    level: Iterable[Any] = [value]
    for _ in range(MAXIMUM_DEPTH + 1):
        containers = [item for item in level if type(item) in _CONTAINERS]
        if not containers:
            return
        level = [child for item in containers for child in (item.values() if type(item) is dict else item)]
    raise Malformed(f"The body nests deeper than {MAXIMUM_DEPTH} levels.", code="nesting_too_deep")


def _refuse_duplicates(data: bytes) -> None:
    json.loads(data, object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise Malformed("A key stands twice in one object of the body.", code="duplicate_key")
    return unique


def refuse_nul(data: bytes, value: object) -> None:
    """Refuse NUL characters, which PostgreSQL keeps in no text.

    :raises Invalid: naming where they stand.
    """
    if b"\\u0000" not in data:
        return
    findings = [Finding(where, "Text must not hold the NUL character.") for where in _nul_places(value, ())]
    if findings:
        findings = findings[:MAXIMUM_FINDINGS]
        raise Invalid("Text must not hold the NUL character.", code="nul_character", findings=findings)


def _nul_places(value: object, path: tuple[object, ...]) -> Iterable[str]:
    if isinstance(value, str) and "\0" in value:
        yield place(path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nul_places(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            if "\0" in key:
                yield place((*path, key.replace("\0", "\\u0000")))
            yield from _nul_places(item, (*path, key))

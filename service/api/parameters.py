"""What stands beside the body: segments of the path, the query string, ``If-Match``."""

import re
from collections import Counter
from datetime import date
from typing import Annotated, Any, Final, TypeVar

from flask import request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from service.api.bodies import invalid
from service.api.fields import DAY, LARGEST_INTEGER
from service.errors import Finding, Invalid, Malformed, NotFound
from service.ids import is_name
from service.paging import CURSOR_FORMS, CURSOR_SEPARATOR
from service.registry.visibility import not_found
from service.tenants.fields import ANY_REVISION

Q = TypeVar("Q", bound=BaseModel)

NEVER_A_REVISION: Final = -1

_MISSING: Final = {
    "key": "There is no such API key.",
    "tenant": "There is no such tenant.",
    "plan": "There is no such plan.",
}
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}")
_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')
_REVISION: Final = re.compile(r"[1-9][0-9]{0,17}")


class Query(BaseModel):
    """Base of every query string: unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")


def _integer(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"-?(0|[1-9][0-9]{0,18})", value):
        raise ValueError("Write a whole number.")
    return value


def _boolean(value: object) -> object:
    if isinstance(value, str) and value not in {"true", "false"}:
        raise ValueError("Write true or false.")
    return value


Written = BeforeValidator(_integer)
"""Of an integer, stands last: a number is written in digits alone."""

Flag = Annotated[bool, BeforeValidator(_boolean)]


def _day(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(DAY, value):
        raise ValueError("Write a day as 2026-01-31.")
    return value


Day = Annotated[
    date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date", "pattern": DAY}, mode="validation")
]
"""A day in UTC."""


def cursor_over(*types: type) -> Any:
    """Return what a cursor looks like in a list that is ordered by columns of those types."""
    return Field(pattern=f"^{CURSOR_SEPARATOR.join(CURSOR_FORMS[each] for each in types)}$")


class Paging(Query):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=200), Written] = 50
    cursor: Annotated[str | None, cursor_over(str)] = None


class NumberPaging(Paging):
    """Which part of a list that is ordered by a number."""

    cursor: Annotated[str | None, cursor_over(int)] = None


def read_query(model: type[Q]) -> Q:
    """Return the query string as ``model``.

    :raises Invalid: a parameter is unknown, stands twice, or breaks the model.
    """
    pairs = list(request.args.items(multi=True))
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if twice:
        findings = [Finding(name, "The parameter stands twice.") for name in twice]
        raise Invalid("A query parameter stands twice.", code="invalid_query", findings=findings)
    try:
        return model.model_validate(dict(pairs))
    except ValidationError as error:
        findings = list(invalid(error).findings)
        raise Invalid("Some query parameters do not fit.", code="invalid_query", findings=findings) from error


def unasked(model: type[Q]) -> Q | None:
    """Return what ``read_query`` makes of an empty query string, ``None`` where it refuses that."""
    return None if any(field.is_required() for field in model.model_fields.values()) else model()


class NoQuery(Query):
    """No parameter at all."""


def segments(values: dict[str, Any]) -> dict[str, Any]:
    """Return the segments of the path; a version becomes an integer.

    :raises NotFound: a segment cannot be what it stands for, so nothing of that name exists.
    """
    for kind, value in values.items():
        if kind == "version":
            if not _NUMBER.fullmatch(value) or int(value) > LARGEST_INTEGER:
                raise _missing(values)
            values[kind] = int(value)
        elif not is_name(value):
            raise _missing(values)
    return values


def _missing(values: dict[str, Any]) -> NotFound:
    # What the features say of a name that could be there and is not; a test holds the two together.
    return not_found() if "model" in values else NotFound(_MISSING[next(iter(values))])


def expected_revision() -> int | None:
    """Return the revision that ``If-Match`` asks for, ``None`` without that header.

    A star is ``ANY_REVISION``: the resource must exist. A weak tag or one that this service
    never gave out matches no revision.

    :raises Malformed: the header is no entity tag.
    """
    header = request.headers.get("If-Match")
    if header is None:
        return None
    if header.strip() == "*":
        return ANY_REVISION
    tag = _ENTITY_TAG.fullmatch(header.strip())
    if tag is None:
        raise Malformed('Write If-Match as one tag, such as "3", or as *.', code="invalid_if_match")
    weak, text = tag.groups()
    return int(text) if not weak and _REVISION.fullmatch(text) else NEVER_A_REVISION

"""Types of fields that several calls share. Each says in its JSON Schema all that is checked.

A client that generates requests from the schema must not be refused for a rule that the
schema keeps to itself, so patterns here are exact even where they become long.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema

from service.ids import NAME
from service.tenants.fields import LONGEST_TITLE, TITLE
from service.tenants.scopes import ROLES, Scope

LARGEST_INTEGER: Final = (1 << 63) - 1
MAXIMUM_TAGS: Final = 64

_DAY: Final = (
    r"(20[0-9]{2}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    r"|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    r"|02-(0[1-9]|1[0-9]|2[0-8]))"
    r"|20([02468][048]|[13579][26])-02-29)"
)
DAY: Final = f"^{_DAY}$"
"""A day of this century that exists."""

MOMENT: Final = rf"^{_DAY}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,6}})?Z$"
"""RFC 3339 in UTC."""

_OCTET: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_GROUP: Final = r"[0-9a-fA-F]{1,4}"
_IPV4: Final = rf"({_OCTET}\.){{3}}{_OCTET}(/(3[0-2]|[12]?[0-9]))?"
_IPV6: Final = "|".join(
    [
        rf"({_GROUP}:){{7}}{_GROUP}",
        *(rf"({_GROUP}:){{{before}}}(:{_GROUP}){{1,{7 - before}}}" for before in range(1, 7)),
        rf"({_GROUP}:){{1,7}}:",
        rf":((:{_GROUP}){{1,7}}|:)",
    ]
)
NETWORK: Final = rf"^({_IPV4}|({_IPV6})(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$"
"""An IPv4 or IPv6 address, or a network in CIDR notation."""


def _moment(value: object) -> datetime:
    if not isinstance(value, str) or not re.fullmatch(MOMENT, value):
        raise ValueError("Write a moment as 2026-01-31T12:00:00Z.")
    return datetime.fromisoformat(value)


def _whole(value: object) -> object:
    # JSON has one kind of number: 3.0 is the integer 3 to a schema, and to many writers of JSON.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_distinct(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("Name each only once.")
    return values


Whole = BeforeValidator(_whole)
"""Of an integer in a body, stands last: it may be written with a fraction of zero."""

Name = Annotated[str, Field(pattern=NAME, description="Lower-case letters, digits, `.`, `_` and `-`.")]
Line = Annotated[str, Field(min_length=1, max_length=LONGEST_TITLE, pattern=TITLE)]
Text = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]*$")]
Reason = Annotated[str, Field(max_length=512, pattern=r"^[^\x00]*$")]

VersionNumber = Annotated[int, Field(ge=1, le=LARGEST_INTEGER), Whole]
Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": MOMENT}, mode="validation"),
]
Network = Annotated[str, Field(pattern=NETWORK)]


def _only_such_keys(schema: dict[str, Any]) -> None:
    # Pydantic writes the rule for keys as patternProperties, which lets other keys through.
    schema["additionalProperties"] = False


_TagKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$")]
_TagValue = Annotated[str, Field(max_length=256, pattern=r"^[^\x00]*$")]
Tags = Annotated[dict[_TagKey, _TagValue], Field(max_length=MAXIMUM_TAGS, json_schema_extra=_only_such_keys)]
Metrics = Annotated[dict[_TagKey, float], Field(max_length=MAXIMUM_TAGS, json_schema_extra=_only_such_keys)]
Scopes = Annotated[
    list[Scope],
    AfterValidator(_is_distinct),
    Field(min_length=1, max_length=len(Scope), json_schema_extra={"uniqueItems": True}),
]
Role = Annotated[str, Field(json_schema_extra={"enum": sorted(ROLES)})]

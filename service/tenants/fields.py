"""The fields of what a caller sends in: each parsed by its own rule, all that are wrong named at once."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from service.errors import Finding, Invalid, PreconditionFailed
from service.ids import is_name

LONGEST_TITLE: Final = 100
_CONTROL: Final = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
TITLE: Final = rf"^[^\x20{_CONTROL}]([^{_CONTROL}]*[^\x20{_CONTROL}])?$"
"""A line that people read, without what could break it or turn its direction around."""

LARGEST_COUNT: Final = 1 << 60

ANY_REVISION: Final = 0
"""Expected where any revision will do, but one there must be; revisions begin with 1."""

Parser = Callable[[Any], Any]


def parse(values: Mapping[str, Any], parsers: Mapping[str, Parser]) -> dict[str, Any]:
    """Return each value as its parser leaves it.

    :param parsers: by field; one refuses a value with ``ValueError`` and a sentence.
    :raises Invalid: with a finding for each field that is unknown or wrong.
    """
    findings, parsed = [], {}
    for field, value in values.items():
        try:
            if field not in parsers:
                raise ValueError("There is no such field.")
            parsed[field] = parsers[field](value)
        except ValueError as error:
            findings.append(Finding(field, str(error)))
    if findings:
        raise Invalid("Some fields are not valid; the errors name each.", findings=findings)
    return parsed


def require_revision(expected: int | None, actual: int) -> None:
    """Refuse a change to something that changed since the caller read it.

    :param expected: the revision that the caller read; ``None`` asks for no check, and
        ``ANY_REVISION`` only that it exists.
    :param actual: the revision that stands there now, 0 where there is nothing.
    :raises PreconditionFailed: another revision stands there now.
    """
    stands = actual > 0 if expected == ANY_REVISION else actual == expected
    if expected is not None and not stands:
        raise PreconditionFailed("It changed since you read it; read it again.")


def name(value: str) -> str:
    """Return a name that can stand in a path."""
    if not is_name(value):
        raise ValueError(
            "A name has 1 to 64 of a-z, 0-9, dot, dash and underscore, and begins and ends with a-z or 0-9."
        )
    return value


def title(value: str) -> str:
    """Return a name that people read."""
    if len(value) > LONGEST_TITLE or not re.fullmatch(TITLE, value):
        raise ValueError(f"It has 1 to {LONGEST_TITLE} characters, no control characters, and no space at its ends.")
    return value


def count(value: int) -> int:
    """Return a number of things of which there must be at least one."""
    if not 1 <= value <= LARGEST_COUNT:
        raise ValueError("It is 1 or more.")
    return value


def count_or_none(value: int | None) -> int | None:
    """Return such a number, or ``None`` for no limit."""
    return None if value is None else count(value)

"""Lists by keyset, which cost the same on the first page and on the last."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import orm

from service.errors import Malformed

CURSOR_SEPARATOR: Final = "~"
CURSOR_FORMS: Final[dict[type, str]] = {str: r"[A-Za-z0-9._-]{1,128}", int: r"[0-9]{1,18}"}
"""How a value of a column that orders a list stands in a cursor, by its type."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, and the cursor that continues it."""

    data: list[T]
    next_cursor: str | None


def paginate(
    session: orm.Session,
    statement: sa.Select[T],
    order: Sequence[orm.InstrumentedAttribute[Any]],
    *,
    limit: int,
    cursor: str | None,
    descending: bool = False,
) -> Page[T]:
    """Return one page by keyset, which costs the same on the first page and on the last.

    :param order: columns whose values together are unique; ``cursor`` holds the last row's.
    :raises Malformed: the cursor is not one that this list gave out.
    """
    if cursor is not None:
        seen = _decode_cursor(cursor, order)
        here = sa.tuple_(*order)
        statement = statement.where(here < seen if descending else here > seen)
    statement = statement.order_by(*(column.desc() if descending else column for column in order))
    rows = list(session.scalars(statement.limit(limit + 1)))
    more = len(rows) > limit
    rows = rows[:limit]
    following = _encode_cursor([getattr(rows[-1], column.key) for column in order]) if more else None
    return Page(rows, following)


def _encode_cursor(values: Sequence[object]) -> str:
    return CURSOR_SEPARATOR.join(map(str, values))


def _decode_cursor(cursor: str, order: Sequence[orm.InstrumentedAttribute[Any]]) -> sa.Tuple:
    # Names, ids and numbers go through unchanged, so that the form of a cursor can be
    # stated as a pattern. One that was made up continues after a place that may be empty.
    values = cursor.split(CURSOR_SEPARATOR)
    forms = [CURSOR_FORMS[column.type.python_type] for column in order]
    if len(values) != len(forms) or not all(map(re.fullmatch, forms, values)):
        raise Malformed("The cursor is not one that this list gave out.", code="invalid_cursor")
    typed = zip(values, order, strict=True)
    return sa.tuple_(*(sa.literal(column.type.python_type(value), column.type) for value, column in typed))

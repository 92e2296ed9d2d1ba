"""Lists of the domain come by the page; a command prints all of one."""

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from service.paging import Page

T = TypeVar("T")

PAGE_SIZE: Final = 200


def every(page_at: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """Yield each row of a list.

    :param page_at: returns the page at a cursor; ``None`` is the first.
    """
    cursor = None
    while True:
        page = page_at(cursor)
        yield from page.data
        cursor = page.next_cursor
        if cursor is None:
            return

"""Opaque ids, typed by prefix and ordered by the time of their making, and the names that callers choose."""

import os
import re
import time
from collections import deque
from datetime import datetime
from itertools import product
from typing import Final

NAME = r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"

_ALPHABET = b"0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = tuple(bytes(pair).decode() for pair in product(_ALPHABET, repeat=2))
"""Every two characters, by the ten bits that they stand for."""

_LETTERS = bytes(_ALPHABET[byte % 32] for byte in range(256))
"""For each byte the character of its five low bits: every prediction has an id, so they are made without a loop."""

_is_name = re.compile(NAME).fullmatch


def new_id(prefix: str) -> str:
    """Return ``<prefix>_`` and 26 characters: 48 bits of milliseconds, 80 random bits.

    The layout is that of a ULID in lower-case Crockford base 32, so that an index
    over ids grows at one end and a list by id is a list by time.
    """
    return f"{prefix}_{random_name()}"


def random_name() -> str:
    """Return the 26 characters alone."""
    return _time_part(time.time_ns() // 1_000_000) + random_bytes().translate(_LETTERS).decode()


def least_id(prefix: str, moment: datetime) -> str:
    """Return a text that no id made before a moment is greater than, and none made from then on is less than."""
    milliseconds = min(max(int(moment.timestamp() * 1000), 0), _LAST_MILLISECOND)
    return f"{prefix}_{_time_part(milliseconds)}"


def random_bytes() -> bytes:
    """Return 16 random bytes for an id, no key: the kernel is asked for many at a time."""
    try:
        return _stock.popleft()
    except IndexError:
        drawn = os.urandom(16 * _DRAWN_AT_ONCE)
        _stock.extend(drawn[start : start + 16] for start in range(16, len(drawn), 16))
        return drawn[:16]


_LAST_MILLISECOND: Final = (1 << 48) - 1
_DRAWN_AT_ONCE: Final = 64
_stock: Final[deque[bytes]] = deque()
# A child draws for itself: its ids must not be those of its parent.
os.register_at_fork(after_in_child=_stock.clear)


def _time_part(milliseconds: int) -> str:
    return (
        _PAIRS[milliseconds >> 40]
        + _PAIRS[milliseconds >> 30 & 1023]
        + _PAIRS[milliseconds >> 20 & 1023]
        + _PAIRS[milliseconds >> 10 & 1023]
        + _PAIRS[milliseconds & 1023]
    )


def is_name(text: str) -> bool:
    """Whether ``text`` may name a tenant, a plan, a model or an alias."""
    return _is_name(text) is not None

"""Everything that an estimator holds, with the way to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Held:
    """A value, the way to it as one writes it in Python, and the object whose attribute leads there."""

    at: str
    value: Any
    owner: Any
    attribute: str


def contents(estimator: object) -> list[Held]:
    """Return the estimator and everything reachable from it, each object once.

    Descends into the attributes of scikit-learn's objects, dictionaries, sequences and
    arrays of objects; walks without recursion.
    """
    found = []
    seen: set[int] = set()
    pending = [Held(type(estimator).__name__, estimator, None, "")]
    while pending:
        held = pending.pop()
        found.append(held)
        if not isinstance(held.value, str | int | float | bytes | None) and id(held.value) not in seen:
            seen.add(id(held.value))
            pending.extend(_below(held))
    return found


def _below(held: Held) -> Iterator[Held]:
    value = held.value
    if isinstance(value, dict):
        for key, item in value.items():
            yield Held(f"{held.at}[{str(key)[:50]!r}]", item, held.owner, held.attribute)
    elif isinstance(value, list | tuple | set):
        for position, item in enumerate(value):
            yield Held(f"{held.at}[{position}]", item, held.owner, held.attribute)
    elif isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            for position, item in enumerate(value.ravel().tolist()):
                yield Held(f"{held.at}[{position}]", item, held.owner, held.attribute)
    elif type(value).__module__.startswith("sklearn.") and hasattr(value, "__dict__"):
        for attribute, item in vars(value).items():
            yield Held(f"{held.at}.{attribute}", item, value, attribute)

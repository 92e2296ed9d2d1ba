"""What an estimator is made of: the objects that it reaches, and the bytes of its arrays."""

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

import numpy as np

_LEAVES: Final = (
    str,
    bytes,
    int,
    float,
    bool,
    type(None),
    type,
    np.generic,
    np.dtype,
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    ModuleType,
)


def reachable(estimator: object) -> Iterator[object]:
    """Yield every object that the estimator reaches through attributes and containers, each once."""
    seen: set[int] = set()
    # The objects themselves are kept until the end, so that no id is used twice.
    alive: list[object] = []
    pending: list[object] = [estimator]
    while pending:
        each = pending.pop()
        if isinstance(each, _LEAVES) or id(each) in seen:
            continue
        seen.add(id(each))
        alive.append(each)
        yield each
        pending.extend(_parts(each))


def _parts(each: Any) -> Iterator[object]:
    if isinstance(each, np.ndarray):
        if each.base is not None:
            yield each.base
        if each.dtype.hasobject and each.dtype.names is None:
            yield from each.ravel()
    elif isinstance(each, Mapping):
        yield from each.keys()
        yield from each.values()
    elif isinstance(each, list | tuple | set | frozenset):
        yield from each
    elif isinstance(each, partial):
        yield each.args
        yield each.keywords
    elif hasattr(each, "__dict__"):
        yield from vars(each).values()
    else:
        yield from _state_of_extension(each)


def _state_of_extension(each: Any) -> Iterator[object]:
    """Yield what a compiled object, such as a tree, says about its own state; it keeps its arrays in C."""
    try:
        yield from each.__reduce_ex__(2)[1:]
    except (TypeError, AttributeError, NotImplementedError):
        return


def footprint(estimator: object) -> int:
    """Return the bytes of every array that the estimator reaches, each counted once, and of its other objects."""
    total = 0
    for each in reachable(estimator):
        if isinstance(each, np.ndarray):
            # A view costs what its base costs, and the base is counted on its own.
            total += 0 if isinstance(each.base, np.ndarray) else each.nbytes
        else:
            total += sys.getsizeof(each)
    return total

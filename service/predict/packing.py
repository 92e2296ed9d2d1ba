"""Forms as plain data and back: a description in JSON, and the bytes of arrays and graphs.

A form is described by its kind and by the parts that it is made of. Nothing is pickled.
What comes back is believed only as far as it fits: a kind that there is, parts of the
types that its constructor takes and that agree with each other, and as many bytes as
were described.
"""

import importlib
import inspect
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import numpy as np

from service.confinement.wire import Buffer
from service.predict.arrays import decode, encode
from service.runtimes.forms import Form, UnfitError

MOST_NESTED: Final = 16

UNREADABLE: Final = "artifact_unreadable"
"""The code by which a child says that a version's own file makes no estimator."""

_MODULES: Final = {
    "Averages": "leaves",
    "Chain": "chain",
    "Ensemble": "ensembles",
    "Graph": "graphs",
    "Impute": "chain",
    "Isolation": "isolation",
    "Kernel": "kernels",
    "Leaves": "leaves",
    "Linear": "linear",
    "Means": "leaves",
    "Project": "chain",
    "Standardise": "chain",
    "Stretch": "chain",
    "TreeliteLeaves": "treelite",
}
"""Where each kind stands, imported when it is first met: a worker brings no library that none of its models needs."""


def pack(forms: Mapping[str, Form]) -> tuple[dict[str, Any], list[Buffer]]:
    """Return forms, each with its name, as a description and its bytes in parts.

    :raises TypeError: a part is nothing plain.
    """
    body: list[Buffer] = []
    return {name: _described(form, body) for name, form in forms.items()}, body


def unpack(described: Any, body: Buffer) -> dict[str, Form]:
    """Return the forms that ``pack`` was given; nothing of ``body`` is kept.

    :raises ValueError: the bytes do not fit the description, or it is none of forms.
    """
    rest = _Bytes(memoryview(body))
    try:
        forms = {str(name): _made(each, rest, MOST_NESTED) for name, each in described.items()}
    except UnfitError as error:
        raise ValueError(f"what was sent makes no form: {error}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("what was sent describes no forms") from error
    if rest.left or not all(isinstance(form, Form) for form in forms.values()):
        raise ValueError("what was sent is more or less than forms")
    return forms


class _Bytes:
    """Bytes that are taken from the front."""

    def __init__(self, body: memoryview) -> None:
        self._body = body

    @property
    def left(self) -> int:
        """How many were not taken yet."""
        return len(self._body)

    def take(self, count: int) -> memoryview:
        if not 0 <= count <= len(self._body):
            raise ValueError("there are fewer bytes than were described")
        taken, self._body = self._body[:count], self._body[count:]
        return taken


def _described(value: Any, body: list[Buffer]) -> Any:
    """Return in JSON what a part is, and append its bytes."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        # JSON has no infinity, and these are exact.
        return {"float": value.hex()}
    if isinstance(value, tuple):
        return [_described(each, body) for each in value]
    if isinstance(value, bytes):
        body.append(value)
        return {"bytes": len(value)}
    if isinstance(value, np.ndarray):
        # A product of matrices is summed up in another order where they lie otherwise.
        by_columns = value.flags.f_contiguous and not value.flags.c_contiguous
        described, parts = encode(value.T if by_columns else value)
        body.extend(parts)
        return {"array": described, "bytes": sum(map(len, parts)), "by_columns": by_columns}
    kind = type(value)
    if _MODULES.get(kind.__name__) is None:
        raise TypeError(f"a {kind.__name__} is nothing plain")
    return {"kind": kind.__name__, "parts": {name: _described(getattr(value, name), body) for name in _parts_of(kind)}}


def _made(described: Any, rest: _Bytes, nested: int) -> Any:
    if nested == 0:
        raise ValueError("what was sent is nested too deeply")
    if isinstance(described, list):
        return tuple(_made(each, rest, nested - 1) for each in described)
    if not isinstance(described, dict):
        return described
    if "float" in described:
        return float.fromhex(described["float"])
    if "kind" in described:
        return _form(described["kind"], described["parts"], rest, nested)
    taken = rest.take(described["bytes"])
    if "array" not in described:
        return bytes(taken)
    array = np.array(decode(described["array"], taken))
    return array.T if described["by_columns"] else array


def _form(name: str, described: Mapping[str, Any], rest: _Bytes, nested: int) -> Any:
    kind = getattr(importlib.import_module(f"service.runtimes.{_MODULES[name]}"), name)
    parts = {part: _made(each, rest, nested - 1) for part, each in described.items()}
    expected = _parts_of(kind)
    if parts.keys() != expected.keys() or not all(_fits(parts[part], expected[part]) for part in expected):
        raise ValueError(f"what was sent has not the parts of a {name}")
    return kind(**parts)


def _parts_of(kind: type) -> dict[str, Any]:
    """Return the names and types of the parts that a form of a kind is made of."""
    return {name: parameter.annotation for name, parameter in inspect.signature(kind).parameters.items()}


def _fits(value: Any, kind: Any) -> bool:
    """Whether a part is of a type that a constructor names."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return any(_fits(value, each) for each in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    if kind in {bool, int, float, str, bytes, NoneType}:
        return type(value) is kind
    return isinstance(value, origin or kind)

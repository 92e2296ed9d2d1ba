"""Arrays as bytes and back, exactly: rows on their way to a child, and what its estimator gave.

Numbers, booleans and fixed-width text are sent as they lie in memory. Columns of several
types and texts of any length are arrays of objects; of these, floats are sent as they lie
in memory too, because JSON has no NaN, and the rest as JSON. Nothing is pickled, and what
comes back is believed only as far as it fits its description.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import orjson

from service.artifacts.outputs import is_sparse, natural

Array: TypeAlias = np.ndarray[Any, Any]
Description: TypeAlias = dict[str, Any]
"""JSON that says how to read the bytes."""

_PLAIN: Final = re.compile(r"[<>|=]?[fiub][0-9]{1,2}|[<>|=]?[US][0-9]{1,9}")
_PLAIN_KINDS: Final = "fiubUS"
_LAST_CHARACTER: Final = 0x10FFFF
_FIRST_HALF: Final = 0xD800
_LAST_HALF: Final = 0xDFFF
_FLOAT: Final = b"f"
_OTHER: Final = b"o"


def encode(values: Any) -> tuple[Description, list[memoryview | bytes]]:
    """Return how to read an array, or a list of them, and its bytes in parts.

    :param values: what an estimator takes or gives; a sparse matrix becomes a dense one.
    :raises TypeError: an object is neither text nor number nor boolean nor ``None``.
    """
    if isinstance(values, list | tuple):
        described = [encode(each) for each in values]
        return {"list": [each for each, _ in described]}, [part for _, parts in described for part in parts]
    array = np.asarray(values.toarray() if is_sparse(values) else values)
    if array.dtype.kind in _PLAIN_KINDS:
        return {"dtype": array.dtype.str, "shape": array.shape}, [_raw(array)]
    return _encode_objects(array)


def decode(description: Description, body: bytes | bytearray | memoryview) -> Any:
    """Return what ``encode`` was given, dense and in C order.

    :raises ValueError: the bytes do not fit the description, or it is none.
    """
    try:
        values, end = _decode(description, memoryview(body), 0)
    except (KeyError, IndexError, TypeError, OverflowError, orjson.JSONDecodeError) as error:
        raise ValueError("what was sent is no array") from error
    if end != len(body):
        raise ValueError("there are more bytes than were described")
    return values


def _raw(array: Array) -> memoryview | bytes:
    """Return an array's bytes in C order, copied only where they do not lie so."""
    contiguous = np.ascontiguousarray(array)
    return contiguous.reshape(-1).view(np.uint8).data if contiguous.nbytes else b""


def _encode_objects(array: Array) -> tuple[Description, list[memoryview | bytes]]:
    cells = natural(array.ravel().tolist())
    kinds = b"".join([_FLOAT if type(cell) is float else _OTHER for cell in cells])
    floats = np.array([cell for cell in cells if type(cell) is float], dtype=np.float64)
    others = orjson.dumps([cell for cell in cells if type(cell) is not float])
    sizes = [len(kinds), floats.nbytes, len(others)]
    return {"objects": sizes, "shape": array.shape}, [kinds, _raw(floats), others]


def _decode(description: Description, body: memoryview, start: int) -> tuple[Any, int]:
    if "list" in description:
        values = []
        for each in description["list"]:
            value, start = _decode(each, body, start)
            values.append(value)
        return values, start
    shape = _shape(description["shape"])
    if "objects" in description:
        return _decode_objects(description["objects"], shape, body, start)
    name = description["dtype"]
    if not _PLAIN.fullmatch(name):
        raise ValueError("the elements of what was sent are of no type that an answer has")
    dtype = np.dtype(name)
    end = start + math.prod(shape) * dtype.itemsize
    return _array(body, start, end, dtype).reshape(shape), end


def _decode_objects(sizes: Sequence[int], shape: tuple[int, ...], body: memoryview, start: int) -> tuple[Array, int]:
    kinds_end = start + sizes[0]
    floats_end = kinds_end + sizes[1]
    end = floats_end + sizes[2]
    floats = iter(_array(body, kinds_end, floats_end, np.dtype(np.float64)).tolist())
    others = iter(orjson.loads(_part(body, floats_end, end)))
    kinds = bytes(_part(body, start, kinds_end))
    cells = np.empty(len(kinds), dtype=object)
    cells[:] = [next(floats if kind == _FLOAT[0] else others, None) for kind in kinds]
    return cells.reshape(shape), end


def _array(body: memoryview, start: int, end: int, dtype: np.dtype[Any]) -> Array:
    part = _part(body, start, end)
    if not part:
        return np.empty(0, dtype)
    raw: Array = np.frombuffer(part, np.uint8)
    if dtype.kind == "b":
        return raw.astype(np.bool_)
    array: Array = raw.view(dtype)
    if dtype.kind == "U":
        _refuse_unwritable(raw.view(np.uint32))
    return array if array.flags.aligned else array.copy()


def _refuse_unwritable(codes: Array) -> None:
    """Refuse what is no character, and the halves of one, which no encoding writes."""
    if ((codes > _LAST_CHARACTER) | ((codes >= _FIRST_HALF) & (codes <= _LAST_HALF))).any():
        raise ValueError("what was sent is no text")


def _part(body: memoryview, start: int, end: int) -> memoryview:
    if not start <= end <= len(body):
        raise ValueError("there are fewer bytes than were described")
    return body[start:end]


def _shape(shape: Any) -> tuple[int, ...]:
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError("what was sent has no shape")
    return tuple(shape)

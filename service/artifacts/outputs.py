"""From what estimators return to what JSON can say, and no more of it than one answer takes."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import orjson

from service.artifacts.signature_rules import MAXIMUM_NAME
from service.errors import TooLarge

MOST_BYTES: Final = 64 << 20
"""Of one answer as JSON. A few bytes of a row may ask for a thousand of a label."""

_NUMBER_BYTES: Final = 25
"""The longest float64, and a comma."""

_AROUND_LABEL: Final = 3
"""Two quotation marks and a comma."""

_CHARACTER_BYTES: Final = 6
"""The longest escape."""

_WIDTH: Final = np.dtype("U1").itemsize

_NATIVE_KINDS: Final = "fiub"
"""Array kinds that the JSON writer renders by itself, floats in their shortest exact form."""

_FLOAT_WIDTHS: Final = frozenset({4, 8})
"""In bytes; floats of another width are written as float64."""


def refuse_long_labels(rows: int, labels: Sequence[Any] | None) -> None:
    """Refuse, before a model runs, more rows than there is room for if each is given the longest label.

    :param labels: those that the model was fitted to.
    :raises TooLarge: ``answer_too_large``.
    """
    if labels is not None and rows * (MAXIMUM_NAME + _AROUND_LABEL) > MOST_BYTES:
        longest = max((len(label) + _AROUND_LABEL for label in labels if isinstance(label, str)), default=0)
        refuse_over(rows * longest)


def refuse_large(outputs: Iterable[Any]) -> None:
    """Refuse outputs that would be too large together; each number counts as the longest that there is.

    :raises TooLarge: ``answer_too_large``.
    """
    refuse_over(size_of(outputs))


def size_of(outputs: Iterable[Any]) -> int:
    """Return the bytes that outputs take at most as JSON."""
    return sum(map(_size, outputs))


def refuse_over(size: int, most: int = MOST_BYTES) -> None:
    """Refuse an answer of more bytes than there may be.

    :raises TooLarge: ``answer_too_large``.
    """
    if size > most:
        raise TooLarge(f"The answer could be larger than {most >> 20} MB; send fewer rows.", code="answer_too_large")


def _size(values: Any) -> int:
    if type(values) is np.ndarray and values.dtype.kind in _NATIVE_KINDS:
        return values.size * _NUMBER_BYTES
    if isinstance(values, list | tuple):
        return sum(map(_size, values))
    if is_sparse(values):
        return _NUMBER_BYTES * math.prod(map(int, values.shape))
    array = np.asarray(values)
    if array.dtype.kind in _NATIVE_KINDS:
        return array.size * _NUMBER_BYTES
    if array.dtype.kind == "U":
        most = array.size * (array.dtype.itemsize // _WIDTH * _CHARACTER_BYTES + _AROUND_LABEL)
        if most <= MOST_BYTES:
            return most
    return _size_of_labels(array.ravel().tolist())


def _size_of_labels(labels: list[Any]) -> int:
    """Return the bytes of labels, each different one written once."""
    texts = Counter(label for label in labels if isinstance(label, str))
    size = sum((len(orjson.dumps(text)) + 1) * count for text, count in texts.items())
    return size + (len(labels) - texts.total()) * _NUMBER_BYTES


def rendered(values: Any) -> bytes:
    """Return an output as JSON.

    :raises TypeError: it holds what JSON cannot say.
    """
    return orjson.dumps(typed(values), option=orjson.OPT_SERIALIZE_NUMPY)


def typed(values: Any) -> Any:
    """Return an output as arrays and lists that the JSON writer renders exactly.

    :param values: an array, a sparse matrix, a data frame, or a list of arrays, which is
        what ``predict_proba`` of a multi-output estimator returns.
    :return: a C-ordered array of numbers or booleans, a list of labels, or a list of those.
    """
    if type(values) is np.ndarray and values.dtype.kind in _NATIVE_KINDS:
        return _numbers(values)
    if isinstance(values, list | tuple):
        return [typed(each) for each in values]
    if is_sparse(values):
        return _numbers(values.toarray())
    array = np.asarray(values)
    if array.dtype.kind in _NATIVE_KINDS:
        return _numbers(array)
    return natural(array.tolist())


def is_sparse(values: Any) -> bool:
    """Whether an output is a sparse matrix; what makes one brings the library, which takes much memory by itself."""
    return hasattr(values, "toarray")


def _numbers(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array of the widths, the byte order and the layout that the JSON writer takes."""
    if array.dtype.kind == "f" and array.dtype.itemsize not in _FLOAT_WIDTHS:
        return array.astype(np.float64, order="C")
    if array.dtype.isnative and array.flags.c_contiguous and array.ndim:
        return array
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def natural(value: Any) -> Any:
    """Return labels as JSON's own types: numpy's strings, booleans and integers become Python's."""
    if isinstance(value, list):
        return [natural(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if value is None or isinstance(value, bool | int | float) else str(value)

"""Functions, and whatever stands where a method is looked up.

An attribute of the instance hides the class's method of that name. A function given as a
hyper-parameter is called on the caller's rows; the few that honest estimators keep stand
at known attributes.
"""

import functools
import types
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_array

from service.artifacts.features import METHODS
from service.artifacts.validation.contents import Held
from service.errors import Finding

FUNCTIONS: Final = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    functools.partial,
    np.ufunc,
    type(np.mean),
)

AT_HOME: Final = frozenset({"score_func", "pooling_func", "_score_func", "_kmeans_single"})
"""Attributes at which estimators themselves keep functions that the allow-list names."""


def misplaced_callables(held: Sequence[Held]) -> Iterator[Finding]:
    """Yield each attribute that hides a method, and each function where none belongs."""
    for item in held:
        if _hides_a_method(item):
            yield Finding(item.at, "hides the method of that name")
        elif isinstance(item.value, FUNCTIONS) and not _at_home(item):
            yield Finding(item.at, "is a function; functions as hyper-parameters are not allowed")
        elif isinstance(item.value, type) and "dtype" not in item.attribute:
            yield Finding(item.at, "is a type where none belongs")


def _hides_a_method(item: Held) -> bool:
    if item.owner is None or not item.at.endswith(f".{item.attribute}"):
        return False
    answers = item.attribute in METHODS and isinstance(item.owner, BaseEstimator)
    return answers or callable(getattr(type(item.owner), item.attribute, None))


def _at_home(item: Held) -> bool:
    if isinstance(item.owner, FunctionTransformer):
        return _checks_an_array(item.value)
    return item.attribute in AT_HOME


def _checks_an_array(function: Any) -> bool:
    """Whether it is scikit-learn's own check of an array, with which HistGradientBoosting prepares rows."""
    return isinstance(function, functools.partial) and function.func is check_array and not function.args

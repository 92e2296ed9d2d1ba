"""What an estimator takes and answers, derived from the estimator itself.

A signature is ``{"layout", "inputs": [{"name", "dtype"}], "outputs": [{"name", "dtype", "shape"}]}``.
Types are ``float64``, ``int64``, ``bool`` and ``string``. The layout ``matrix`` means rows of
cells, ``text`` means one string a row. ``shape`` is that of one row's answer and absent
where that is a single value; ``nullable`` on an input means that a gap is understood.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.isotonic import IsotonicRegression
from sklearn.utils import get_tags

from service.artifacts.signature_rules import BOOL, FLOAT, INT, MATRIX, MAXIMUM_COLUMNS, STRING, TEXT

METHODS: Final = ("predict", "predict_proba", "decision_function", "transform", "score_samples")
"""The methods that answer for rows, in the order in which they are reported."""

_OF_KIND: Final = {"f": FLOAT, "i": INT, "u": INT, "b": BOOL, "U": STRING}


class UnknownInputs(ValueError):
    """The estimator does not say what it takes."""


def layout(estimator: BaseEstimator) -> str:
    """Return whether the estimator takes rows of cells or one string a row.

    :raises UnknownInputs: it takes neither.
    """
    first = entrance(estimator)
    if isinstance(first, DictVectorizer | FeatureHasher):
        raise UnknownInputs(f"{type(first).__name__} takes dictionaries, which are not served")
    return TEXT if isinstance(first, CountVectorizer | HashingVectorizer) else MATRIX


def inputs(estimator: BaseEstimator, width: int | None = None) -> list[dict[str, Any]]:
    """Return name and type of each input, without ``nullable``.

    :param width: the number of columns, for an estimator that does not keep it.
    :raises UnknownInputs: nothing says how many columns there are.
    """
    if layout(estimator) == TEXT:
        return [{"name": "text", "dtype": STRING}]
    count = _n_features(estimator) or width
    if count is None:
        raise UnknownInputs("nothing says how many columns it takes; declare a signature or give a sample")
    if not 0 < count <= MAXIMUM_COLUMNS:
        raise UnknownInputs(f"it takes {count} columns, and 1 to {MAXIMUM_COLUMNS} are served")
    names = getattr(estimator, "feature_names_in_", [f"x{position}" for position in range(count)])
    if len(names) != count:
        raise UnknownInputs("feature_names_in_ and n_features_in_ differ")
    dtypes = column_dtypes(estimator, count)
    return [{"name": str(name), "dtype": dtype} for name, dtype in zip(names, dtypes, strict=True)]


def allows_gaps(estimator: BaseEstimator) -> bool:
    """Whether scikit-learn says of the first step that it understands a missing number."""
    first = entrance(estimator)
    return isinstance(first, ColumnTransformer) or bool(get_tags(first).input_tags.allow_nan)


def entrance(estimator: Any) -> Any:
    """Return the estimator that is the first to see the rows."""
    while (inner := _first_step(estimator)) is not None:
        estimator = inner
    return estimator


def _first_step(estimator: Any) -> Any:
    """Return what a composite hands its rows to, as it was fitted where that can be had."""
    if isinstance(estimator, CalibratedClassifierCV):
        return estimator.calibrated_classifiers_[0].estimator
    for attribute in ("steps", "transformer_list"):
        if hasattr(estimator, attribute):
            return _first_of([step for _, step in getattr(estimator, attribute)])
    fitted = [
        getattr(estimator, name, None) for name in ("best_estimator_", "estimator_", "regressor_", "_preprocessor")
    ]
    members = getattr(estimator, "estimators_", None)
    fitted += members if isinstance(members, list) else []
    return _first_of([*fitted, getattr(estimator, "estimator", None)])


def _first_of(steps: Sequence[Any]) -> Any:
    return next((step for step in steps if isinstance(step, BaseEstimator)), None)


def _n_features(estimator: BaseEstimator) -> int | None:
    for holder in (estimator, entrance(estimator)):
        count = getattr(holder, "n_features_in_", None)
        if count is not None:
            return int(count)
    return 1 if isinstance(entrance(estimator), IsotonicRegression) else None


def column_dtypes(estimator: Any, count: int) -> list[str]:
    """Return the type of each of ``count`` columns, told by what was fitted to it."""
    first = entrance(estimator)
    if isinstance(first, ColumnTransformer):
        return _columns_of_transformer(first, count)
    kinds = getattr(first, "categories_", None)
    if kinds is not None and len(kinds) == count:
        return [_dtype_of_categories(kind) for kind in kinds]
    if getattr(first, "_fit_dtype", np.dtype(float)).kind in "OUS":
        return [STRING] * count
    return [FLOAT] * count


def _columns_of_transformer(transformer: ColumnTransformer, count: int) -> list[str]:
    dtypes = [FLOAT] * count
    places: Mapping[str, Any] = transformer._transformer_to_input_indices  # noqa: SLF001 - kept nowhere else.
    for name, inner, _ in transformer.transformers_:
        if isinstance(inner, BaseEstimator):
            columns = np.atleast_1d(np.arange(count)[places[name]])
            found = [STRING] if layout(inner) == TEXT else column_dtypes(inner, len(columns))
            for column, dtype in zip(columns, found, strict=True):
                dtypes[column] = dtype if dtype != FLOAT else dtypes[column]
    return dtypes


def _dtype_of_categories(categories: Any) -> str:
    if categories.dtype.kind == "O":
        known = [category for category in categories if isinstance(category, str | bool)]
        return (BOOL if all(isinstance(category, bool) for category in known) else STRING) if known else FLOAT
    return {"U": STRING, "b": BOOL}.get(categories.dtype.kind, FLOAT)


def describe_output(name: str, answer: Any, count: int) -> dict[str, Any] | None:
    """Return name, type and shape of what a method answered, or ``None`` where it cannot be served.

    :param answer: what the method returned; only arrays can be served.
    :param count: the number of rows that it was asked for.
    """
    if not isinstance(answer, np.ndarray) or answer.ndim == 0 or len(answer) != count:
        return None
    dtype = _OF_KIND.get(answer.dtype.kind) or _dtype_of_labels(answer)
    if dtype is None:
        return None
    return {"name": name, "dtype": dtype} | ({"shape": list(answer.shape[1:])} if answer.ndim > 1 else {})


def _dtype_of_labels(answer: Any) -> str | None:
    for kinds, dtype in ((bool, BOOL), (str, STRING), (int, INT), (int | float, FLOAT)):
        if answer.dtype.kind == "O" and all(isinstance(label, kinds) for label in answer.ravel()):
            return dtype
    return None

"""The rows on which forms are compared, drawn where a difference would show.

They lie around the training range, on the grids that real data lies on, on known
categories, in gaps where those are understood, and at and next to the thresholds of
trees, where a value that is rounded once too often falls to the other side.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from sklearn.pipeline import Pipeline

from service.runtimes.forms import Array

ROWS: Final = 1024
MADE_UP_ROWS: Final = 3
"""A sample as small as what admission makes up says nothing about the training range."""

GAPS: Final = 0.3
"""The share of cells that are missing in rows with gaps."""

_KEPT: Final = (
    "support_vectors_",
    "_fit_X",
    "X_train_",
    "X_fit_",
    "theta_",
    "means_",
    "centroids_",
    "cluster_centers_",
)
"""Attributes that hold rows of the training range, or means of them."""


def rows_for(estimator: Any, sample: Array, gaps: Sequence[int] = (), seed: int = 0) -> Array:
    """Return at least ``ROWS`` rows, (n_samples, n_features) float64, on which forms are compared.

    :param sample: rows that the estimator has answered for; they come first.
    :param gaps: positions of the columns in which a gap is understood.
    """
    random = np.random.default_rng(seed)
    first, last = (estimator.steps[0][1], estimator.steps[-1][1]) if _chained(estimator) else (estimator, estimator)
    thresholds = thresholds_of(last)
    centre, spread = _range_of(first, sample, thresholds if first is last else {})
    around = random.normal(centre, spread, (ROWS // 4, len(centre)))
    wide = random.normal(centre, 10 * spread, (ROWS // 8, len(centre)))
    rows = [sample, around, np.round(around), np.round(around, 1), wide, np.round(wide), wide * 100]
    if thresholds:
        rows.append(_at_thresholds(estimator, around, thresholds, random))
    if known := known_values(first):
        rows = [rows[0], *(_with_known(each, known, random) for each in rows[1:]), around]
    if gaps:
        rows.append(_with_gaps(np.concatenate(rows[1:3]), gaps, random))
    return np.concatenate(rows)


def _chained(estimator: Any) -> bool:
    return isinstance(estimator, Pipeline)


def _range_of(first: Any, sample: Array, thresholds: dict[int, Array]) -> tuple[Array, Array]:
    """Return per feature where training data lay and how wide."""
    count = sample.shape[1]
    if len(sample) > MADE_UP_ROWS:
        return _finite(np.nanmean(sample, axis=0)), _finite(np.nanstd(sample, axis=0)) + 1e-3
    if _is_of(first, "mean_", count) and _is_of(first, "scale_", count):
        return np.asarray(first.mean_), np.asarray(first.scale_)
    if _is_of(first, "data_min_", count):
        return (first.data_min_ + first.data_max_) / 2, np.asarray(first.data_range_) + 1e-3
    for name in _KEPT:
        rows = getattr(first, name, None)
        if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == count:  # noqa: PLR2004
            return rows.mean(axis=0), rows.std(axis=0) + 1e-3
    centre, spread = np.zeros(count), np.ones(count)
    for feature, values in thresholds.items():
        centre[feature], spread[feature] = values.mean(), values.std() + 0.5
    return centre, spread


def _is_of(first: Any, name: str, count: int) -> bool:
    value = getattr(first, name, None)
    return isinstance(value, np.ndarray) and value.shape == (count,)


def _finite(values: Array) -> Array:
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def thresholds_of(estimator: Any) -> dict[int, Array]:
    """Return the split thresholds of every tree in an ensemble, by feature, but for those that part gaps."""
    found: dict[int, list[Array]] = {}
    for features, values in _splits(estimator):
        for feature in np.unique(features[np.isfinite(values)]):
            found.setdefault(int(feature), []).append(values[(features == feature) & np.isfinite(values)])
    return {feature: np.unique(np.concatenate(values)) for feature, values in found.items()}


def _splits(estimator: Any) -> Iterator[tuple[Array, Array]]:
    """Yield features and thresholds of each tree, however deep it lies in ensembles of ensembles."""
    members = getattr(estimator, "estimators_", ())
    for member in members.ravel() if isinstance(members, np.ndarray) else members:
        yield from _splits(member)
    if hasattr(estimator, "tree_"):
        inner = estimator.tree_.children_left >= 0
        yield estimator.tree_.feature[inner], estimator.tree_.threshold[inner]
    places = _places(estimator)
    for stage in getattr(estimator, "_predictors", ()):
        for predictor in stage:
            inner = (predictor.nodes["is_leaf"] == 0) & (predictor.nodes["is_categorical"] == 0)
            nodes = predictor.nodes[inner]
            features = nodes["feature_idx"] if places is None else places[nodes["feature_idx"]]
            yield features, nodes["num_threshold"].astype(np.float64)


def _places(estimator: Any) -> Array | None:
    """Return the column of each feature of histograms over categories, which put those first."""
    categorical = getattr(estimator, "is_categorical_", None)
    return None if categorical is None else np.argsort(~categorical, kind="stable")


def known_values(first: Any) -> dict[int, Array]:
    """Return the numbers that a column was fitted to have, where it takes no others for known."""
    categorical = getattr(first, "is_categorical_", None)
    if categorical is None:
        categories, columns = getattr(first, "categories_", ()), None
    else:
        categories = first._preprocessor.named_transformers_["encoder"].categories_  # noqa: SLF001
        columns = np.flatnonzero(categorical)
    found = enumerate(categories) if columns is None else zip(columns, categories, strict=True)
    return {int(column): values for column, each in found if len(values := _numbers(each))}


def _numbers(values: Any) -> Array:
    array = np.asarray(values)
    return array[np.isfinite(array)].astype(np.float64) if array.dtype.kind in "fiub" else np.empty(0)


def _with_known(rows: Array, known: dict[int, Array], random: np.random.Generator) -> Array:
    rows = rows.copy()
    for column, values in known.items():
        rows[:, column] = random.choice(values, len(rows))
    return rows


def _with_gaps(rows: Array, gaps: Sequence[int], random: np.random.Generator) -> Array:
    """Return rows with cells missing at random, and one that has nothing but gaps."""
    rows = rows.copy()
    for column in gaps:
        rows[random.random(len(rows)) < GAPS, column] = np.nan
    rows[0, list(gaps)] = np.nan
    return rows


def _at_thresholds(estimator: Any, around: Array, thresholds: dict[int, Array], random: np.random.Generator) -> Array:
    """Return rows whose values are thresholds, and their neighbours in float32 and in float64."""
    rows = _forward(estimator, around)
    if rows is None:
        return around
    rows = rows[random.integers(0, len(rows), ROWS // 2)].copy()
    for feature, values in thresholds.items():
        single = (chosen := random.choice(values, len(rows))).astype(np.float32)
        near = (
            rows[:, feature],
            chosen,
            np.nextafter(chosen, np.inf),
            np.nextafter(chosen, -np.inf),
            np.nextafter(single, np.float32(np.inf)).astype(np.float64),
            np.nextafter(single, np.float32(-np.inf)).astype(np.float64),
        )
        rows[:, feature] = np.choose(random.integers(0, len(near), len(rows)), near)
    return _backward(estimator, rows, around)


def _forward(estimator: Any, X: Array) -> Array | None:
    """Return rows as the last step sees them, ``None`` where that is no array of numbers or the steps refuse them."""
    if not _chained(estimator):
        return X
    try:
        transformed: Array = np.asarray(estimator[:-1].transform(X.copy()), dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return transformed if transformed.ndim == 2 else None  # noqa: PLR2004


def _backward(estimator: Any, rows: Array, otherwise: Array) -> Array:
    """Return the rows that become these before the last step, where the steps before it can be undone."""
    if not _chained(estimator):
        return rows
    try:
        found: Array = np.asarray(estimator[:-1].inverse_transform(rows), dtype=np.float64)
    except (AttributeError, ValueError):
        return otherwise
    return found

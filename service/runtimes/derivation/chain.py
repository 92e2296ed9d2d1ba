"""Scalers and the like, as steps in front of a form."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from service.runtimes.chain import Impute, Project, Standardise, Stretch
from service.runtimes.forms import Step


def step_of(transformer: Any) -> Step | None:
    """Return the step of a fitted transformer, or ``None`` where numpy alone cannot stand for it."""
    derive = _DERIVED.get(type(transformer))
    return derive(transformer) if derive is not None else None


def _of_standard(scaler: Any) -> Step:
    centre = scaler.mean_ if scaler.with_mean else None
    return Standardise(centre, scaler.scale_ if scaler.with_std else None)


def _of_robust(scaler: Any) -> Step:
    centre = scaler.center_ if scaler.with_centering else None
    return Standardise(centre, scaler.scale_ if scaler.with_scaling else None)


def _of_max_abs(scaler: Any) -> Step | None:
    return None if scaler.clip else Standardise(None, scaler.scale_)


def _of_min_max(scaler: Any) -> Step:
    low, high = scaler.feature_range
    return Stretch(scaler.scale_, scaler.min_, (float(low), float(high)) if scaler.clip else None)


def _of_imputer(imputer: Any) -> Step | None:
    statistics = np.asarray(imputer.statistics_)
    gaps_are_nan = isinstance(imputer.missing_values, float) and np.isnan(imputer.missing_values)
    if imputer.add_indicator or not gaps_are_nan or statistics.dtype.kind != "f" or np.isnan(statistics).any():
        return None
    return Impute(statistics)


def _of_pca(pca: Any) -> Step | None:
    if pca.whiten:
        return None
    return Project(pca.components_, np.dot(pca.mean_.reshape(1, -1), pca.components_.T))


_DERIVED: Final[dict[type, Callable[[Any], Step | None]]] = {
    StandardScaler: _of_standard,
    RobustScaler: _of_robust,
    MaxAbsScaler: _of_max_abs,
    MinMaxScaler: _of_min_max,
    SimpleImputer: _of_imputer,
    PCA: _of_pca,
}

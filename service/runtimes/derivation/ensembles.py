"""Which trees and ensembles of trees have forms, and what is made of their sums."""

from typing import Any, Final

from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from service.runtimes.ensembles import Ensemble
from service.runtimes.forms import Sums

SINGLE: Final = {DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor}
FORESTS: Final = {RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor}
BOOSTED: Final = {GradientBoostingClassifier, GradientBoostingRegressor}
BINNED: Final = {HistGradientBoostingClassifier, HistGradientBoostingRegressor}
TREES: Final = frozenset(SINGLE | FORESTS | BOOSTED | BINNED)

_IDENTITY_LOSSES: Final = {"squared_error", "absolute_error", "quantile", "huber"}


def fits(estimator: Any) -> bool:
    """Whether the answers of a tree or an ensemble are made of sums in one of the ways that ``Ensemble`` knows."""
    kind = type(estimator)
    if getattr(estimator, "n_outputs_", 1) != 1:
        return False
    if kind is GradientBoostingClassifier:
        return bool(estimator.loss == "log_loss")
    if kind in BOOSTED | BINNED and getattr(estimator, "classes_", None) is None:
        return estimator.loss in _IDENTITY_LOSSES
    return kind in TREES


def of_sums(estimator: Any, sums: Sums) -> Ensemble:
    """Return the form of a tree or an ensemble that ``fits``."""
    kind = type(estimator)
    return Ensemble(
        sums,
        "float64" if kind in BINNED else "float32",
        getattr(estimator, "classes_", None),
        averages=kind in SINGLE | FORESTS,
    )

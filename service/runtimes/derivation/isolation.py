"""Isolation forests, as trees whose leaves add depths."""

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.ensemble._iforest import _average_path_length

from service.runtimes.derivation.forests import Grown, grown, leaves
from service.runtimes.isolation import Isolation


def derive(estimator: Any) -> Isolation | None:
    """Return the form of an isolation forest, or ``None`` where the estimator is none.

    :raises UnfitError: it is too large.
    """
    if type(estimator) is not IsolationForest:
        return None
    trees = [_tree(estimator, number) for number in range(len(estimator.estimators_))]
    deepest = len(trees) * float(_average_path_length([estimator._max_samples])[0])  # noqa: SLF001
    depths = leaves(trees, [0] * len(trees), int(estimator.n_features_in_))
    return Isolation(depths, deepest, float(estimator.offset_))


def _tree(estimator: Any, number: int) -> Grown:
    """Return a tree whose leaves add the depth at which a row is alone."""
    tree = grown(estimator.estimators_[number].tree_)
    value = estimator._decision_path_lengths[number] + estimator._average_path_length_per_tree[number] - 1.0  # noqa: SLF001
    if estimator._max_features == estimator.n_features_in_:  # noqa: SLF001
        return replace(tree, value=value)
    # The tree was grown on some of the columns, and numbers them from zero.
    return replace(tree, value=value, feature=estimator.estimators_features_[number][np.maximum(tree.feature, 0)])

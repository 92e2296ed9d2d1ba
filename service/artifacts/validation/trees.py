"""The nodes of trees, which scikit-learn follows in C without a bounds check.

A child comes after its parent and inside the array, has one parent, and a split asks for
a feature that the rows have. From that follows that each walk ends, inside the array.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.ensemble._base import BaseEnsemble
from sklearn.ensemble._forest import BaseForest
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree import BaseDecisionTree
from sklearn.tree._tree import Tree

from service.artifacts.validation.contents import Held
from service.errors import Finding

MAX_DEPTH: Final = 10_000

Ints = npt.NDArray[np.int64]


def broken_trees(held: Sequence[Held]) -> Iterator[Finding]:
    """Yield what is wrong with each tree, and with the ensembles that hand their rows to trees unchecked."""
    for item in held:
        value = item.value
        if isinstance(value, Tree):
            yield from _tree(item)
        elif isinstance(value, TreePredictor):
            yield from _histogram_tree(item)
        elif isinstance(value, BaseDecisionTree):
            yield from _tree_estimator(item)
        elif isinstance(value, BaseForest | GradientBoostingClassifier | GradientBoostingRegressor):
            yield from _ensemble(item)
        elif isinstance(value, BaseHistGradientBoosting):
            yield from _histogram_ensemble(item)


def _tree(item: Held) -> Iterator[Finding]:
    tree: Tree = item.value
    left, right = tree.children_left.astype(np.int64), tree.children_right.astype(np.int64)
    leaves = left == -1
    if tree.value.shape[0] != len(left) or not np.array_equal(leaves, right == -1):
        yield Finding(item.at, "has nodes with one child, or without a value")
        return
    yield from _nodes(item.at, left, right, leaves, tree.feature.astype(np.int64), tree.n_features)


def _histogram_tree(item: Held) -> Iterator[Finding]:
    nodes, bitsets = item.value.nodes, item.value.raw_left_cat_bitsets
    if nodes.dtype != PREDICTOR_RECORD_DTYPE or nodes.ndim != 1 or bitsets.shape[1:] != (8,):
        yield Finding(item.at, "has nodes of another form than this scikit-learn's")
        return
    leaves = nodes["is_leaf"].astype(bool)
    left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    features = nodes["feature_idx"].astype(np.int64)
    n_features = int(getattr(item.owner, "n_features_in_", 0))
    yield from _nodes(item.at, left, right, leaves, features, n_features)
    by_category = nodes["is_categorical"].astype(bool) & ~leaves
    mapper = getattr(item.owner, "_bin_mapper", None)
    categorical = np.flatnonzero(getattr(mapper, "is_categorical_", np.zeros(0)))
    if (nodes["bitset_idx"][by_category] >= len(bitsets)).any() or not np.isin(
        features[by_category], categorical
    ).all():
        yield Finding(item.at, "asks for a set of categories that is not there")


def _nodes(
    at: str, left: Ints, right: Ints, leaves: npt.NDArray[np.bool_], features: Ints, n_features: int
) -> Iterator[Finding]:
    """Yield what is wrong with nodes given as columns, each an array over the nodes."""
    count = len(left)
    splits = np.flatnonzero(~leaves)
    children = np.concatenate([left[splits], right[splits]])
    parents = np.concatenate([splits, splits])
    if count == 0 or (children <= parents).any() or (children >= count).any():
        yield Finding(at, "has a node whose child is no later node of the tree")
    elif len(np.unique(children)) != len(children) or len(children) != count - 1:
        yield Finding(at, "has a node without exactly one parent")
    elif _depth(children, parents, count) > MAX_DEPTH:
        yield Finding(at, f"is deeper than {MAX_DEPTH:,} levels")
    if ((features[splits] < 0) | (features[splits] >= n_features)).any():
        yield Finding(at, "splits on a feature that the rows do not have")


def _depth(children: Ints, parents: Ints, count: int) -> int:
    parent = np.zeros(count, dtype=np.int64)
    parent[children] = parents
    ancestors, depth = parent, 0
    while ancestors.any() and depth <= MAX_DEPTH:
        ancestors, depth = parent[ancestors], depth + 1
    return depth + 1


def _tree_estimator(item: Held) -> Iterator[Finding]:
    estimator, tree = item.value, getattr(item.value, "tree_", None)
    if tree is None:
        return
    classes = np.atleast_1d(estimator.n_classes_) if hasattr(estimator, "n_classes_") else [1]
    if tree.n_features != estimator.n_features_in_:
        yield Finding(f"{item.at}.n_features_in_", "differs from the number of features of its tree")
    if tree.n_outputs != estimator.n_outputs_ or list(tree.n_classes[: len(classes)]) != list(classes):
        yield Finding(item.at, "differs from its tree in the number of outputs or classes")


def _ensemble(item: Held) -> Iterator[Finding]:
    ensemble: BaseEnsemble = item.value
    members = np.asarray(getattr(ensemble, "estimators_", []), dtype=object).ravel()
    boosted = not isinstance(ensemble, BaseForest)
    for position, member in enumerate(members):
        at = f"{item.at}.estimators_[{position}]"
        if not isinstance(member, BaseDecisionTree) or not hasattr(member, "tree_"):
            yield Finding(at, "is no fitted tree")
        elif member.tree_.n_features != ensemble.n_features_in_:
            yield Finding(at, "has another number of features than its ensemble")
        elif boosted and member.tree_.value.shape[1:] != (1, 1):
            yield Finding(at, "has more than one value a node")


def _histogram_ensemble(item: Held) -> Iterator[Finding]:
    ensemble = item.value
    predictors = [predictor for row in getattr(ensemble, "_predictors", []) for predictor in row]
    if not all(isinstance(predictor, TreePredictor) for predictor in predictors):
        yield Finding(f"{item.at}._predictors", "holds something else than trees")
    columns = np.shape(getattr(getattr(ensemble, "_bin_mapper", None), "is_categorical_", ()))
    if predictors and columns != (ensemble.n_features_in_,):
        yield Finding(f"{item.at}._bin_mapper", "has another number of features than its ensemble")

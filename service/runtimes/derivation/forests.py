"""Trees and ensembles of them as one ONNX node in float64, written from scikit-learn's own arrays.

ONNX Runtime follows a row through a hundred trees in some microseconds. The converter's
graphs round thresholds and leaves to float32; this one keeps them as they are, and adds up
tree after tree, which is the order of scikit-learn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper
from sklearn.dummy import DummyClassifier, DummyRegressor

from service.runtimes.derivation.ensembles import BINNED, BOOSTED, SINGLE, fits, of_sums
from service.runtimes.ensembles import Ensemble
from service.runtimes.forms import Array, UnfitError
from service.runtimes.leaves import SUMS, Averages, Leaves, Means

MOST_NODES: Final = 2_000_000
_DOMAIN: Final = "ai.onnx.ml"
_NUMBERS: Final = (
    "nodes_featureids",
    "nodes_trueleafs",
    "nodes_truenodeids",
    "nodes_falseleafs",
    "nodes_falsenodeids",
    "nodes_missing_value_tracks_true",
    "leaf_targetids",
)
_TENSORS: Final = {"nodes_splits": np.float64, "nodes_modes": np.uint8, "leaf_weights": np.float64}


@dataclass(frozen=True, slots=True)
class Grown:
    """One tree: parallel arrays over its nodes; ``left`` and ``right`` of a leaf mean nothing.

    :param missing: whether a gap goes to the left.
    :param value: what a leaf adds to the sum.
    """

    leaf: Array
    left: Array
    right: Array
    feature: Array
    threshold: Array
    missing: Array
    value: Array


def leaves(trees: Sequence[Grown], targets: Sequence[int], width: int) -> Leaves:
    """Return what adds each tree's leaf to the sum that is the tree's target.

    :param trees: the trees, in the order in which they are added up.
    :param targets: for each tree the number of its sum, from zero.
    :param width: the number of features.
    :raises UnfitError: they are too large.
    """
    nodes = sum(len(tree.leaf) for tree in trees)
    if nodes > MOST_NODES:
        raise UnfitError(f"its trees have {nodes} nodes, and a graph is made of at most {MOST_NODES}")
    return Leaves(_model(_node(trees, targets), width, max(targets) + 1))


def derive(estimator: Any) -> Ensemble | None:
    """Return the form of a tree or an ensemble of trees, or ``None`` where the estimator is none that fits.

    :raises UnfitError: it splits on categories, begins with another estimator, or is too large.
    """
    if not fits(estimator):
        return None
    width = int(estimator.n_features_in_)
    added = type(estimator) in BOOSTED | BINNED
    return of_sums(estimator, _sums(estimator, width) if added else _means(estimator, width))


def _means(estimator: Any, width: int) -> Averages | Means:
    members = [estimator] if type(estimator) in SINGLE else estimator.estimators_
    trees = [grown(member.tree_) for member in members]
    if getattr(estimator, "classes_", None) is None:
        return Means(leaves(trees, [0] * len(trees), width), len(trees))
    probabilities = [member.tree_.value[tree.leaf, 0, :] for member, tree in zip(members, trees, strict=True)]
    return _averages(trees, probabilities, width)


def _averages(trees: Sequence[Grown], probabilities: Sequence[Array], width: int) -> Averages:
    """Return the mean of the trees' probabilities, each tree's by leaf."""
    ends = np.cumsum([len(each) for each in probabilities])
    places = [
        replace(tree, value=np.cumsum(tree.leaf) - 1.0 + end - len(each))
        for tree, each, end in zip(trees, probabilities, ends, strict=True)
    ]
    return Averages(leaves(places, range(len(trees)), width), np.concatenate(probabilities))


def _sums(estimator: Any, width: int) -> Leaves:
    """Return what boosting adds up: what it begins with, and each stage's tree for each sum."""
    binned = type(estimator) in BINNED
    first, stages = _histograms(estimator) if binned else _gradients(estimator)
    trees = [_constant(value) for value in first] + [tree for stage in stages for tree in stage]
    return leaves(trees, list(range(len(first))) * (1 + len(stages)), width)


def _histograms(estimator: Any) -> tuple[Array, list[list[Grown]]]:
    if estimator.is_categorical_ is not None:
        raise UnfitError("it splits on categories")
    stages = [[_binned(predictor.nodes) for predictor in stage] for stage in estimator._predictors]  # noqa: SLF001
    return np.ravel(estimator._baseline_prediction), stages  # noqa: SLF001


def _gradients(estimator: Any) -> tuple[Array, list[list[Grown]]]:
    if not isinstance(estimator.init_, DummyClassifier | DummyRegressor) and estimator.init_ != "zero":
        raise UnfitError("it begins with another estimator")
    first = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), dtype=np.float32))  # noqa: SLF001
    rate = estimator.learning_rate
    stages = [[grown(member.tree_, rate) for member in stage] for stage in estimator.estimators_]
    return np.ravel(first), stages


def grown(tree: Any, rate: float = 1.0) -> Grown:
    """Return a tree of scikit-learn, whose leaves add their first value times ``rate``."""
    missing = np.asarray(tree.missing_go_to_left, dtype=bool)
    leaf, value = tree.children_left < 0, rate * tree.value[:, 0, 0]
    return Grown(leaf, tree.children_left, tree.children_right, tree.feature, tree.threshold, missing, value)


def _binned(nodes: Array) -> Grown:
    leaf = nodes["is_leaf"].astype(bool)
    left, right = nodes["left"].astype(np.intp), nodes["right"].astype(np.intp)
    missing = nodes["missing_go_to_left"].astype(bool)
    return Grown(leaf, left, right, nodes["feature_idx"], nodes["num_threshold"], missing, nodes["value"])


def _constant(value: float) -> Grown:
    none = np.zeros(1, dtype=np.intp)
    return Grown(np.ones(1, dtype=bool), none, none, none, np.zeros(1), none.astype(bool), np.array([value]))


def _node(trees: Sequence[Grown], targets: Sequence[int]) -> onnx.NodeProto:
    parts: dict[str, list[Array]] = {name: [] for name in (*_NUMBERS, *_TENSORS)}
    roots, inner, leaves = [], 0, 0
    for tree, target in zip(trees, targets, strict=True):
        roots.append(inner)
        for name, values in _described(tree, target, inner, leaves).items():
            parts[name].append(values)
        inner, leaves = inner + len(parts["nodes_splits"][-1]), leaves + len(parts["leaf_weights"][-1])
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    numbers: dict[str, Any] = {name: joined[name].astype(np.int64).tolist() for name in _NUMBERS}
    tensors: dict[str, Any] = {
        name: numpy_helper.from_array(joined[name].astype(dtype), name) for name, dtype in _TENSORS.items()
    }
    count = max(targets) + 1
    return helper.make_node(
        "TreeEnsemble", ["X"], [SUMS], domain=_DOMAIN, tree_roots=roots, n_targets=count, **numbers, **tensors
    )


def _described(tree: Grown, target: int, inner: int, leaves: int) -> dict[str, Array]:
    """Return one tree as the node has it: inner nodes and leaves apart, each numbered over the whole ensemble."""
    place = np.where(tree.leaf, np.cumsum(tree.leaf) - 1 + leaves, np.cumsum(~tree.leaf) - 1 + inner)
    # A tree of one leaf is written as a node both of whose branches lead to it.
    kept = np.array([0]) if tree.leaf.all() else np.flatnonzero(~tree.leaf)
    left, right = (kept, kept) if tree.leaf.all() else (tree.left[kept], tree.right[kept])
    return {
        "nodes_featureids": np.maximum(tree.feature[kept], 0),
        "nodes_splits": tree.threshold[kept],
        "nodes_modes": np.zeros(len(kept)),
        "nodes_trueleafs": tree.leaf[left],
        "nodes_truenodeids": place[left],
        "nodes_falseleafs": tree.leaf[right],
        "nodes_falsenodeids": place[right],
        "nodes_missing_value_tracks_true": tree.missing[kept],
        "leaf_weights": tree.value[tree.leaf],
        "leaf_targetids": np.full(int(tree.leaf.sum()), target),
    }


def _model(node: onnx.NodeProto, width: int, count: int) -> bytes:
    double = onnx.TensorProto.DOUBLE
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("X", double, [None, width])],
        [helper.make_tensor_value_info(SUMS, double, [None, count])],
    )
    versions = [helper.make_opsetid("", 21), helper.make_opsetid(_DOMAIN, 5)]
    data: bytes = helper.make_model(graph, opset_imports=versions, ir_version=10).SerializeToString()
    return data

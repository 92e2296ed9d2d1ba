"""Other estimators, converted to ONNX graphs."""

import logging
import warnings
from collections.abc import Iterator
from copy import copy
from typing import Any, Final

import numpy as np
import onnx
import skl2onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn.ensemble import VotingClassifier
from sklearn.ensemble._forest import BaseForest
from sklearn.ensemble._gb import BaseGradientBoosting
from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
from sklearn.neighbors._base import NeighborsBase
from sklearn.pipeline import Pipeline
from sklearn.tree import BaseDecisionTree

from service.runtimes.forms import Array, UnfitError
from service.runtimes.graphs import Dtype, Graph
from service.runtimes.sessions import first_line

LARGEST_GRAPH: Final = 256 << 20
MOST_NODES: Final = 200_000
"""Of trees in one graph. The converter takes some twenty microseconds and a kilobyte for each."""

_BETTER_NATIVE: Final = (NeighborsBase,)
"""Their graphs are slower, and break ties between equal distances in another way."""

_SINGLE: Final = (BaseForest, BaseGradientBoosting, BaseHistGradientBoosting, BaseDecisionTree)
"""Their graphs compute in float32 whatever they are given; ``forests`` makes others."""

logging.getLogger("skl2onnx").setLevel(logging.ERROR)


def derive(estimator: Any, dtype: Dtype) -> Graph | None:
    """Return the graph of an estimator, or ``None`` where such estimators have none.

    :param dtype: float64 or float32, in which rows are taken and the graph computes.
    :raises UnfitError: it cannot be converted, is too large, or computes in float32 where float64 was asked for.
    """
    classes = getattr(estimator, "classes_", None)
    parts = list(_parts(estimator))
    if any(isinstance(part, _BETTER_NATIVE) for part in parts):
        return None
    if dtype == "float64" and isinstance(parts[-1], _SINGLE):
        return None
    if classes is not None and (not isinstance(classes, np.ndarray) or classes.ndim != 1):
        return None
    held = sum(map(_held_bytes, parts))
    if held > LARGEST_GRAPH:
        raise UnfitError(f"its arrays take {held} bytes, and a graph at most {LARGEST_GRAPH}")
    nodes = sum(map(_nodes, parts))
    if nodes > MOST_NODES:
        raise UnfitError(f"its trees have {nodes} nodes, and a graph is made of at most {MOST_NODES}")
    return _first_of_ways(_convertible(estimator), classes, dtype)


def _convertible(estimator: Any) -> Any:
    """Return a copy without what has no meaning for a prediction and its converter refuses."""
    if isinstance(estimator, Pipeline):
        estimator = copy(estimator)
        name, last = estimator.steps[-1]
        estimator.steps = [*estimator.steps[:-1], (name, _convertible(last))]
    elif isinstance(estimator, VotingClassifier):
        estimator = copy(estimator)
        estimator.flatten_transform = False
    return estimator


def _first_of_ways(estimator: Any, classes: Array | None, dtype: Dtype) -> Graph:
    """Return the graph that answers the places of labels, or else the one that answers labels.

    A graph knows only integers and strings, so places are the better answer; not every converter gives them.
    """
    if classes is None:
        return Graph(_converted(estimator, dtype, None), None, dtype, places=False)
    try:
        return Graph(_converted(estimator, dtype, {"zipmap": False, "nocl": True}), classes, dtype, places=True)
    except UnfitError:
        return Graph(_converted(estimator, dtype, {"zipmap": False}), classes, dtype, places=False)


def _converted(estimator: Any, dtype: Dtype, options: dict[str, bool] | None) -> bytes:
    kind = DoubleTensorType if dtype == "float64" else FloatTensorType
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            inputs = [("X", kind([None, estimator.n_features_in_]))]
            chosen = None if options is None else {id(estimator): options}
            model = skl2onnx.convert_sklearn(estimator, initial_types=inputs, options=chosen)
        except MemoryError:
            raise
        except Exception as error:
            raise UnfitError(f"skl2onnx does not convert it: {first_line(error)}") from error
    if dtype == "float64" and _rounds(model.graph):
        raise UnfitError("its graph computes in float32")
    data: bytes = model.SerializeToString()
    if len(data) > LARGEST_GRAPH:
        raise UnfitError(f"its graph takes {len(data)} bytes, and at most {LARGEST_GRAPH} are kept")
    return data


def _rounds(graph: onnx.GraphProto) -> bool:
    """Whether a graph holds numbers in float32, however it takes and gives its own.

    Labels that come of such numbers are right but for rows next to a border, which no
    thousand rows need to show.
    """
    single = onnx.TensorProto.FLOAT
    if any(each.data_type == single for each in graph.initializer):
        return True
    return any(
        attribute.floats
        # One number of an operation that every graph knows is a plain factor, such as Gemm's alpha.
        or (attribute.type == onnx.AttributeProto.FLOAT and node.domain)
        or (attribute.name == "to" and attribute.i == single)
        or (attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == single)
        or (attribute.type == onnx.AttributeProto.GRAPH and _rounds(attribute.g))
        for node in graph.node
        for attribute in node.attribute
    )


def _parts(estimator: Any) -> Iterator[Any]:
    """Yield the estimators that a composite is made of, and last the one that answers."""
    for _, step in getattr(estimator, "steps", ()):
        if hasattr(step, "get_params"):
            yield from _parts(step)
    members = getattr(estimator, "estimators_", ())
    for member in members.ravel() if isinstance(members, np.ndarray) else members:
        if not isinstance(estimator, _SINGLE):
            yield from _parts(member)
    if not hasattr(estimator, "steps"):
        yield estimator


def _nodes(estimator: Any) -> int:
    """Return the number of nodes in the trees of a tree or an ensemble of trees."""
    members = getattr(estimator, "estimators_", ()) if isinstance(estimator, _SINGLE) else ()
    trees = [*(members.ravel() if isinstance(members, np.ndarray) else members), estimator]
    own = sum(tree.tree_.node_count for tree in trees if hasattr(tree, "tree_"))
    binned = (predictor for stage in getattr(estimator, "_predictors", ()) for predictor in stage)
    return int(own + sum(len(predictor.nodes) for predictor in binned))


def _held_bytes(estimator: Any) -> int:
    """Return the bytes of the arrays that an estimator holds itself, alone or in lists."""
    values = vars(estimator).values()
    listed = (each for value in values if isinstance(value, list | tuple) for each in value)
    return sum(each.nbytes for each in (*values, *listed) if isinstance(each, np.ndarray))

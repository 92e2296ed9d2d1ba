"""What is put right in an admitted estimator before it is written: how it runs, never what it answers."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.neighbors import BallTree, KDTree

from service.artifacts.validation.contents import Held, contents


def normalise(estimator: BaseEstimator) -> None:
    """Change the estimator in place.

    Jobs and threads: how many a prediction may use is the server's decision, not a
    file's. Columns that were named in a data frame are taken by their positions, because
    rows come as arrays in the order of the signature. Neighbour trees are built again from
    their data, because C code follows their nodes without a bounds check.

    :raises ValueError: the data of a neighbour tree does not fit its metric.
    """
    for held in contents(estimator):
        owner, name = held.owner, held.attribute
        if isinstance(held.value, ColumnTransformer):
            _take_by_position(held.value)
        if not isinstance(owner, BaseEstimator) or not held.at.endswith(f".{name}"):
            continue
        if name in {"n_jobs", "memory"}:
            vars(owner)[name] = None
        elif name == "_n_threads":
            vars(owner)[name] = 1
        elif isinstance(held.value, KDTree | BallTree):
            vars(owner)[name] = _rebuilt(held)


def _take_by_position(transformer: ColumnTransformer) -> None:
    places = transformer._transformer_to_input_indices  # noqa: SLF001 - kept nowhere else.
    transformer.transformers_ = [
        (name, inner, places[name][0] if isinstance(columns, str | int) else places[name])
        for name, inner, columns in transformer.transformers_
    ]


def _rebuilt(held: Held) -> Any:
    tree = held.value
    data, _, _, _, leaf_size, *_, metric, weights = tree.__getstate__()
    return type(tree)(np.asarray(data), leaf_size=max(1, int(leaf_size)), metric=metric, sample_weight=weights)

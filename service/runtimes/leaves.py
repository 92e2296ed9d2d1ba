"""The sums over the leaves of trees, which ONNX Runtime follows rows to, and the means of them."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from service.runtimes.forms import Array, agree
from service.runtimes.sessions import Session

SUMS: Final = "sums"
"""The output of a graph of trees."""

_NODE_SHARE: Final = 4
"""What the nodes of trees take in ONNX Runtime beside what it takes for any graph, in times of the graph's bytes."""


@dataclass(eq=False)
class Leaves:
    """The sums over the leaves that rows come to, each tree's leaf added to the sum that is the tree's target.

    :param graph: an ONNX model that gives the ``SUMS``, (n_samples, n_targets) float64.
    """

    graph: bytes
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self._session = Session(self.graph)
        self.size_bytes = self._session.size_bytes + _NODE_SHARE * len(self.graph)

    def __call__(self, X: Array) -> Array:
        """Return (n_samples, n_targets) in float64."""
        return self._session.run(X.astype(np.float64, copy=False), SUMS)


@dataclass(eq=False)
class Averages:
    """The mean of the trees' probabilities.

    A leaf of the graph adds one number, and one of scikit-learn has one for each class. So
    every tree is a sum of its own, which is the place of its leaf in a table of probabilities.

    :param places: finds the leaves' places.
    :param table: (n_leaves, n_classes).
    """

    places: Leaves
    table: Array
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        agree(self.table.ndim == 2, "a table of probabilities")  # noqa: PLR2004
        self.size_bytes = self.places.size_bytes

    def __call__(self, X: Array) -> Array:
        """Return (n_samples, n_classes) in float64."""
        places = self.places(X)
        found: Array = self.table[places.astype(np.intp)].sum(axis=1)
        found /= places.shape[1]
        return found


@dataclass(eq=False)
class Means:
    """The mean of the trees' values.

    :param total: adds them up.
    :param trees: how many there are.
    """

    total: Leaves
    trees: int
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.size_bytes = self.total.size_bytes

    def __call__(self, X: Array) -> Array:
        """Return (n_samples, 1) in float64."""
        return self.total(X) / self.trees

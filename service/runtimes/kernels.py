"""Support vector machines in numpy: the decision values of libsvm from its own support vectors.

The distances are computed coordinate by coordinate, as libsvm does; by norms and a
product they would lose digits where a row is near a support vector.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from scipy.spatial.distance import cdist

from service.runtimes.forms import Array, agree, agree_on_labels

Name: TypeAlias = Literal["linear", "rbf", "poly", "sigmoid"]
Shape: TypeAlias = Literal["ovr", "ovo"]


@dataclass(eq=False)
class Kernel:
    """``K(X, vectors) @ weights.T + intercept``, one column for each pair of classes.

    :param vectors: (n_support, n_features).
    :param weights: (n_pairs, n_support); one row for a regressor.
    :param intercept: (n_pairs,).
    :param classes: (n_classes,), or ``None`` for a regressor.
    :param kernel: the function ``K``, of which ``gamma``, ``degree`` and ``coef0`` are parameters.
    :param shape: of decision values over several classes; ``None`` for a regressor.
    """

    vectors: Array
    weights: Array
    intercept: Array
    classes: Array | None
    kernel: Name
    gamma: float
    degree: int
    coef0: float
    shape: Shape | None
    methods: tuple[str, ...] = field(init=False)
    size_bytes: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        agree_on_labels(self.classes)
        count = 0 if self.classes is None else len(self.classes)
        pairs = 1 if self.classes is None else count * (count - 1) // 2
        agree(self.vectors.ndim == 2, "support vectors are rows")  # noqa: PLR2004
        agree(self.weights.shape == (pairs, len(self.vectors)), "a weight for each vector and pair of classes")
        agree(self.intercept.shape == (pairs,), "an intercept for each pair of classes")
        self.methods = ("predict",) if self.classes is None else ("predict", "decision_function")
        self._first, self._second = np.triu_indices(count, 1)

    def run(self, X: Array, method: str) -> Array:
        """Return the method's answer for each row."""
        values: Array = np.dot(self._similarity(X), self.weights.T) + self.intercept
        if self.classes is None:
            return values.reshape(-1)
        if method == "predict":
            winners: Array = self.classes.take(np.argmax(self._votes(values), axis=1))
            return winners
        if len(self.classes) == 2:  # noqa: PLR2004 - one pair, whose sign scikit-learn turns.
            return -values.reshape(-1)
        return self._one_against_rest(values) if self.shape == "ovr" else values

    def _similarity(self, X: Array) -> Array:
        if self.kernel == "rbf":
            near: Array = np.exp(-self.gamma * cdist(X, self.vectors, "sqeuclidean"))
            return near
        products: Array = np.dot(X, self.vectors.T)
        if self.kernel == "linear":
            return products
        inner: Array = self.gamma * products + self.coef0
        powers: Array = inner**self.degree if self.kernel == "poly" else np.tanh(inner)
        return powers

    def _votes(self, values: Array) -> Array:
        assert self.classes is not None
        votes = np.zeros((len(values), len(self.classes)))
        for pair, (first, second) in enumerate(zip(self._first, self._second, strict=True)):
            won = values[:, pair] > 0
            votes[:, first] += won
            votes[:, second] += ~won
        return votes

    def _one_against_rest(self, values: Array) -> Array:
        """Turn pairs into one score a class, as ``sklearn.utils.multiclass`` does."""
        assert self.classes is not None
        votes = np.zeros((len(values), len(self.classes)))
        sums = np.zeros_like(votes)
        for pair, (first, second) in enumerate(zip(self._first, self._second, strict=True)):
            column = values[:, pair]
            sums[:, first] += column
            sums[:, second] -= column
            lost = column < 0
            votes[:, first] += ~lost
            votes[:, second] += lost
        scores: Array = votes + sums / (3 * (np.abs(sums) + 1))
        return scores

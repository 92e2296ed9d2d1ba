"""Linear models in numpy: the same products and sums that scikit-learn computes, and nothing around them."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from scipy.special import expit

from service.runtimes.forms import Array, agree, agree_on_labels

Link: TypeAlias = Literal["softmax", "sigmoid"]


@dataclass(eq=False)
class Linear:
    """``X @ coef.T + intercept``, and for a classifier its labels and probabilities.

    :param coef: (n_features,) or (n_outputs, n_features), as the estimator has it.
    :param intercept: scalar or (n_outputs,).
    :param classes: (n_classes,), or ``None`` for a regressor.
    :param link: what makes probabilities of scores, where there are some.
    """

    coef: Array
    intercept: Array
    classes: Array | None
    link: Link | None
    methods: tuple[str, ...] = field(init=False)
    size_bytes: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        agree(self.coef.ndim in {1, 2} and self.intercept.ndim <= 1, "a number for each feature, and each output")
        agree_on_labels(self.classes)
        self._weights = self.coef.T
        self.methods = ("predict",) if self.classes is None else ("predict", "decision_function")
        if self.link is not None:
            self.methods += ("predict_proba",)

    def run(self, X: Array, method: str) -> Array:
        """Return the method's answer for each row."""
        scores: Array = X.dot(self._weights) + self.intercept
        if self.classes is None:
            return scores
        if scores.ndim > 1 and scores.shape[1] == 1:
            scores = scores.reshape(-1)
        if method == "decision_function":
            return scores
        if method == "predict_proba":
            return softmax(scores) if self.link == "softmax" else two_sided(expit(scores))
        indices = scores.argmax(axis=1) if scores.ndim > 1 else (scores > 0).astype(np.intp)
        return self.classes.take(indices)


def softmax(scores: Array) -> Array:
    """Return the softmax of each row, computed as ``sklearn.utils.extmath.softmax`` does."""
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    return scores


def two_sided(positive: Array) -> Array:
    """Return (n_samples, 2): the probability of each of two classes."""
    return np.column_stack((1 - positive, positive))

"""What scikit-learn makes of the sums over the leaves of an ensemble of trees, whatever adds them up."""

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from scipy.special import expit

from service.runtimes.forms import Array, DeclinedError, Sums, agree_on_labels
from service.runtimes.linear import softmax, two_sided

_HALF: Final = 0.5


@dataclass(eq=False)
class Ensemble:
    """A tree or an ensemble of trees.

    :param sums: adds up the leaves that rows come to.
    :param dtype: what rows are rounded to before they meet a threshold; scikit-learn
        rounds to float32 in every tree but those over binned features.
    :param classes: (n_classes,), or ``None`` for a regressor.
    :param averages: whether the sums are an answer already, as in a forest.
    """

    sums: Sums
    dtype: Literal["float32", "float64"]
    classes: Array | None
    averages: bool
    methods: tuple[str, ...] = field(init=False)
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        agree_on_labels(self.classes)
        self._dtype = np.dtype(self.dtype)
        self.size_bytes = self.sums.size_bytes
        self.methods = ("predict",)
        if self.classes is not None:
            self.methods += ("predict_proba",) if self.averages else ("predict_proba", "decision_function")

    def run(self, X: Array, method: str) -> Array:
        """Return the method's answer for each row.

        :raises DeclinedError: a value is too large for float32, which scikit-learn refuses.
        """
        sums = self._summed(X)
        if self.classes is None:
            return sums.reshape(-1)
        if method == "decision_function":
            return sums
        if method == "predict_proba":
            return self._probabilities(sums)
        if self.averages or sums.ndim > 1:
            chosen: Array = np.argmax(sums, axis=1)
        elif self._dtype == np.float32:
            chosen = (sums >= 0).astype(np.intp)
        else:
            # Over binned features scikit-learn compares the probability, which is one half a little before zero.
            chosen = (expit(sums) > _HALF).astype(np.intp)
        predicted: Array = self.classes.take(chosen)
        return predicted

    def _summed(self, X: Array) -> Array:
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(X, dtype=self._dtype)
        if self._dtype == np.float32 and np.isinf(rows).any():
            raise DeclinedError
        sums = self.sums(rows)
        return sums[:, 0] if sums.shape[1] == 1 else sums

    def _probabilities(self, sums: Array) -> Array:
        if self.averages:
            return sums
        return two_sided(expit(sums)) if sums.ndim == 1 else softmax(sums)

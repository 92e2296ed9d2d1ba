"""Isolation forests: what scikit-learn makes of how deep a row falls in each tree."""

from dataclasses import dataclass, field

import numpy as np

from service.runtimes.forms import Array, DeclinedError
from service.runtimes.leaves import Leaves


@dataclass(eq=False)
class Isolation:
    """An isolation forest.

    :param depths: adds up the depths.
    :param deepest: what the sum is divided by, 0 where a single row was fitted.
    :param offset: the score below which a row is an outlier.
    """

    depths: Leaves
    deepest: float
    offset: float
    methods: tuple[str, ...] = field(init=False, default=("predict", "decision_function", "score_samples"))
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.size_bytes = self.depths.size_bytes

    def run(self, X: Array, method: str) -> Array:
        """Return the method's answer for each row.

        :raises DeclinedError: a value is too large for float32, which scikit-learn takes for infinite.
        """
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(X, dtype=np.float32)
        if np.isinf(rows).any():
            raise DeclinedError
        depths = self.depths(rows)[:, 0]
        scores: Array = -(2 ** -(depths / self.deepest if self.deepest else np.ones_like(depths)))
        if method == "score_samples":
            return scores
        values = scores - self.offset
        return np.where(values < 0, -1, 1) if method == "predict" else values

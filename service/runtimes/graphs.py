"""Other estimators as ONNX graphs, for ONNX Runtime on one thread."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from service.runtimes.forms import Array, DeclinedError, agree, agree_on_labels
from service.runtimes.sessions import Session

Dtype: TypeAlias = Literal["float64", "float32"]


@dataclass(eq=False)
class Graph:
    """A graph whose first output is the label or the value, and whose second the probabilities.

    :param model: the serialised ONNX model.
    :param classes: the estimator's labels, ``None`` for a regressor.
    :param dtype: what the graph takes.
    :param places: whether the graph answers the places of labels instead of labels.
    """

    model: bytes
    classes: Array | None
    dtype: Dtype
    places: bool
    methods: tuple[str, ...] = field(init=False)
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        agree_on_labels(self.classes)
        self.methods = ("predict",) if self.classes is None else ("predict", "predict_proba")
        self._dtype = np.dtype(self.dtype)
        self._session = Session(self.model)
        self.size_bytes = self._session.size_bytes
        agree(len(self._session.outputs) >= len(self.methods), "an output for each method")

    def run(self, X: Array, method: str) -> Array:
        """Return the method's answer for each row.

        :raises DeclinedError: a value is too large for the graph.
        """
        name = self._session.outputs[method == "predict_proba"]
        answer = self._session.run(self._rows(X), name)
        if self.classes is not None and method == "predict":
            return self._labels(self.classes, answer.reshape(-1))
        if answer.dtype == np.float32:
            answer = answer.astype(np.float64)
        return answer.reshape(-1) if self.classes is None and answer.shape[1:] == (1,) else answer

    def _labels(self, classes: Array, answer: Array) -> Array:
        """Return labels of the estimator's own type; some converters give labels whatever they are asked for."""
        return classes.take(answer) if self.places and answer.dtype == np.int64 else answer.astype(classes.dtype)

    def _rows(self, X: Array) -> Array:
        if self._dtype == X.dtype:
            return X
        with np.errstate(over="ignore"):
            rows = X.astype(self._dtype)
        if np.isinf(rows).any():
            raise DeclinedError
        return rows

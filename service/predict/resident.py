"""What the child that holds a version does: it loads the version's own file, and runs it for whoever is attached.

Rows of several callers that wait for the same method are answered in one call, because
most of what a call of scikit-learn takes does not depend on the number of its rows. Each
of them has the answer that it would have had alone: labels are equal, floats are within
``service.runtimes.policy.ABSOLUTE``, since a product of matrices may be summed up in
another order. Estimators of which that is not true are listed, and run for one at a time.
"""

import contextlib
import gc
import warnings
from collections import deque
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
from sklearn.decomposition import NMF, MiniBatchNMF
from sklearn.dummy import DummyClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - without it there is no IterativeImputer.
from sklearn.impute import IterativeImputer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from service.artifacts import serialization
from service.artifacts.outputs import is_sparse, refuse_large
from service.confinement import wire
from service.confinement.board import MOST_RUNNING
from service.confinement.child import Reply
from service.confinement.resident import Request
from service.errors import Invalid, ModelwardError
from service.predict.anatomy import reachable
from service.predict.arrays import decode, encode
from service.runtimes.derivation.derive import derive
from service.runtimes.forms import DeclinedError, Form

MOST_ROWS: Final = 1024
"""Rows that are answered together at most; beyond, one call costs what its rows cost."""

_CALLS_UNTIL_WARM: Final = 10

_DRAWING: Final = (DummyClassifier, IterativeImputer)
"""They may draw random numbers for each answer."""

_JOINT: Final = (NMF, MiniBatchNMF)
"""They stop when all rows together are good enough."""


def load(_header: dict[str, Any], body: bytearray) -> "ResidentVersion":
    """Return the version whose canonical file ``body`` is; it is cleared once it is read."""
    data = bytes(body)
    body.clear()
    # Every child begins with what the fork server had drawn.
    np.random.seed()
    estimator = serialization.load(data)
    # A warning would be written to nowhere, after a look for source files that no child can open.
    warnings.simplefilter("ignore")
    return ResidentVersion(estimator)


def warm() -> None:  # pragma: no cover - the environment of a fork server names no measurement.
    """Load and run a version once, for the fork server.

    What the interpreter writes down at its first calls is then shared by all children,
    which are a megabyte smaller for it, and quicker at their own first call.
    """
    nobody: Any = None
    with warnings.catch_warnings():
        version = load({}, bytearray(serialization.dump(_example())))
    for method in ("predict", "predict_proba"):
        for rows in (1, 2):
            described, parts = encode(np.zeros((rows, 2)))
            header = {"method": method, "rows": {**described, "shape": [rows, 2]}}
            request = Request(nobody, 0, header, bytearray(b"".join(parts)))
            for _ in range(_CALLS_UNTIL_WARM):
                version.answer(version.choose(deque([request, request])))


def _example() -> Any:
    """Return an estimator of which most of what others run is run, too."""
    X = np.array([[0.0, 1.0], [1.0, 0.0], [0.2, 0.9], [0.8, 0.1]])
    return make_pipeline(StandardScaler(), KNeighborsClassifier(1)).fit(X, [0, 1, 0, 1])


class ResidentVersion:
    """A loaded version: scikit-learn's own methods, and forms that are derived when they are first asked for.

    :param estimator: nothing else may use it from now on.
    """

    def __init__(self, estimator: Any) -> None:
        parts = list(reachable(estimator))
        self._together = not any(isinstance(each, _DRAWING + _JOINT) for each in parts)
        _forget_names(parts)
        self._estimator = estimator
        self._forms: dict[str, Form | None] = {}

    def choose(self, waiting: deque[Request]) -> list[Request]:
        """Take the first, and with it others that ask the same of rows of the same type and width."""
        first = waiting.popleft()
        chosen, rows = [first], _rows(first)
        question = self._question(first)
        if question is None or not waiting:
            return chosen
        for request in list(waiting):
            if len(chosen) == MOST_RUNNING:
                break
            if self._question(request) == question and rows + _rows(request) <= MOST_ROWS:
                waiting.remove(request)
                chosen.append(request)
                rows += _rows(request)
        return chosen

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Return a reply to each; where they cannot be answered together, each is answered alone."""
        if len(requests) > 1:
            # Whose rows it was, where one of them raises, is found by asking for each.
            with contextlib.suppress(Exception):
                return self._answer_together(requests)
        return [self._answer_alone(request) for request in requests]

    def _question(self, request: Request) -> tuple[Any, ...] | None:
        """Return what requests must have in common to be answered together, ``None`` where nothing may be."""
        header = request.header
        rows = header["rows"]
        if header.get("alone") or not self._together:
            return None
        return header["method"], header.get("form"), rows.get("dtype"), rows["shape"][1:]

    def _answer_together(self, requests: Sequence[Request]) -> list[Reply]:
        each = [decode(request.header["rows"], request.body) for request in requests]
        X = np.concatenate(each)
        values = self._run(requests[0].header, X)
        ends = list(accumulate(map(len, each), initial=0))
        return [_reply(_cut(values, len(X), start, end)) for start, end in pairwise(ends)]

    def _answer_alone(self, request: Request) -> Reply:
        try:
            return _reply(self._run(request.header, decode(request.header["rows"], request.body)))
        except ModelwardError as error:
            return wire.describe(error), ()
        except MemoryError:
            gc.collect()
            return wire.describe(_too_little_memory()), ()
        except Exception as error:  # noqa: BLE001 - what an estimator raises depends on its steps.
            return {"failed": type(error).__name__}, ()

    def _run(self, header: dict[str, Any], X: np.ndarray[Any, Any]) -> Any:
        method, name = header["method"], header.get("form")
        form = self._form(name) if name is not None else None
        if form is not None:
            try:
                return form.run(X, method)
            except DeclinedError:
                pass
        return getattr(self._estimator, method)(X)

    def _form(self, name: str) -> Form | None:
        if name not in self._forms:
            self._forms[name] = derive(self._estimator, {name}).get(name)
        return self._forms[name]


def _forget_names(parts: Sequence[object]) -> None:
    """Drop the feature names, which the signature has checked: scikit-learn would warn at each array without them.

    Steps that hand data frames to each other (``set_output``) need theirs.
    """
    states = [vars(each) for each in parts if hasattr(each, "__dict__")]
    handed = {state.get("_sklearn_output_config", {}).get("transform", "default") for state in states}
    if handed <= {"default"}:
        for state in states:
            state.pop("feature_names_in_", None)


def _rows(request: Request) -> int:
    shape: list[int] = request.header["rows"]["shape"]
    return shape[0]


def _reply(values: Any) -> Reply:
    if is_sparse(values):
        # What no answer could hold is not made dense first.
        refuse_large([values])
    described, parts = encode(values)
    return {"values": described}, parts


def _cut(values: Any, rows: int, start: int, end: int) -> Any:
    """Return the answers for some of the rows.

    :raises ValueError: there is not one for each.
    """
    if isinstance(values, list):
        return [_cut(each, rows, start, end) for each in values]
    if values.shape[0] != rows:
        raise ValueError("there is not one answer for each row")
    return values[start:end]


def _too_little_memory() -> Invalid:
    return Invalid(
        "The model needs more memory for these rows than its process may use; send fewer rows.",
        code="prediction_failed",
    )

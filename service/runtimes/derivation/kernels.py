"""Support vector machines, from libsvm's own coefficients."""

from typing import Any, Final

import numpy as np
from sklearn.svm import SVC, SVR, NuSVC, NuSVR

from service.runtimes.forms import Array, UnfitError
from service.runtimes.kernels import Kernel

LARGEST_PRODUCT: Final = 4_000_000
"""Pairs of classes times support vectors; a dense table larger than that would not pay."""


def derive(estimator: Any) -> Kernel | None:
    """Return the form of a support vector machine, or ``None`` where the estimator is none.

    :raises UnfitError: its table would be too large.
    """
    classifier = type(estimator) in {SVC, NuSVC}
    fits = classifier or type(estimator) in {SVR, NuSVR}
    if not fits or estimator.kernel not in {"linear", "rbf", "poly", "sigmoid"} or estimator._sparse:  # noqa: SLF001
        return None
    if classifier and estimator.break_ties:
        return None
    dual = np.asarray(estimator._dual_coef_)
    return Kernel(
        vectors=np.ascontiguousarray(estimator.support_vectors_),
        weights=_pairwise(dual, np.asarray(estimator.n_support_)) if classifier else dual,
        intercept=np.asarray(estimator._intercept_),
        classes=estimator.classes_ if classifier else None,
        kernel=estimator.kernel,
        gamma=float(estimator._gamma),  # noqa: SLF001 - what ``gamma="scale"`` came to.
        degree=int(estimator.degree),
        coef0=float(estimator.coef0),
        shape=estimator.decision_function_shape if classifier else None,
    )


def _pairwise(dual: Array, n_support: Array) -> Array:
    """Spread libsvm's coefficients, (n_classes - 1, n_support), to one row for each pair of classes."""
    count = len(n_support)
    ends = np.cumsum(n_support)
    spans = [slice(end - size, end) for end, size in zip(ends, n_support, strict=True)]
    pairs = [(first, second) for first in range(count) for second in range(first + 1, count)]
    if len(pairs) * dual.shape[1] > LARGEST_PRODUCT:
        raise UnfitError(f"its table of {len(pairs)} pairs of classes by {dual.shape[1]} vectors would be too large")
    weights = np.zeros((len(pairs), dual.shape[1]))
    for row, (first, second) in zip(weights, pairs, strict=True):
        row[spans[first]] = dual[second - 1, spans[first]]
        row[spans[second]] = dual[first, spans[second]]
    return weights

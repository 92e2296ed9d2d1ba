"""Numbers that were learnt: finite, but for the attributes where scikit-learn keeps a gap on purpose."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

from service.artifacts.validation.contents import Held
from service.errors import Finding

MAY_HAVE_GAPS: Final = frozenset(
    {
        "bin_thresholds_",
        "categories_",
        "class_log_prior_",
        "cv_results_",
        "feature_log_prob_",
        "missing_values_",
        "statistics_",
    }
)
"""A gap, or minus infinity for the logarithm of zero, has a meaning there."""


def unsound_numbers(held: Sequence[Held]) -> Iterator[Finding]:
    """Yield each fitted attribute that holds a number which is not finite."""
    for item in held:
        if not isinstance(item.owner, BaseEstimator) or item.attribute in MAY_HAVE_GAPS:
            continue
        learnt = item.attribute.endswith("_") and not item.attribute.startswith("_")
        if learnt and not _finite(item.value):
            yield Finding(item.at, "holds a number that is not finite")


def _finite(value: Any) -> bool:
    if sparse.issparse(value):
        value = value.data
    if isinstance(value, np.ndarray):
        return value.dtype.kind != "f" or bool(np.isfinite(value).all())
    return not isinstance(value, float | np.floating) or bool(np.isfinite(value))

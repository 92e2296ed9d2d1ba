"""How far a compiled form's answers may be from scikit-learn's: the tenant's choice for each model."""

from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Policy: TypeAlias = Literal["exact", "tolerance"]

NATIVE: Final = "native"
"""What stands for scikit-learn itself among the names of forms."""

ISOLATED: Final = "isolated"
"""What a version shows whose predictions scikit-learn itself computes, in a process of the model's own."""

EXACT: Final = "exact"
TOLERANCE: Final = "tolerance"

ABSOLUTE: Final = 1e-9
"""Under either policy, floats that are nearer than this agree."""

RELATIVE: Final[dict[Policy, float]] = {EXACT: 1e-9, TOLERANCE: 1e-5}
"""How far floats may differ, as a share of what scikit-learn answers."""


def differing(expected: NDArray[Any], given: NDArray[Any], policy: Policy) -> NDArray[np.bool_]:
    """Return for each row whether it differs by more than the policy allows.

    Labels of every kind must be equal. A float agrees where it is within ``ABSOLUTE``, or
    within ``RELATIVE`` of what is expected, or where both are NaN or the same infinity.

    :param expected: what scikit-learn answers, (n_samples, ...).
    :param given: what the form answers; another shape or kind of type is another answer.
    :returns: (n_samples,).
    """
    if expected.shape != given.shape or expected.dtype.kind != given.dtype.kind:
        return np.ones(len(expected), dtype=bool)
    if expected.dtype.kind != "f":
        return _of_rows(expected != given)
    with np.errstate(invalid="ignore"):
        allowed = np.maximum(ABSOLUTE, RELATIVE[policy] * np.abs(expected))
        # An infinity allows everything by this rule, and agrees with itself alone.
        near = (np.abs(expected - given) <= allowed) & np.isfinite(expected)
    return _of_rows(~(near | (expected == given) | (np.isnan(expected) & np.isnan(given))))


def _of_rows(cells: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(cells.reshape(len(cells), -1).any(axis=1))

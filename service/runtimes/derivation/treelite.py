"""Ensembles of trees in treelite, whose evaluator takes tens of microseconds where scikit-learn's takes milliseconds.

treelite adds up the leaves as scikit-learn does, in float64. Its own sigmoid and softmax
work in float32, so what comes after the sum is computed by ``Ensemble``.
"""

import warnings
from typing import Any

import treelite

from service.runtimes.derivation.ensembles import BINNED, SINGLE, fits, of_sums
from service.runtimes.derivation.rows import known_values
from service.runtimes.ensembles import Ensemble
from service.runtimes.forms import UnfitError
from service.runtimes.treelite import TreeliteLeaves


def derive(estimator: Any) -> Ensemble | None:
    """Return the form of an ensemble of trees, or ``None`` where the estimator is none that fits.

    :raises UnfitError: treelite does not take it.
    """
    kind = type(estimator)
    if not fits(estimator) or kind in SINGLE:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = treelite.sklearn.import_model(estimator).serialize_bytes()
    except MemoryError:
        raise
    except Exception as error:
        raise UnfitError(f"treelite does not take it: {error}") from error
    known = known_values(estimator) if kind in BINNED else {}
    return of_sums(estimator, TreeliteLeaves(model, tuple(known.items())))

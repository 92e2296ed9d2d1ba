"""Linear models, from scikit-learn's own coefficients."""

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.linear_model._base import LinearClassifierMixin, LinearModel

from service.runtimes.forms import Array
from service.runtimes.linear import Linear, Link


def derive(estimator: Any) -> Linear | None:
    """Return the form of a linear model, or ``None`` where the estimator is none."""
    if isinstance(estimator, LinearModel) and not isinstance(estimator, LinearClassifierMixin):
        return _form(estimator, None, None)
    if isinstance(estimator, LinearClassifierMixin):
        return _form(estimator, np.asarray(estimator.classes_), _link(estimator))
    return None


def _form(estimator: Any, classes: Array | None, link: Link | None) -> Linear | None:
    coef, intercept = estimator.coef_, np.asarray(estimator.intercept_, dtype=float)
    if not isinstance(coef, np.ndarray) or (classes is not None and classes.ndim != 1):
        return None
    return Linear(coef, intercept, classes, link)


def _link(estimator: Any) -> Link | None:
    many = len(estimator.classes_) > 2  # noqa: PLR2004 - two classes share one score.
    if isinstance(estimator, LogisticRegression):
        return "softmax" if many else "sigmoid"
    if isinstance(estimator, SGDClassifier) and estimator.loss == "log_loss" and not many:
        return "sigmoid"
    return None

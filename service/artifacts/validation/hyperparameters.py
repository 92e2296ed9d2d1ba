"""Hyper-parameters that a served estimator may not have.

This is the place for bounds on what an estimator may cost or reach when it predicts.
"""

from collections.abc import Iterator, Sequence

from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.utils._param_validation import InvalidParameterError

from service.artifacts.validation.contents import Held
from service.errors import Finding


def forbidden_hyperparameters(held: Sequence[Held]) -> Iterator[Finding]:
    """Yield each hyper-parameter that scikit-learn itself would refuse, or that reaches out of the rows."""
    for item in held:
        if not isinstance(item.value, BaseEstimator):
            continue
        if isinstance(item.value, CountVectorizer | HashingVectorizer) and item.value.input != "content":
            yield Finding(f"{item.at}.input", 'must be "content"; anything else reads files of the server')
        yield from _refused_by_itself(item.at, item.value)


def _refused_by_itself(at: str, estimator: BaseEstimator) -> Iterator[Finding]:
    if not hasattr(estimator, "_parameter_constraints"):
        return
    missing = [name for name in type(estimator)._get_param_names() if name not in vars(estimator)]  # noqa: SLF001
    if missing:
        yield Finding(f"{at}.{missing[0]}", "is missing")
        return
    try:
        estimator._validate_params()  # noqa: SLF001 - the public way to it is to fit.
    except InvalidParameterError as error:
        yield Finding(at, str(error)[:300])

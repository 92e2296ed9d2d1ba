"""Fitting, inside the confined child."""

from typing import Final

import numpy as np
import orjson
from sklearn.linear_model import LinearRegression
from sklearn.svm import SVC

from service.artifacts.outputs import typed
from service.errors import Invalid

ESTIMATORS: Final = {"LinearRegression": LinearRegression, "SVC": SVC}


def fit_and_predict(payload: bytes) -> bytes:
    """Fit an estimator, and return its answers for the rows that it was fitted to.

    :param payload: JSON ``{"estimator", "X", "y"}``, checked by ``service.jobs.fit_and_answer``.
    :return: a JSON array with one answer for each row.
    :raises Invalid: scikit-learn cannot fit it.
    """
    asked = orjson.loads(payload)
    X = np.array(asked["X"], dtype=np.float64)
    try:
        answers = ESTIMATORS[asked["estimator"]]().fit(X, np.array(asked["y"])).predict(X)
    except ValueError as error:
        raise Invalid("scikit-learn cannot fit these rows.", code="fitting_failed") from error
    return orjson.dumps(typed(answers), option=orjson.OPT_SERIALIZE_NUMPY)

"""The models that are compared, and rows for them.

It imports scikit-learn and numpy alone, because the environments of other servers import
it as well, to fit the same models with their own scikit-learn.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

SEED = 0


@dataclass(frozen=True)
class Model:
    """A model: its name in a URL, what people call it, and the estimator, which is not fitted yet."""

    slug: str
    name: str
    estimator: Any

    def fitted(self) -> Any:
        """Return the estimator, fitted on scikit-learn's iris data: 150 rows of 4 columns, 3 classes."""
        X, y = load_iris(return_X_y=True)
        return self.estimator.fit(X, y)


MODELS = {
    model.slug: model
    for model in (
        Model("logistic", "LogisticRegression", LogisticRegression(max_iter=500)),
        Model("svc", "scaler + SVC", make_pipeline(StandardScaler(), SVC(random_state=SEED))),
        Model("forest", "RandomForest(100)", RandomForestClassifier(100, random_state=SEED)),
        Model("boosting", "HistGradientBoosting", HistGradientBoostingClassifier(random_state=SEED)),
        Model("neighbours", "KNeighbors", KNeighborsClassifier()),
    )
}


def rows(count: int) -> np.ndarray:
    """Return rows like those that the models were fitted on, with three decimals, ``(count, 4)``."""
    draw = np.random.default_rng(SEED)
    X = load_iris().data
    chosen = X[draw.integers(len(X), size=count)]
    return np.round(np.abs(chosen + draw.normal(0, 0.2, size=chosen.shape)) + 0.1, 3)

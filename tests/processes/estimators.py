"""Real models that the process tests serve, small enough to fit on the spot."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import skops.io
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SPAM = ("win money now", "free prize inside", "cheap pills today", "claim your free money", "you won the prize")
HAM = ("see you at lunch", "the report is ready", "call me tomorrow", "lunch with the team", "minutes of the meeting")


@dataclass(frozen=True)
class Case:
    """A fitted estimator, rows to predict, and what scikit-learn takes them as.

    :param rows: the rows as lists, in the order of the features.
    :param names: the features' names.
    """

    name: str
    estimator: Any
    X: Any
    rows: list[list[Any]]
    names: list[str]
    outputs: list[str]

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The rows by feature name."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]

    @property
    def artifact(self) -> bytes:
        """The `.skops` file that a caller would upload."""
        return bytes(skops.io.dumps(self.estimator))

    def expected(self) -> dict[str, list[Any]]:
        """What scikit-learn itself answers in this process."""
        return {output: getattr(self.estimator, output)(self.X).tolist() for output in self.outputs}


def text_case(seed: int) -> Case:
    """A text pipeline with string labels."""
    texts = [*SPAM, *HAM] if seed % 2 else [*SPAM[:4], *HAM[1:]]
    labels = ["spam" if text in SPAM else "ham" for text in texts]
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression(C=1.0 + seed))
    pipeline.fit(np.array(texts, dtype=object), labels)
    asked = ["free money at lunch", "the meeting about the prize", "unheard words only"]
    return Case(
        "texts",
        pipeline,
        np.array(asked, dtype=object),
        [[text] for text in asked],
        ["text"],
        ["predict", "predict_proba", "decision_function"],
    )


def regression_case(seed: int) -> Case:
    """A regression pipeline on the diabetes data."""
    X, y = load_diabetes(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), Ridge(alpha=1.0 + seed)).fit(X, y)
    return numeric("diabetes", pipeline, X[:20], ["predict"])


def forest_case(seed: int) -> Case:
    """A random forest on the digits data."""
    X, y = load_digits(return_X_y=True)
    forest = RandomForestClassifier(n_estimators=20, max_depth=8, random_state=seed).fit(X[:600], y[:600])
    return numeric("digits", forest, X[600:620], ["predict", "predict_proba"])


def numeric(name: str, estimator: Any, X: np.ndarray, outputs: list[str]) -> Case:
    return Case(name, estimator, X, X.tolist(), [f"x{column}" for column in range(X.shape[1])], outputs)


def constant(value: float, features: int = 2) -> bytes:
    """A `.skops` file whose model answers ``value`` to every row of so many numbers."""
    X = np.eye(features + 1, features)
    return bytes(skops.io.dumps(LinearRegression().fit(X, np.full(features + 1, value))))

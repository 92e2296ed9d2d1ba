"""Every estimator of scikit-learn, fitted on a few dozen rows, and a thousand rows to ask it for."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn import linear_model, preprocessing
from sklearn.decomposition import SparseCoder
from sklearn.feature_selection import SelectFromModel, SequentialFeatureSelector
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.utils import all_estimators

from tests.artifacts import corpus

ROWS = 1000

TEXT = {"CountVectorizer", "HashingVectorizer", "TfidfVectorizer"}
COUNTED = {"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}
"""Those that take columns of categories, and refuse what they do not know."""

POSITIVE = corpus.POSITIVE_INPUTS | {
    "AdditiveChi2Sampler",
    "BernoulliRBM",
    "LatentDirichletAllocation",
    "MiniBatchNMF",
    "NMF",
    "SkewedChi2Sampler",
    "TfidfTransformer",
}

NO_ROWS = {
    "DictVectorizer": "takes dictionaries, which are not served",
    "FeatureHasher": "takes dictionaries, which are not served",
    "LabelBinarizer": "transforms targets, and no pipeline can hold it",
    "LabelEncoder": "transforms targets, and no pipeline can hold it",
    "MultiLabelBinarizer": "transforms targets, and no pipeline can hold it",
    "PLSSVD": "gives two arrays when it is fitted, and no pipeline can hold it",
    "PatchExtractor": "takes images, which are no rows",
}
"""Transformers that no request could have rows for."""

WITHOUT_PREDICT = {
    "AgglomerativeClustering",
    "ClassicalMDS",
    "DBSCAN",
    "EmpiricalCovariance",
    "GraphicalLasso",
    "GraphicalLassoCV",
    "HDBSCAN",
    "KernelDensity",
    "LedoitWolf",
    "MDS",
    "MinCovDet",
    "NearestNeighbors",
    "OAS",
    "OPTICS",
    "ShrunkCovariance",
    "SpectralBiclustering",
    "SpectralClustering",
    "SpectralCoclustering",
    "SpectralEmbedding",
    "TSNE",
}
"""Those that neither predict nor transform rows that they have not seen."""

CLASSES = corpus.Y
NAMES = np.array(["setosa", "versicolor", "virginica"])
TEXTS = np.array(corpus.WORDS, dtype=object)
PLAIN = linear_model.LogisticRegression(max_iter=1000)

STEPS: dict[str, Callable[[type], Any]] = {
    "ColumnTransformer": lambda found: found([("s", preprocessing.StandardScaler(), [0, 2])], remainder="passthrough"),
    "FeatureUnion": lambda found: found([("s", preprocessing.StandardScaler()), ("m", preprocessing.MaxAbsScaler())]),
    "HashingVectorizer": lambda found: found(n_features=64),
    "KBinsDiscretizer": lambda found: found(3, quantile_method="averaged_inverted_cdf"),
    "KernelPCA": lambda found: found(3, kernel="rbf"),
    "MissingIndicator": lambda found: FeatureUnion(
        [("gaps", found(features="all")), ("filled", preprocessing.FunctionTransformer())]
    ),
    "QuantileTransformer": lambda found: found(n_quantiles=10),
    "SelectFromModel": lambda _: SelectFromModel(PLAIN),
    "SequentialFeatureSelector": lambda _: SequentialFeatureSelector(PLAIN, n_features_to_select=2),
    "SparseCoder": lambda _: SparseCoder(np.eye(5)),
}
"""How a transformer is made that takes an argument, or cannot stand in front of a classifier alone."""


@dataclass(frozen=True)
class Case:
    """An estimator that is fitted, and rows to ask it for.

    :param of: the class that the case is about, which may be a step of ``estimator``.
    :param rows: as a request has them.
    :param X: as the estimator takes them.
    :param metadata: what has to be said at the upload.
    """

    of: str
    estimator: Any
    rows: list[list[Any]]
    X: Any
    metadata: dict[str, Any] = field(default_factory=dict)


def names() -> dict[str, type]:
    """Every estimator class of scikit-learn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(all_estimators())


def case(name: str, found: type) -> Case:
    """The class, fitted: alone where it predicts, in front of a classifier where it only transforms."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in corpus.predictors():
            return _numeric(name, corpus.fitted(name, found))
        if name in WITHOUT_PREDICT:
            return _numeric(name, found().fit(corpus.POSITIVE))
        if name in TEXT:
            estimator = make_pipeline(_step(name, found), PLAIN).fit(TEXTS, corpus.MOODS)
            words = np.random.default_rng(0).choice(TEXTS, ROWS)
            return Case(name, estimator, [[word] for word in words], words)
        return _numeric(name, make_pipeline(_step(name, found), PLAIN).fit(_training(name), NAMES[CLASSES]))


def _step(name: str, found: type) -> Any:
    return STEPS[name](found) if name in STEPS else _configured(found)


def _configured(found: type) -> Any:
    estimator = found()
    known = estimator.get_params(deep=False)
    chosen = {"n_estimators": 5, "max_iter": 50, "random_state": 0, "n_components": 2, "quantile_method": "linear"}
    return estimator.set_params(**{name: value for name, value in chosen.items() if name in known})


def _training(name: str) -> Any:
    if name == "KernelCenterer":
        return corpus.X @ corpus.X.T
    if name in COUNTED:
        return np.abs(np.round(corpus.X))
    return corpus.POSITIVE if name in POSITIVE else corpus.X


def _numeric(name: str, estimator: Any) -> Case:
    random = np.random.default_rng(0)
    X = random.choice(_training(name), ROWS)
    if name not in COUNTED:
        X = X + random.normal(0, 0.3, X.shape)
        X[: ROWS // 4] = np.round(X[: ROWS // 4])
        X[ROWS // 4 : ROWS // 2] = np.round(X[ROWS // 4 : ROWS // 2], 1)
    if name in POSITIVE:
        X = np.abs(X)
    if name == "CategoricalNB":
        # What it was not fitted with is beyond its table, and it does not look.
        X = np.minimum(X, corpus.POSITIVE.max(axis=0))
    if name == "IsotonicRegression":
        X = X[:, :1]
    return Case(name, estimator, X.tolist(), X)

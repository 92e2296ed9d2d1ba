"""Honest estimators: every one of scikit-learn's that can predict, and the pipelines people build of them."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import (
    cluster,
    datasets,
    decomposition,
    ensemble,
    kernel_approximation,
    linear_model,
    naive_bayes,
    neighbors,
    preprocessing,
    svm,
)
from sklearn.base import is_classifier, is_outlier_detector
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold, chi2, f_classif
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
    TargetEncoder,
)
from sklearn.utils import all_estimators

X, Y = datasets.make_classification(
    n_samples=60, n_features=5, n_informative=3, n_redundant=0, n_classes=3, n_clusters_per_class=1, random_state=0
)
POSITIVE = np.abs(X)
WORDS = [f"{good} film number {n}" for n, good in enumerate(["good", "bad"] * 20)]
MOODS = ["happy" if n % 2 == 0 else "sad" for n in range(40)]
MIXED = np.array([[float(n % 7), "abc"[n % 3], float(n)] for n in range(40)], dtype=object)

LOGISTIC = linear_model.LogisticRegression()
RIDGE = linear_model.Ridge()

ARGUMENTS: dict[str, dict[str, Any]] = {
    "ClassifierChain": {"estimator": LOGISTIC},
    "FixedThresholdClassifier": {"estimator": LOGISTIC},
    "FrozenEstimator": {"estimator": linear_model.LogisticRegression().fit(X, Y)},
    "GridSearchCV": {"estimator": RIDGE, "param_grid": {"alpha": [0.1, 1.0]}},
    "MultiOutputClassifier": {"estimator": LOGISTIC},
    "MultiOutputRegressor": {"estimator": RIDGE},
    "OneVsOneClassifier": {"estimator": LOGISTIC},
    "OneVsRestClassifier": {"estimator": LOGISTIC},
    "OutputCodeClassifier": {"estimator": LOGISTIC},
    "Pipeline": {"steps": [("scale", StandardScaler()), ("fit", LOGISTIC)]},
    "RANSACRegressor": {"estimator": linear_model.LinearRegression()},
    "RFE": {"estimator": LOGISTIC},
    "RFECV": {"estimator": LOGISTIC},
    "RandomizedSearchCV": {"estimator": RIDGE, "param_distributions": {"alpha": [0.1, 1.0, 2.0]}, "n_iter": 2},
    "RegressorChain": {"estimator": RIDGE},
    "SelfTrainingClassifier": {"estimator": LOGISTIC},
    "StackingClassifier": {"estimators": [("a", LOGISTIC), ("b", naive_bayes.GaussianNB())]},
    "StackingRegressor": {"estimators": [("a", RIDGE), ("b", svm.SVR())]},
    "TunedThresholdClassifierCV": {"estimator": LOGISTIC},
    "VotingClassifier": {"estimators": [("a", LOGISTIC), ("b", naive_bayes.GaussianNB())], "voting": "soft"},
    "VotingRegressor": {"estimators": [("a", RIDGE), ("b", svm.SVR())]},
    "LocalOutlierFactor": {"novelty": True},
    "RadiusNeighborsClassifier": {"outlier_label": 0},
    "DummyClassifier": {"strategy": "prior"},
    "OrthogonalMatchingPursuitCV": {"max_iter": 3},
    "BaggingClassifier": {"max_features": 0.6, "n_estimators": 4},
}
POSITIVE_INPUTS = {"CategoricalNB", "MultinomialNB", "ComplementNB", "GammaRegressor", "PoissonRegressor"}
TWO_CLASSES = {"FixedThresholdClassifier", "TunedThresholdClassifierCV"}
TWO_TARGETS = {
    "CCA",
    "ClassifierChain",
    "MultiOutputClassifier",
    "MultiOutputRegressor",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "PLSCanonical",
    "RegressorChain",
}
NOT_ADMITTED = {
    "Birch": "skops cannot write its tree of subclusters",
}
"""Estimators with ``predict`` that no upload can hold, and why."""


def predictors() -> dict[str, type]:
    """Every estimator class of scikit-learn that can have ``predict``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: found for name, found in all_estimators() if hasattr(found, "predict") or name in ARGUMENTS}


def fitted(name: str, found: type) -> Any:
    """An instance of the class, fitted on a few dozen rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = found(**ARGUMENTS.get(name, {}))
        for parameter, value in (("n_estimators", 5), ("max_iter", 50), ("random_state", 0)):
            if parameter in estimator.get_params(deep=False) and parameter not in ARGUMENTS.get(name, {}):
                estimator.set_params(**{parameter: value})
        rows = X[:, 0] if name == "IsotonicRegression" else POSITIVE if name in POSITIVE_INPUTS else X
        return estimator.fit(rows, _targets(name, estimator))


def _targets(name: str, estimator: Any) -> Any:
    if name in TWO_CLASSES:
        return Y > 0
    if name in TWO_TARGETS:
        return np.column_stack([Y, Y[::-1]]) if is_classifier(estimator) else np.column_stack([X[:, 0], X[:, 1]])
    if is_classifier(estimator) or is_outlier_detector(estimator):
        return Y
    return np.abs(X @ np.arange(1.0, 6.0)) + 1.0


def _columns(numeric: Any, words: Any) -> ColumnTransformer:
    return ColumnTransformer([("numbers", numeric, [0, 2]), ("words", words, [1])])


PIPELINES: dict[str, Callable[[], Any]] = {
    "text with counts": lambda: make_pipeline(CountVectorizer(), naive_bayes.MultinomialNB()).fit(WORDS, MOODS),
    "text with tf-idf": lambda: make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LOGISTIC).fit(WORDS, MOODS),
    "text hashed": lambda: make_pipeline(HashingVectorizer(n_features=64), linear_model.SGDClassifier()).fit(
        WORDS, MOODS
    ),
    "union of texts": lambda: Pipeline(
        [("u", FeatureUnion([("c", CountVectorizer()), ("t", TfidfVectorizer(analyzer="char"))])), ("m", LOGISTIC)]
    ).fit(WORDS, MOODS),
    "columns": lambda: make_pipeline(
        _columns(make_pipeline(SimpleImputer(), StandardScaler()), OneHotEncoder(handle_unknown="ignore")), LOGISTIC
    ).fit(MIXED, MOODS),
    "columns with a forest": lambda: make_pipeline(
        _columns("passthrough", OrdinalEncoder()),
        ensemble.RandomForestClassifier(n_estimators=5, random_state=0),
    ).fit(MIXED, MOODS),
    "columns by target": lambda: make_pipeline(_columns("drop", TargetEncoder()), LOGISTIC).fit(MIXED, MOODS),
    "selected features": lambda: make_pipeline(
        MinMaxScaler(), SelectKBest(chi2, k=3), SelectKBest(f_classif, k=2), PolynomialFeatures(2), LOGISTIC
    ).fit(X, Y),
    "search over a pipeline": lambda: GridSearchCV(
        make_pipeline(StandardScaler(), PCA(), svm.SVC()), {"svc__C": [0.1, 1.0], "pca__n_components": [2, 3]}, cv=3
    ).fit(X, Y),
    "several scores": lambda: GridSearchCV(
        RIDGE, {"alpha": [0.1, 1.0]}, scoring=["r2", "neg_mean_squared_error"], refit="r2"
    ).fit(X, Y),
    "identity": lambda: make_pipeline(FunctionTransformer(), RIDGE).fit(X, Y),
    "transformed target": lambda: TransformedTargetRegressor(RIDGE, transformer=StandardScaler()).fit(X, Y),
    "boolean labels": lambda: LOGISTIC.fit(X, Y > 0),
    "string labels": lambda: neighbors.KNeighborsClassifier().fit(X, np.array(["a", "b", "c"])[Y]),
    "object labels": lambda: svm.SVC(probability=False).fit(X, np.array(["a", "b", "c"], dtype=object)[Y]),
    "bagged forests": lambda: ensemble.BaggingRegressor(
        ensemble.ExtraTreesRegressor(n_estimators=3), n_estimators=2, max_features=3
    ).fit(X, Y),
    "ball tree": lambda: neighbors.KNeighborsRegressor(algorithm="ball_tree", metric="manhattan").fit(X, Y),
    "histograms with categories": lambda: ensemble.HistGradientBoostingClassifier(
        max_iter=5, categorical_features=[0]
    ).fit(np.column_stack([Y % 3, X]), Y),
    "missing values": lambda: ensemble.HistGradientBoostingRegressor(max_iter=5).fit(np.where(X > 1, np.nan, X), Y),
    "boosting from zero": lambda: ensemble.GradientBoostingClassifier(n_estimators=3, init="zero").fit(X, Y),
    "boosting from an estimator": lambda: ensemble.GradientBoostingClassifier(n_estimators=3, init=LOGISTIC).fit(X, Y),
    "probabilities of a machine": lambda: svm.NuSVC(nu=0.2, kernel="poly").fit(X, Y),
}


def pipeline(name: str) -> Any:
    """One of the pipelines, fitted, and sharing no step with another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return copy.deepcopy(PIPELINES[name]())


TRANSFORMERS: dict[str, Callable[[], Any]] = {
    "AdditiveChi2Sampler": kernel_approximation.AdditiveChi2Sampler,
    "Binarizer": preprocessing.Binarizer,
    "FactorAnalysis": decomposition.FactorAnalysis,
    "FastICA": lambda: decomposition.FastICA(n_components=3, random_state=0),
    "FeatureAgglomeration": cluster.FeatureAgglomeration,
    "IncrementalPCA": decomposition.IncrementalPCA,
    "KBinsDiscretizer": lambda: preprocessing.KBinsDiscretizer(3, encode="ordinal", quantile_method="linear"),
    "KNNImputer": KNNImputer,
    "KernelPCA": lambda: decomposition.KernelPCA(3, kernel="rbf"),
    "LatentDirichletAllocation": lambda: decomposition.LatentDirichletAllocation(2, random_state=0),
    "MaxAbsScaler": preprocessing.MaxAbsScaler,
    "NMF": lambda: decomposition.NMF(2, max_iter=1000, random_state=0),
    "Normalizer": preprocessing.Normalizer,
    "Nystroem": lambda: kernel_approximation.Nystroem(n_components=5, random_state=0),
    "PowerTransformer": preprocessing.PowerTransformer,
    "QuantileTransformer": lambda: preprocessing.QuantileTransformer(n_quantiles=10),
    "RBFSampler": lambda: kernel_approximation.RBFSampler(random_state=0),
    "RobustScaler": preprocessing.RobustScaler,
    "SelectFromModel": lambda: SelectFromModel(ensemble.ExtraTreesClassifier(5, random_state=0)),
    "SplineTransformer": preprocessing.SplineTransformer,
    "TruncatedSVD": lambda: decomposition.TruncatedSVD(2, random_state=0),
    "VarianceThreshold": VarianceThreshold,
}


def transformed(name: str) -> Any:
    """A pipeline of one transformer and a classifier, fitted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_pipeline(TRANSFORMERS[name](), linear_model.LogisticRegression()).fit(POSITIVE, Y)

"""Each form gives scikit-learn's own answers, and is out where it does not."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.semi_supervised import LabelPropagation
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC
from sklearn.tree import DecisionTreeClassifier, ExtraTreeRegressor

from service.runtimes.derivation import forests
from service.runtimes.derivation.derive import NUMPY, ONNX, ONNX_FLOAT32, TREELITE, TRIED, attempt, derive
from service.runtimes.derivation.parity import LEAST_ROWS, ask, compare
from service.runtimes.derivation.rows import rows_for
from service.runtimes.forms import DeclinedError, UnfitError
from service.runtimes.policy import EXACT

IRIS = load_iris(return_X_y=True)
WORDS = (IRIS[0], np.array(["setosa", "versicolor", "virginica"])[IRIS[1]])
CANCER = load_breast_cancer(return_X_y=True)
TRUTHS = (CANCER[0], CANCER[1].astype(bool))
DIABETES = load_diabetes(return_X_y=True)

pytestmark = pytest.mark.usefixtures("one_thread")
GAPPED = (np.where(np.random.default_rng(0).random(CANCER[0].shape) < 0.1, np.nan, CANCER[0]), CANCER[1])
WHOLE = (np.round(IRIS[0]), IRIS[1])
VOTERS = [("a", LogisticRegression(max_iter=1000)), ("b", GaussianNB())]
PLANE = (DIABETES[0], np.column_stack((DIABETES[1], -DIABETES[1])))


@dataclass(frozen=True)
class Case:
    """An estimator, what it is fitted to, and the form that must hold for ``predict``."""

    estimator: BaseEstimator
    data: tuple[Any, Any]
    form: str


CASES = [
    Case(LinearRegression(), DIABETES, NUMPY),
    Case(LinearRegression(), PLANE, NUMPY),
    Case(ElasticNet(), DIABETES, NUMPY),
    Case(LogisticRegression(max_iter=1000), IRIS, NUMPY),
    Case(LogisticRegression(max_iter=1000), WORDS, NUMPY),
    Case(LogisticRegression(max_iter=10000), TRUTHS, NUMPY),
    Case(SGDClassifier(loss="log_loss"), CANCER, NUMPY),
    Case(Perceptron(), WORDS, NUMPY),
    Case(RidgeClassifier(), CANCER, NUMPY),
    Case(LinearSVC(), IRIS, NUMPY),
    Case(SVC(), WORDS, NUMPY),
    Case(SVC(kernel="poly", decision_function_shape="ovo"), IRIS, NUMPY),
    Case(NuSVC(kernel="sigmoid", nu=0.3), CANCER, NUMPY),
    Case(SVC(kernel="linear"), WORDS, NUMPY),
    Case(SVR(), DIABETES, NUMPY),
    Case(make_pipeline(StandardScaler(), SVC()), IRIS, NUMPY),
    Case(make_pipeline(MinMaxScaler(clip=True), LogisticRegression()), CANCER, NUMPY),
    Case(make_pipeline(SimpleImputer(), RobustScaler(), PCA(4), LogisticRegression()), CANCER, NUMPY),
    Case(make_pipeline(MaxAbsScaler(), "passthrough", LinearRegression()), DIABETES, NUMPY),
    Case(RandomForestClassifier(20, random_state=0), WORDS, TREELITE),
    Case(RandomForestRegressor(20, random_state=0), DIABETES, TREELITE),
    Case(ExtraTreesClassifier(20, random_state=0), TRUTHS, TREELITE),
    Case(GradientBoostingClassifier(n_estimators=20), WORDS, TREELITE),
    Case(GradientBoostingClassifier(n_estimators=20), CANCER, TREELITE),
    Case(GradientBoostingRegressor(n_estimators=20), DIABETES, TREELITE),
    Case(HistGradientBoostingClassifier(max_iter=20), IRIS, TREELITE),
    Case(HistGradientBoostingClassifier(max_iter=20), TRUTHS, TREELITE),
    Case(HistGradientBoostingRegressor(max_iter=20), DIABETES, TREELITE),
    Case(make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)), IRIS, TREELITE),
    Case(DecisionTreeClassifier(), WORDS, ONNX),
    Case(DecisionTreeClassifier(), GAPPED, ONNX),
    Case(ExtraTreeRegressor(), DIABETES, ONNX),
    Case(RandomForestClassifier(20, random_state=0), WORDS, ONNX),
    Case(RandomForestClassifier(20, random_state=0), GAPPED, ONNX),
    Case(RandomForestRegressor(20, random_state=0), DIABETES, ONNX),
    Case(ExtraTreesClassifier(20, random_state=0, max_leaf_nodes=2), TRUTHS, ONNX),
    Case(GradientBoostingClassifier(n_estimators=20), WORDS, ONNX),
    Case(GradientBoostingClassifier(n_estimators=20, init="zero"), CANCER, ONNX),
    Case(GradientBoostingRegressor(n_estimators=20), DIABETES, ONNX),
    Case(HistGradientBoostingClassifier(max_iter=20), IRIS, ONNX),
    Case(HistGradientBoostingClassifier(max_iter=20), GAPPED, ONNX),
    Case(HistGradientBoostingRegressor(max_iter=20), DIABETES, ONNX),
    Case(make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)), IRIS, ONNX),
    Case(IsolationForest(n_estimators=20, random_state=0), GAPPED, ONNX),
    Case(IsolationForest(n_estimators=20, max_features=0.5, contamination=0.1, random_state=0), CANCER, ONNX),
    Case(make_pipeline(StandardScaler(), IsolationForest(n_estimators=20, max_samples=1)), IRIS, ONNX),
    Case(GaussianNB(), WORDS, ONNX),
    Case(CalibratedClassifierCV(LinearSVC()), WORDS, ONNX),
    Case(StackingClassifier([("a", LogisticRegression(max_iter=1000)), ("b", GaussianNB())]), WORDS, ONNX),
    Case(make_pipeline(StandardScaler(), VotingClassifier(VOTERS, voting="soft")), IRIS, ONNX),
    Case(BaggingClassifier(LogisticRegression(max_iter=1000), 3), IRIS, ONNX),
    Case(QuadraticDiscriminantAnalysis(), WORDS, ONNX),
    Case(MLPClassifier(random_state=0, max_iter=2000, tol=1e-2), CANCER, ONNX),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{type(case.estimator).__name__}-{case.form}")
def test_every_method_of_a_form_gives_scikit_learns_own_answers(case: Case) -> None:
    X, y = case.data
    estimator = case.estimator.fit(X, y)
    form = derive(estimator, {case.form})[case.form]
    rows = rows_for(estimator, X, gaps=range(X.shape[1]) if X is GAPPED[0] else ())
    assert "predict" in form.methods
    for method in form.methods:
        if hasattr(estimator, method):
            parity = compare(form, method, ask(getattr(estimator, method), rows, 60), EXACT)
            assert parity.holds, (method, parity)
            assert parity.rows >= LEAST_ROWS


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{type(case.estimator).__name__}-{case.form}")
def test_one_row_answers_in_the_same_shape_and_type(case: Case) -> None:
    X, y = case.data
    estimator = case.estimator.fit(X, y)
    form = derive(estimator, {case.form})[case.form]
    for method in form.methods:
        if hasattr(estimator, method):
            expected, given = getattr(estimator, method)(X[:1]), form.run(X[:1], method)
            assert given.shape == expected.shape
            assert given.dtype == expected.dtype


@pytest.mark.parametrize(
    ("estimator", "names"),
    [
        (KNeighborsClassifier(), set()),
        (DecisionTreeClassifier(), {ONNX}),
        (GradientBoostingRegressor(n_estimators=2), {ONNX, TREELITE}),
        (HistGradientBoostingRegressor(max_iter=2, loss="poisson"), set()),
        (SVC(break_ties=True), set()),
        (make_pipeline(PCA(2, whiten=True), LogisticRegression()), {ONNX}),
    ],
)
def test_what_has_no_exact_form_of_its_own_gets_none(estimator: BaseEstimator, names: set[str]) -> None:
    estimator.fit(*IRIS)
    assert set(derive(estimator, TRIED[EXACT])) == names


@pytest.mark.parametrize("wrap", [lambda found: GridSearchCV(found, {}, cv=2), FrozenEstimator])
def test_what_a_search_found_and_what_is_frozen_run_as_what_they_hold(wrap: Callable[[Any], BaseEstimator]) -> None:
    inner = LogisticRegression(max_iter=1000).fit(*IRIS)
    estimator = wrap(inner).fit(*IRIS)
    form = derive(estimator, {NUMPY})[NUMPY]
    np.testing.assert_array_equal(form.run(IRIS[0], "predict_proba"), estimator.predict_proba(IRIS[0]))


def test_an_unknown_category_is_a_gap() -> None:
    random = np.random.default_rng(0)
    X = np.column_stack([random.choice([1.0, 2.0, 7.0], 500), random.normal(size=500)])
    X[::9, 0] = np.nan
    estimator = HistGradientBoostingRegressor(max_iter=20, categorical_features=[0]).fit(X, (X[:, 0] == 2.0) + X[:, 1])
    form = derive(estimator, {TREELITE})[TREELITE]
    for unknown in (1.5, 3.0, -1.0, 1e10):
        X[:, 0] = unknown
        np.testing.assert_allclose(form.run(X, "predict"), estimator.predict(X), rtol=1e-12)


def large_forest() -> RandomForestRegressor:
    random = np.random.default_rng(0)
    X = random.normal(size=(4000, 2))
    return RandomForestRegressor(40, n_jobs=2, random_state=0).fit(X, random.normal(size=4000)).set_params(n_jobs=None)


def test_trees_are_followed_as_scikit_learn_follows_them_to_the_last_digit() -> None:
    random = np.random.default_rng(0)
    for estimator in (RandomForestClassifier(20, random_state=0), HistGradientBoostingRegressor(max_iter=20)):
        estimator.fit(*GAPPED)
        form = derive(estimator, {ONNX})[ONNX]
        rows = np.concatenate([rows_for(estimator, GAPPED[0], range(30), seed) for seed in range(5)])
        rows[random.random(rows.shape) < 0.05] = np.nan
        for method in form.methods:
            np.testing.assert_array_equal(form.run(rows, method), getattr(estimator, method)(rows))


def test_more_nodes_than_a_graph_may_have_are_left_to_treelite() -> None:
    leaf = forests.Grown(*(np.zeros(forests.MOST_NODES + 1),) * 7)
    with pytest.raises(UnfitError, match="nodes"):
        forests.leaves([leaf], [0], 1)


def huge() -> GaussianNB:
    estimator = GaussianNB().fit(*IRIS)
    estimator.theta_ = np.broadcast_to(estimator.theta_[0], (1 << 24, 4))
    return estimator


@pytest.mark.parametrize(
    ("estimator", "name", "reason"),
    [
        (lambda: LabelPropagation().fit(*IRIS), ONNX, "skl2onnx does not convert it"),
        (lambda: BaggingRegressor(n_estimators=2).fit(*IRIS), ONNX, "computes in float32"),
        (huge, ONNX, "arrays take"),
        (large_forest, ONNX_FLOAT32, "nodes"),
        (lambda: GradientBoostingClassifier(n_estimators=1, init=GaussianNB()).fit(*IRIS), TREELITE, "treelite"),
        (lambda: GradientBoostingClassifier(n_estimators=1, init=GaussianNB()).fit(*IRIS), ONNX, "another estimator"),
        (lambda: HistGradientBoostingRegressor(max_iter=2, categorical_features=[0]).fit(*WHOLE), ONNX, "categories"),
        (lambda: IsolationForest(n_estimators=2).fit(IRIS[0]), ONNX_FLOAT32, "skl2onnx does not convert it"),
        (lambda: SVR().fit(*IRIS), ONNX, "float32"),
    ],
)
def test_what_a_form_is_not_made_for_is_said(estimator: Callable[[], Any], name: str, reason: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forms, reasons = attempt(estimator(), {name})
    assert forms == {}
    assert reason in reasons[name]


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (RandomForestClassifier(5), TREELITE),
        (RandomForestClassifier(5), ONNX),
        (IsolationForest(n_estimators=5), ONNX),
        (GaussianNB(), ONNX_FLOAT32),
    ],
)
def test_a_value_beyond_float32_is_left_to_scikit_learn(estimator: BaseEstimator, name: str) -> None:
    form = derive(estimator.fit(*IRIS), {name})[name]
    with pytest.raises(DeclinedError):
        form.run(np.full((1, 4), 1e39), "predict")

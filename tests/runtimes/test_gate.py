"""A form is in where it gives scikit-learn's own answers, and a version's ``runtime`` says why or why not."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from service.runtimes.derivation import choice
from service.runtimes.derivation.derive import ONNX, ONNX_FLOAT32, TREELITE, derive
from service.runtimes.derivation.parity import LEAST_ROWS, Asked, Parity, TooSlowError, ask, compare
from service.runtimes.derivation.rows import rows_for, thresholds_of
from service.runtimes.forms import DeclinedError
from service.runtimes.policy import EXACT, TOLERANCE, differing

IRIS = load_iris(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)

pytestmark = pytest.mark.usefixtures("one_thread")


class Bent:
    """scikit-learn's own answers, bent."""

    methods = ("predict", "predict_proba", "decision_function")
    size_bytes = 0

    def __init__(self, estimator: BaseEstimator, bend: Callable[[Any, Any], Any]) -> None:
        self._estimator = estimator
        self._bend = bend

    def run(self, X: Any, method: str) -> Any:
        return self._bend(X, getattr(self._estimator, method)(X))


def parity_of(bend: Callable[[Any, Any], Any], method: str = "predict_proba", policy: Any = EXACT) -> Parity:
    estimator = LogisticRegression(max_iter=1000).fit(*IRIS)
    asked = ask(getattr(estimator, method), rows_for(estimator, IRIS[0]), 60)
    return compare(Bent(estimator, bend), method, asked, policy)


def decline(X: Any, answer: Any) -> Any:
    if (X[:, 0] > 5.0).any():
        raise DeclinedError
    return answer


def fail(X: Any, answer: Any) -> Any:
    raise RuntimeError("no")


def one_label(X: Any, answer: Any) -> Any:
    return np.where((IRIS[0][77] == X).all(axis=1), 7, answer)


def test_an_answer_that_is_the_same_holds() -> None:
    parity = parity_of(lambda _, answer: answer + 1e-12)
    assert parity.holds
    assert parity.rows >= LEAST_ROWS
    assert 0 < parity.max_abs_diff < 1e-11
    assert parity.max_rel_diff > 0


@pytest.mark.parametrize(
    ("method", "bend", "reason"),
    [
        ("predict_proba", lambda _, answer: answer * (1 + 1e-6), "on row 0"),
        ("predict", one_label, "gives 7 for 2 on row 77"),
        ("predict_proba", lambda _, answer: answer[:, :2], "of shape"),
        ("predict", lambda _, answer: answer.astype(float), "gives float64"),
        ("predict", lambda _, answer: answer if len(answer) > 1 else answer.reshape(1, 1), "of shape (1, 1)"),
        ("predict", fail, "fails after 0 rows: RuntimeError"),
        ("predict", decline, "the form declined"),
    ],
)
def test_one_difference_and_a_form_is_out_with_the_reason(method: str, bend: Any, reason: str) -> None:
    parity = parity_of(bend, method)
    assert not parity.holds
    assert reason in str(parity.dropped)


def test_a_tolerance_is_relative_and_holds_for_floats_alone() -> None:
    assert parity_of(lambda _, answer: answer * (1 + 1e-6), policy=TOLERANCE).holds
    assert not parity_of(lambda _, answer: answer * (1 + 1e-4), policy=TOLERANCE).holds
    flipped = parity_of(one_label, "predict", TOLERANCE)
    assert not flipped.holds
    assert flipped.label_flips >= 1


@pytest.mark.parametrize("policy", [EXACT, TOLERANCE])
def test_infinities_and_gaps_agree_with_themselves_alone(policy: Any) -> None:
    expected = np.array([np.inf, -np.inf, np.nan, np.inf, np.nan, 1.0, 0.0])
    given = np.array([np.inf, -np.inf, np.nan, 1.0, 1.0, np.nan, 1e-10])
    assert differing(expected, given, policy).tolist() == [False, False, False, True, True, True, False]


def test_a_form_that_rounds_once_too_often_is_found_at_the_thresholds() -> None:
    X, y = CANCER
    estimator = HistGradientBoostingClassifier(max_iter=50).fit(X, y)
    form = derive(estimator, {TREELITE})[TREELITE]

    class Rounded(Bent):
        def run(self, X: Any, method: str) -> Any:
            return form.run(X.astype(np.float32).astype(np.float64), method)

    asked = ask(estimator.decision_function, rows_for(estimator, X), 60)
    assert not compare(Rounded(estimator, fail), "decision_function", asked, EXACT).holds


def test_a_form_that_answers_what_scikit_learn_refuses_is_out() -> None:
    X = np.random.default_rng(0).integers(0, 3, (200, 2)).astype(float)
    strict = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(X, X[:, 0])
    lenient = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(X, X[:, 0])
    rows = np.concatenate((np.tile(X, (6, 1)), [[9.0, 9.0]]))
    parity = compare(Bent(lenient, lambda _, answer: answer), "predict", ask(strict.predict, rows, 60), EXACT)
    assert parity.dropped == "answers for a row that scikit-learn refuses"


def test_rows_that_scikit_learn_refuses_cost_no_other_row_its_comparison() -> None:
    estimator = LogisticRegression(max_iter=1000).fit(*IRIS)
    rows = np.tile(IRIS[0], (10, 1))
    rows[[3, 500, 501]] = np.nan
    asked = ask(estimator.predict, rows, 60)
    assert asked.count == 1497
    assert len(asked.refused) == 3


def test_an_estimator_that_refuses_nearly_everything_is_not_asked_for_ever() -> None:
    calls = 0

    def refuse(X: Any) -> Any:
        nonlocal calls
        calls += 1
        raise ValueError

    asked = ask(refuse, np.zeros((5000, 2)), 60)
    assert asked.left_out > 4000
    assert calls < 400


def test_an_estimator_that_is_slow_is_left_native() -> None:
    def slow(X: Any) -> Any:
        end = time.process_time() + 0.01 * len(X)
        while time.process_time() < end:
            pass
        return X[:, 0]

    with pytest.raises(TooSlowError):
        ask(slow, np.zeros((5000, 2)), 0.2)


class Slow(ClassifierMixin, BaseEstimator):
    """A logistic regression that takes its time."""

    def fit(self, X: Any, y: Any) -> "Slow":
        self.inner_ = LogisticRegression(max_iter=1000).fit(X, y)
        self.classes_, self.n_features_in_ = self.inner_.classes_, X.shape[1]
        return self

    def predict(self, X: Any) -> Any:
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        return self.inner_.predict(X)


def test_the_runtime_of_a_slow_estimator_says_that_it_was_not_compared() -> None:
    runtime = choice.choose(Slow().fit(*IRIS), ("predict",), IRIS[0], seconds=0.2)
    assert runtime["backend"] == choice.NATIVE
    assert "takes too long" in runtime["reason"]


class Refusing(Slow):
    def predict(self, X: Any) -> Any:
        raise ValueError


def test_the_runtime_of_what_refuses_every_row_says_so() -> None:
    assert "refuses every row" in choice.choose(Refusing().fit(*IRIS), ("predict",), IRIS[0])["reason"]


def test_the_choice_is_the_fastest_of_what_holds_and_says_why() -> None:
    estimator = RandomForestClassifier(50, random_state=0).fit(*IRIS)
    runtime = choice.choose(estimator, ("predict", "predict_proba"), IRIS[0])
    assert runtime["backend"] == ONNX
    assert runtime["policy"] == EXACT
    assert runtime["parity"]["label_flips"] == 0
    assert runtime["single_row_us"][ONNX] < runtime["single_row_us"][choice.NATIVE]
    assert set(runtime["thousand_rows_us"]) == {ONNX, TREELITE, choice.NATIVE}
    for method in ("predict", "predict_proba"):
        shown = runtime["methods"][method]
        assert shown["one"] == ONNX
        for name in (ONNX, TREELITE):
            assert shown["parity"][name]["holds"]
            assert shown["parity"][name]["rows"] >= LEAST_ROWS
        assert set(shown["single_row_us"]) == set(shown["thousand_rows_us"]) == {ONNX, TREELITE, choice.NATIVE}


def test_an_estimator_without_any_form_stays_native_and_says_how_fast_that_is() -> None:
    runtime = choice.choose(KNeighborsClassifier().fit(*IRIS), ("predict", "predict_proba"), IRIS[0])
    assert runtime["backend"] == choice.NATIVE
    assert runtime["reason"] == "no compiled form fits this estimator"
    assert runtime["single_row_us"][choice.NATIVE] > 0
    assert runtime["thousand_rows_us"][choice.NATIVE] > 0
    assert "methods" not in runtime


def test_a_form_in_float32_is_tried_under_a_tolerance_alone_and_shows_why_it_is_out() -> None:
    estimator = HistGradientBoostingRegressor(max_iter=20).fit(*DIABETES)
    assert ONNX_FLOAT32 not in str(choice.choose(estimator, ("predict",), DIABETES[0]))
    parity = choice.choose(estimator, ("predict",), DIABETES[0], policy=TOLERANCE)["methods"]["predict"]["parity"]
    assert not parity[ONNX_FLOAT32]["holds"]
    assert "gives" in parity[ONNX_FLOAT32]["dropped"]


def test_counts_are_compared_on_counts() -> None:
    X = np.random.default_rng(0).poisson(3, (200, 4)).astype(float)
    estimator = make_pipeline(MinMaxScaler(), MultinomialNB()).fit(X, X[:, 0] > 2)
    parity = choice.choose(estimator, ("predict", "predict_proba"), X[:3])["methods"]["predict"]["parity"]
    assert all(found["rows"] >= LEAST_ROWS for found in parity.values())


def test_rows_lie_in_the_training_range_on_its_grids_and_in_its_gaps() -> None:
    X, y = CANCER
    estimator = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=1000)).fit(X, y)
    rows = rows_for(estimator, X, gaps=[0, 3])
    assert len(rows) >= LEAST_ROWS
    np.testing.assert_array_equal(rows[: len(X)], X)
    assert np.isnan(rows[:, [0, 3]]).any()
    assert not np.isnan(rows[:, [1, 2]]).any()
    assert np.isnan(rows[:, [0, 3]]).all(axis=1).any()
    whole = (rows == np.round(rows)).all(axis=1)
    tenths = np.isclose(rows * 10, np.round(rows * 10), rtol=0, atol=1e-9).all(axis=1) & ~whole
    assert whole.sum() > 100
    assert tenths.sum() > 100


def test_steps_whose_outcome_is_no_array_of_numbers_keep_nobody_from_comparing() -> None:
    X = np.random.default_rng(0).integers(0, 3, (200, 2)).astype(float)
    estimator = make_pipeline(OneHotEncoder(), RandomForestClassifier(3, random_state=0)).fit(X, X[:, 0])
    assert len(rows_for(estimator, X)) >= LEAST_ROWS
    assert choice.choose(estimator, ("predict",), X)["reason"] == "no compiled form fits this estimator"


@pytest.mark.parametrize("scaled", [False, True])
def test_rows_lie_at_and_next_to_the_thresholds_of_trees(scaled: bool) -> None:
    X, y = DIABETES
    trees = HistGradientBoostingRegressor(max_iter=20).fit(StandardScaler().fit_transform(X) if scaled else X, y)
    estimator = make_pipeline(StandardScaler(), trees).fit(X, y) if scaled else trees
    rows = rows_for(estimator, X[:3])
    seen = estimator[:-1].transform(rows) if scaled else rows
    for feature, values in thresholds_of(trees).items():
        at = np.isclose(seen[:, feature, None], values, rtol=1e-6, atol=0).any(axis=1)
        below = (seen[at, feature, None] <= values).any(axis=1)
        assert at.sum() > 50
        assert below.any()


def test_categories_are_drawn_from_those_that_are_known() -> None:
    X = np.column_stack([np.tile([1.0, 2.0, 7.0], 50), np.arange(150.0)])
    estimator = HistGradientBoostingRegressor(max_iter=2, categorical_features=[0]).fit(X, X[:, 0])
    rows = rows_for(estimator, X[:3])
    assert np.isin(rows[:, 0], [1.0, 2.0, 7.0]).mean() > 0.5
    assert not np.isin(rows[:, 0], [1.0, 2.0, 7.0]).all()


def test_nothing_was_asked_of_a_version_without_rows() -> None:
    assert Asked().count == 0

"""The two fit-and-answer calls: scikit-learn's own answers, and bad data by name."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression
from sklearn.svm import SVC

from service import schema
from service.confinement import Confinement
from service.database import Database
from service.errors import DeadlineExceeded, Invalid, QuotaExceeded
from service.jobs.fit_and_answer import FitAndAnswer
from service.jobs.fitting import fit_and_predict
from service.tenants.principal import Principal
from service.tenants.usage import Usage

CALLER = Principal.operator()
ROWS = [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]


@pytest.fixture(scope="module")
def usage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Usage]:
    url = f"sqlite:///{tmp_path_factory.mktemp('usage') / 'modelward.db'}"
    schema.upgrade(url)
    database = Database(url)
    yield Usage(database)
    database.dispose()


@pytest.fixture(scope="module")
def fit_and_answer(usage: Usage) -> Iterator[FitAndAnswer]:
    confinement = Confinement(preload=["service.jobs.fitting"])
    yield FitAndAnswer(confinement, usage)
    confinement.close()


def findings(call: Any, X: object, y: object) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        call(CALLER, X, y)
    return [(finding.at, finding.message) for finding in caught.value.findings]


def test_linear_regression_answers_as_scikit_learn_does(fit_and_answer: FitAndAnswer) -> None:
    X, y = load_diabetes(return_X_y=True)
    answer = fit_and_answer.linear_regression(CALLER, X.tolist(), y.tolist())
    np.testing.assert_allclose(answer, LinearRegression().fit(X, y).predict(X), rtol=1e-9)


@pytest.mark.parametrize("kind", ["integers", "strings", "booleans"])
def test_a_support_vector_machine_answers_with_the_labels_it_was_given(fit_and_answer: FitAndAnswer, kind: str) -> None:
    iris = load_iris()
    y = {"integers": iris.target, "strings": iris.target_names[iris.target], "booleans": iris.target == 1}[kind]
    answer = fit_and_answer.support_vector_machine(CALLER, iris.data.tolist(), y.tolist())
    assert answer == SVC().fit(iris.data, y).predict(iris.data).tolist()


def test_integers_are_numbers_too(fit_and_answer: FitAndAnswer) -> None:
    assert fit_and_answer.linear_regression(CALLER, [[1], [2], [3]], [2, 4, 6]) == pytest.approx([2.0, 4.0, 6.0])


@pytest.mark.parametrize(
    ("X", "y", "at"),
    [
        (None, [1], "X"),
        ([], [], "X"),
        ([[]], [1], "X[0]"),
        ([1.0], [1], "X[0]"),
        ([[1.0] * 1001], [1], "X[0]"),
        ([[1.0]] * 10_001, [1] * 10_001, "X"),
        ([[1.0] * 1000] * 1001, [1] * 1001, "X"),
        (ROWS, None, "y"),
        (ROWS, [1, 2], "y"),
        ([[1.0], ["x"]], [1, 2], "X[1].x0"),
        ([[1.0], [True]], [1, 2], "X[1].x0"),
        ([[1.0], [None]], [1, 2], "X[1].x0"),
        ([[1.0], [1.0, 2.0]], [1, 2], "X[1]"),
    ],
)
def test_data_that_does_not_fit_is_named(fit_and_answer: FitAndAnswer, X: object, y: object, at: str) -> None:
    for call in (fit_and_answer.linear_regression, fit_and_answer.support_vector_machine):
        assert [place for place, _ in findings(call, X, y)] == [at]


@pytest.mark.parametrize("cell", ["1", True, None, [1.0], 10**400, 2**53 + 1])
def test_a_target_of_a_regression_is_a_number(fit_and_answer: FitAndAnswer, cell: object) -> None:
    assert [place for place, _ in findings(fit_and_answer.linear_regression, ROWS, [1.0, cell, 2.0])] == ["y[1]"]


@pytest.mark.parametrize(
    "y",
    [
        [1.0, 2.0, 1.0],
        [1, "a", 1],
        [1, True, 1],
        [None, None, None],
        [1, 1, 1],
        [2**63, 1, 1],
        ["a" * 1001, "b", "b"],
        ["a\0", "b", "b"],
        ["a\nb", "b", "b"],
    ],
)
def test_labels_are_of_one_kind_and_at_least_two(fit_and_answer: FitAndAnswer, y: object) -> None:
    assert [place for place, _ in findings(fit_and_answer.support_vector_machine, ROWS, y)] == ["y"]


def test_the_fit_itself_is_plain_scikit_learn() -> None:
    payload = orjson.dumps({"estimator": "SVC", "X": ROWS, "y": ["a", "b", "b"]})
    assert orjson.loads(fit_and_predict(payload)) == SVC().fit(ROWS, ["a", "b", "b"]).predict(ROWS).tolist()
    with pytest.raises(Invalid):
        fit_and_predict(orjson.dumps({"estimator": "SVC", "X": ROWS, "y": [1, 1, 1]}))


def test_what_scikit_learn_cannot_fit_is_refused_in_our_words(fit_and_answer: FitAndAnswer) -> None:
    with pytest.raises(Invalid) as caught:
        fit_and_answer.support_vector_machine(CALLER, [[1e308], [-1e308]], [0, 1])
    assert caught.value.reason == "fitting_failed"


def test_rows_count_against_the_day_as_those_of_predictions_do(fit_and_answer: FitAndAnswer, usage: Usage) -> None:
    before = usage.rows_today(CALLER)
    fit_and_answer.linear_regression(CALLER, ROWS, [1, 2, 3])
    fit_and_answer.support_vector_machine(CALLER, ROWS, [1, 2, 2])
    assert usage.rows_today(CALLER) == before + 6
    nearly = replace(CALLER, plan=replace(CALLER.plan, rows_per_day=before + 8))
    with pytest.raises(QuotaExceeded):
        fit_and_answer.linear_regression(nearly, ROWS, [1, 2, 3])
    assert fit_and_answer.linear_regression(nearly, ROWS[:2], [1, 2]) == pytest.approx([1, 2])


def test_a_call_that_fails_uses_no_rows(fit_and_answer: FitAndAnswer, usage: Usage) -> None:
    before = usage.rows_today(CALLER)
    with pytest.raises(Invalid):
        fit_and_answer.support_vector_machine(CALLER, [[1e308], [-1e308]], [0, 1])
    with pytest.raises(DeadlineExceeded):
        fit_and_answer.linear_regression(CALLER, ROWS, [1, 2, 3], seconds=1e-6)
    assert usage.rows_today(CALLER) == before

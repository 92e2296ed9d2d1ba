"""Signatures are derived from the estimator, and hold only what can be served."""

from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from service.artifacts import features
from tests.artifacts import corpus
from tests.artifacts.corpus import MOODS, WORDS, X, Y
from tests.artifacts.inspecting import columns, inspected, refused

LINEAR = LinearRegression().fit(X, Y)
MIXED = corpus.pipeline("columns")


def test_columns_without_names_are_numbered() -> None:
    assert inspected(LINEAR)["signature"] == {
        "layout": "matrix",
        "inputs": [{"name": f"x{n}", "dtype": "float64"} for n in range(5)],
        "outputs": [{"name": "predict", "dtype": "float64"}],
    }


def test_names_that_it_was_fitted_with_are_kept() -> None:
    estimator = LinearRegression().fit(X, Y)
    estimator.feature_names_in_ = np.array(["a", "b", "c", "d", "e"], dtype=object)

    assert [column["name"] for column in inspected(estimator)["signature"]["inputs"]] == ["a", "b", "c", "d", "e"]


def test_strings_are_told_from_numbers_by_column() -> None:
    inputs = inspected(MIXED)["signature"]["inputs"]

    assert [(column["dtype"], column.get("nullable", False)) for column in inputs] == [
        ("float64", True),
        ("string", False),
        ("float64", True),
    ]


@pytest.mark.parametrize(
    ("first", "rows", "dtype"),
    [
        (OneHotEncoder(), np.array([["a"], ["b"]] * 4, dtype=object), "string"),
        (OneHotEncoder(), np.array([["a"], ["b"]] * 4), "string"),
        (OneHotEncoder(), np.array([[True], [False]] * 4), "bool"),
        (OneHotEncoder(), np.array([[1], [2]] * 4), "float64"),
        (
            make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()),
            np.array([["a"], ["b"]] * 4, dtype=object),
            "string",
        ),
    ],
)
def test_categories_say_what_a_column_holds(first: Any, rows: Any, dtype: str) -> None:
    estimator = make_pipeline(first, LogisticRegression()).fit(rows, [0, 1] * 4)

    assert [column["dtype"] for column in inspected(estimator)["signature"]["inputs"]] == [dtype]


def test_a_text_column_among_others_is_a_string() -> None:
    rows = np.array([[word, 1.0] for word in WORDS], dtype=object)
    estimator = make_pipeline(
        ColumnTransformer([("text", TfidfVectorizer(), 0), ("rest", "passthrough", [1])]), LogisticRegression()
    ).fit(rows, MOODS)

    signature = inspected(estimator)["signature"]

    assert signature["layout"] == "matrix"
    assert [column["dtype"] for column in signature["inputs"]] == ["string", "float64"]


@pytest.mark.parametrize("name", [name for name in corpus.PIPELINES if "text" in name])
def test_a_text_pipeline_takes_one_string_a_row(name: str) -> None:
    facts = inspected(corpus.pipeline(name), sample=[["good film"], {"text": "bad film"}])

    assert facts["signature"]["layout"] == "text"
    assert facts["signature"]["inputs"] == [{"name": "text", "dtype": "string"}]
    assert facts["classes"] == ["happy", "sad"]


def test_gaps_are_allowed_only_where_they_are_understood() -> None:
    forest = inspected(RandomForestClassifier(3).fit(X, Y))["signature"]["inputs"]
    linear = inspected(LINEAR)["signature"]["inputs"]

    assert all(column["nullable"] for column in forest)
    assert not any("nullable" in column for column in linear)


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        ([0, 1], "int64"),
        ([True, False], "bool"),
        (["a", "b"], "string"),
        (np.array(["a", "b"], dtype=object), "string"),
    ],
)
def test_labels_stay_as_they_were_trained(labels: Any, dtype: str) -> None:
    estimator = BernoulliNB().fit(X[:40], np.array(labels)[np.arange(40) % 2])

    facts = inspected(estimator)

    assert sorted(facts["classes"]) == sorted(np.array(labels).tolist())
    assert [type(label) for label in facts["classes"]] == [type(label) for label in np.array(labels).tolist()]
    assert facts["signature"]["outputs"][:2] == [
        {"name": "predict", "dtype": dtype},
        {"name": "predict_proba", "dtype": "float64", "shape": [2]},
    ]


def test_labels_that_json_does_not_know_are_refused() -> None:
    estimator = LogisticRegression().fit(X, Y)
    estimator.classes_ = np.array([b"a", b"b", b"c"])

    assert refused(estimator)


def test_a_label_that_json_does_not_know_is_refused_even_where_it_is_not_predicted() -> None:
    estimator = LogisticRegression().fit(X, Y)
    sample = [X[estimator.predict(X) == 0][0].tolist()]
    estimator.classes_ = np.array([0, 1, None], dtype=object)

    assert refused(estimator, sample=sample)[0].at == "estimator.classes_"


def test_an_answer_that_is_no_array_is_not_offered() -> None:
    estimator = MultiOutputClassifier(LogisticRegression()).fit(X, np.column_stack([Y, Y]))

    facts = inspected(estimator)

    assert facts["methods"] == ["predict"]
    assert facts["classes"] is None
    assert facts["signature"]["outputs"] == [{"name": "predict", "dtype": "int64", "shape": [2]}]


def test_an_estimator_that_does_not_keep_its_width_takes_that_of_the_declaration() -> None:
    estimator = DummyRegressor().fit(X, Y)
    vars(estimator).pop("n_features_in_", None)

    assert "declare a signature" in refused(estimator)[0].message
    assert len(inspected(estimator, columns("a", "b"))["signature"]["inputs"]) == 2
    assert len(inspected(estimator, sample=[[1, 2, 3]])["signature"]["inputs"]) == 3


def test_dictionaries_are_not_served() -> None:
    estimator = make_pipeline(DictVectorizer(), LogisticRegression()).fit([{"a": 1}, {"b": 1}] * 4, [0, 1] * 4)

    assert "dictionaries" in refused(estimator)[0].message


@pytest.mark.parametrize(
    ("names", "place"),
    [
        (["a", "a", "b", "c", "d"], "signature.inputs"),
        (["a", "", "b", "c", "d"], "signature.inputs[1].name"),
        (["a", "b", "c" * 1001, "d", "e"], "signature.inputs[2].name"),
        (["a", "b", "c", "d\0", "e"], "signature.inputs[3].name"),
    ],
)
def test_names_that_no_row_could_be_sent_by_are_refused(names: list[str], place: str) -> None:
    estimator = LinearRegression().fit(X, Y)
    estimator.feature_names_in_ = np.array(names, dtype=object)

    assert [finding.at for finding in refused(estimator)] == [place]
    assert inspected(estimator, columns("a", "b", "c", "d", "e"))["methods"] == ["predict"]


@pytest.mark.parametrize("label", ["a\0", "a\nb", "a" * 1001, 1 << 63, "\ud800"])
def test_a_label_that_cannot_be_kept_or_sent_is_refused(label: Any) -> None:
    estimator = LogisticRegression().fit(X, Y)
    estimator.classes_ = np.array([0, 1, label], dtype=object)
    sample = [X[Y == 0][0].tolist()]

    assert refused(estimator, sample=sample)[0].at == "estimator.classes_"


@pytest.mark.parametrize("answered", ["a", "\ud800"])
def test_a_label_that_cannot_be_sent_is_refused_by_its_place_among_several_targets_too(answered: str) -> None:
    pairs = [["a", "x"], ["\ud800", "y"]] * 2
    one = LogisticRegression().fit([[0], [1], [0], [1]], [first for first, _ in pairs])
    several = DummyClassifier(strategy="constant", constant=[answered, "x"]).fit([[0], [1], [0], [1]], pairs)

    for estimator in (one, several):
        assert refused(estimator)[0].at == "estimator.classes_"


def test_a_regression_in_long_doubles_answers_numbers() -> None:
    estimator = LinearRegression().fit(X, Y)
    estimator.coef_ = estimator.coef_.astype(np.longdouble)

    assert inspected(estimator)["signature"]["outputs"] == [{"name": "predict", "dtype": "float64"}]


def test_an_answer_that_json_cannot_say_is_refused() -> None:
    estimator = DummyRegressor(strategy="constant", constant=1.0).fit(X, Y)
    estimator.constant_ = np.array([[1 << 70]], dtype=object)

    assert refused(estimator)[0].at == "estimator.predict"


def test_an_estimator_that_no_form_can_be_made_of_runs_natively_and_says_why() -> None:
    runtime = inspected(KNeighborsClassifier().fit(X, Y))["runtime"]

    assert runtime["backend"] == "native"
    assert runtime["reason"]


def test_the_first_step_is_found_inside_composites() -> None:
    search = corpus.pipeline("search over a pipeline")

    assert type(features.entrance(search)).__name__ == "StandardScaler"
    assert type(features.entrance(corpus.pipeline("union of texts"))).__name__ == "CountVectorizer"


def test_a_boosted_forest_takes_its_categories_as_strings() -> None:
    rows = np.array([["abc"[n % 3], float(n % 7)] for n in range(60)], dtype=object)
    estimator = HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]).fit(rows, Y)

    assert [column["dtype"] for column in inspected(estimator)["signature"]["inputs"]] == ["string", "float64"]


def test_columns_that_go_different_ways_differ_in_their_gaps() -> None:
    parts = ColumnTransformer([("filled", SimpleImputer(), [0]), ("as it is", "passthrough", [1])])
    estimator = make_pipeline(parts, LogisticRegression()).fit(X[:, :2], Y)

    inputs = inspected(estimator)["signature"]["inputs"]

    assert [column.get("nullable", False) for column in inputs] == [True, False]

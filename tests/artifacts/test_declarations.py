"""Declared signatures and samples are held against the estimator."""

from typing import Any

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.artifacts import corpus
from tests.artifacts.corpus import X, Y
from tests.artifacts.inspecting import columns, inspected, refused

LINEAR = LinearRegression().fit(X, Y)
MIXED = corpus.pipeline("columns")


def test_declared_names_and_types_are_kept() -> None:
    declared = columns("one", "two", "three", "four", "five", dtype="int64")

    assert inspected(LINEAR, declared)["signature"]["inputs"] == declared["inputs"]


@pytest.mark.parametrize(
    ("declared", "place"),
    [
        ({}, "signature.inputs"),
        (columns("a", "b"), "signature.inputs"),
        (columns("a", "a", "b", "c", "d"), "signature.inputs"),
        (columns("a", "", "b", "c", "d"), "signature.inputs[1].name"),
        (columns("a", "b", "c", "d", "e", dtype="float16"), "signature.inputs[0].dtype"),
        (columns("a", "b", "c", "d", "e", dtype="string"), "signature.inputs[0].dtype"),
        (columns("x1", "x0", "x2", "x3", "x4"), "signature.inputs"),
        (columns("x0", "x1", "x2", "x3", "x4") | {"outputs": [{"name": "predict_proba"}]}, "signature.outputs[0]"),
        (columns("x0", "x1", "x2", "x3", "x4") | {"outputs": {}}, "signature.outputs"),
        (columns("x0", "x1", "x2", "x3", "x4") | {"outputs": [{"name": []}]}, "signature.outputs[0]"),
        (
            columns("x0", "x1", "x2", "x3", "x4") | {"outputs": [{"name": "predict", "unit": "m"}]},
            "signature.outputs[0].unit",
        ),
        (
            columns("x0", "x1", "x2", "x3", "x4") | {"outputs": [{"name": "predict", "shape": [2]}]},
            "signature.outputs[0].shape",
        ),
        (columns("x0", "x1", "x2", "x3", "x4") | {"layout": "text"}, "signature.inputs"),
        (columns("x0", "x1", "x2", "x3", "x4") | {"units": "cm"}, "signature.units"),
        (columns("a\n", "b", "c", "d", "e"), "signature.inputs[0].name"),
        ({"inputs": [{"name": name, "nullable": True} for name in "abcde"]}, "signature.inputs[4].nullable"),
        (
            columns("x0", "x1", "x2", "x3", "x4") | {"outputs": [{"name": "predict", "dtype": "string"}]},
            "signature.outputs[0].dtype",
        ),
    ],
)
def test_a_declaration_that_disagrees_is_refused_at_its_place(declared: Any, place: str) -> None:
    assert place in [finding.at for finding in refused(LINEAR, declared)]


def test_a_declaration_that_agrees_may_name_outputs() -> None:
    declared = columns("x0", "x1", "x2", "x3", "x4") | {"outputs": [{"name": "predict", "dtype": "float64"}]}

    assert inspected(LINEAR, declared)["signature"]["outputs"] == [{"name": "predict", "dtype": "float64"}]


@pytest.mark.parametrize("estimator", [LINEAR, MIXED, corpus.pipeline("text with counts")])
def test_what_was_derived_may_be_declared_as_it_stands(estimator: Any) -> None:
    derived = inspected(estimator)["signature"]

    assert inspected(estimator, derived)["signature"] == derived


def test_a_declaration_may_forbid_gaps_or_send_one_in_its_sample() -> None:
    forest = RandomForestClassifier(3).fit(X, Y)
    declared = {"inputs": [{"name": name, "nullable": name == "a"} for name in "abcde"]}

    inputs = inspected(forest, declared, [[None, 1, 2, 3, 4]])["signature"]["inputs"]

    assert [column["nullable"] for column in inputs] == [True, False, False, False, False]
    assert [finding.at for finding in refused(forest, declared, [[1, None, 2, 3, 4]])] == ["sample.inputs[0].b"]


@pytest.mark.parametrize("sample", [[[1, 2, 3, 4, 5]], [{f"x{n}": n + 0.5 for n in range(5)}], [[0.5] * 5] * 1000])
def test_a_sample_may_be_rows_or_objects(sample: Any) -> None:
    assert inspected(LINEAR, sample=sample)["methods"] == ["predict"]


def test_a_sample_goes_by_declared_names() -> None:
    declared = columns("a", "b", "c", "d", "e")

    assert inspected(LINEAR, declared, [dict.fromkeys("abcde", 1.0)])["methods"] == ["predict"]


@pytest.mark.parametrize(
    ("sample", "place"),
    [
        ([], "sample.inputs"),
        ("text", "sample.inputs"),
        ([[0.5] * 5] * 1001, "sample.inputs"),
        ([[0.5] * 5, [1.0]], "sample.inputs[1]"),
        ([{"x0": 1}], "sample.inputs[0]"),
        ([7], "sample.inputs[0]"),
        ([[1, 2, "3", 4, 5]], "sample.inputs[0].x2"),
        ([[1, 2, True, 4, 5]], "sample.inputs[0].x2"),
        ([[1, 2, None, 4, 5]], "sample.inputs[0].x2"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused_at_its_place(sample: Any, place: str) -> None:
    assert place in [finding.at for finding in refused(LINEAR, sample=sample)]


def test_a_sample_that_cannot_be_predicted_is_refused() -> None:
    strict = make_pipeline(ColumnTransformer([("w", OneHotEncoder(), [0])]), LogisticRegression())
    strict.fit(np.array([["a"], ["b"]] * 4, dtype=object), [0, 1] * 4)

    assert "given sample" in refused(strict, sample=[["never seen"]])[0].message
    assert inspected(strict)["methods"][0] == "predict"


def test_mixed_samples_reach_the_estimator_as_they_are() -> None:
    assert inspected(MIXED, sample=[[1.0, "a", 2.0], {"x0": 3, "x1": "b", "x2": 1}])["methods"][0] == "predict"

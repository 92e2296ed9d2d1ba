"""Predictions over HTTP."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

from tests.api.callers import ROW, Caller, World, iris, unused

PREDICT = "/v1/models/iris/predict"


def test_the_answer_names_the_version_and_is_scikit_learns_own(acme: Caller) -> None:
    X = load_iris().data
    outputs = ["predict", "predict_proba", "decision_function"]
    answer = acme.post(PREDICT, {"inputs": X.tolist(), "outputs": outputs})
    assert answer.status_code == 200
    assert answer.json["id"].startswith("prd_")
    assert {key: answer.json[key] for key in ("model", "version", "alias")} == {
        "model": "iris",
        "version": 1,
        "alias": "production",
    }
    estimator = iris()[0]
    assert answer.json["outputs"].keys() == set(outputs)
    for name in outputs:
        np.testing.assert_allclose(answer.json["outputs"][name], getattr(estimator, name)(X), rtol=1e-9, atol=1e-9)


def test_rows_as_objects_by_feature_name_are_answered_alike(acme: Caller) -> None:
    names = [each["name"] for each in acme.get("/v1/models/iris/versions/1").json["signature"]["inputs"]]
    by_name = acme.post(PREDICT, {"inputs": [dict(zip(reversed(names), reversed(ROW), strict=True))]})
    assert by_name.json["outputs"] == acme.post(PREDICT, {"inputs": [ROW]}).json["outputs"]


@pytest.mark.parametrize(
    ("path", "alias"),
    [("/predict", "production"), ("/versions/1/predict", None), ("/aliases/production/predict", "production")],
)
def test_each_form_of_address_tells_by_which_alias_it_went(acme: Caller, path: str, alias: str | None) -> None:
    answer = acme.post(f"/v1/models/iris{path}", {"inputs": [ROW]})
    assert (answer.status_code, answer.json["version"], answer.json["alias"]) == (200, 1, alias)


def test_the_callers_own_id_comes_back(acme: Caller) -> None:
    assert acme.post(PREDICT, {"inputs": [ROW], "id": "call 7"}).json["id"] == "call 7"


def test_cache_status_tells_whether_the_answer_was_kept(acme: Caller) -> None:
    body = {"inputs": [[1.5, 2.5, 3.5, 4.5]]}
    assert acme.post(PREDICT, body).headers["Cache-Status"] == "modelward; fwd=miss"
    assert acme.post(PREDICT, body).headers["Cache-Status"] == "modelward; hit"
    fresh = acme.post(PREDICT, body, headers={"Cache-Control": "no-cache"})
    assert fresh.headers["Cache-Status"] == "modelward; fwd=bypass"


@pytest.mark.parametrize("path", ["/predict", "/versions/1/predict", "/aliases/production/predict"])
def test_a_caller_can_have_scikit_learn_itself_answer_and_is_told_what_did(acme: Caller, path: str) -> None:
    body = {"inputs": [[2.5, 3.5, 4.5, 5.5]], "outputs": ["predict", "predict_proba"]}
    fresh = {"Cache-Control": "no-store"}
    chosen = acme.post(f"/v1/models/iris{path}", body, headers=fresh)
    native = acme.post(f"/v1/models/iris{path}?runtime=native", body, headers=fresh)
    assert (chosen.headers["Modelward-Runtime"], native.headers["Modelward-Runtime"]) == ("numpy", "native")
    assert native.json["outputs"] == chosen.json["outputs"]


def test_answers_of_scikit_learn_itself_are_kept_apart_from_others(acme: Caller) -> None:
    body = {"inputs": [[2.6, 3.5, 4.5, 5.5]]}
    asked = [acme.post(f"{PREDICT}{query}", body).headers for query in ("", "?runtime=native", "?runtime=native")]
    assert [headers["Cache-Status"] for headers in asked] == ["modelward; fwd=miss"] * 2 + ["modelward; hit"]
    assert [headers.get("Modelward-Runtime") for headers in asked] == ["numpy", "native", None]


def test_no_other_runtime_can_be_asked_for(acme: Caller) -> None:
    refused = acme.post(f"{PREDICT}?runtime=onnx", {"inputs": [ROW]})
    assert (refused.status_code, refused.json["code"], refused.json["errors"][0]["at"]) == (
        422,
        "invalid_query",
        "runtime",
    )


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ([], "body"),
        ({}, "inputs"),
        ({"inputs": [ROW], "tenant": "globex"}, "tenant"),
        ({"inputs": [ROW], "outputs": "predict"}, "outputs"),
        ({"inputs": [ROW], "outputs": []}, "outputs"),
        ({"inputs": [ROW], "outputs": ["predict", "__class__"]}, "outputs[1]"),
        ({"inputs": [ROW], "outputs": ["transform"]}, "outputs"),
        ({"inputs": [ROW], "id": ""}, "id"),
        ({"inputs": [ROW], "id": 7}, "id"),
        ({"inputs": [[5.1, "3.5", 1.4, 0.2]]}, None),
        ({"inputs": [[True, 3.5, 1.4, 0.2]]}, None),
        ({"inputs": [ROW, ROW[:3]]}, None),
        ({"inputs": []}, None),
        ({"inputs": "rows"}, None),
        ({"inputs": [[[1]]]}, None),
    ],
)
def test_a_body_that_does_not_fit_is_refused_with_the_place(acme: Caller, body: Any, at: str | None) -> None:
    refused = acme.post(PREDICT, body)
    assert refused.status_code == 422, refused.text
    places = [each["at"] for each in refused.json["errors"]]
    assert places if at is None else at in places


@pytest.mark.parametrize("body", ['{"inputs":[[NaN]]}', '{"inputs":[],"inputs":[]}', "[" * 100, '{"inputs":[[1,2]}'])
def test_a_body_that_is_not_strict_json_is_malformed(acme: Caller, body: str) -> None:
    assert acme.call("POST", PREDICT, data=body, content_type="application/json").status_code == 400


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_of_another_type_is_unsupported(acme: Caller, content_type: str | None) -> None:
    body = json.dumps({"inputs": [ROW]})
    assert acme.call("POST", PREDICT, data=body, content_type=content_type).status_code == 415


def test_a_caller_that_takes_no_json_gets_no_answer(acme: Caller) -> None:
    refused = acme.post(PREDICT, {"inputs": [ROW]}, headers={"Accept": "text/csv"})
    assert (refused.status_code, refused.json["code"]) == (406, "not_acceptable")
    assert acme.post(PREDICT, {"inputs": [ROW]}, headers={"Accept": "text/csv, */*;q=0.1"}).status_code == 200
    for call in ("/linear_regression", "/support_vector_machine"):
        assert acme.post(call, {"X": [[1], [2]], "y": [1, 2]}, headers={"Accept": "text/html"}).status_code == 406


def test_a_model_without_a_version_has_nothing_to_predict_with(acme: Caller) -> None:
    name = unused("empty")
    assert acme.post("/v1/models", {"name": name}).status_code == 201
    assert acme.post(f"/v1/models/{name}/predict", {"inputs": [ROW]}).status_code == 404


def test_a_key_bound_to_models_reaches_no_other(world: World, acme: Caller) -> None:
    bound = world.key(acme, scopes=["models:predict"], models=["iris"])
    assert bound.post(PREDICT, {"inputs": [ROW]}).status_code == 200
    hidden = bound.post("/v1/models/other/predict", {"inputs": [ROW]})
    assert hidden.status_code == 404


def test_the_one_line_prediction_answers_an_array(acme: Caller) -> None:
    answer = acme.post("/predict?model=iris", [ROW, ROW])
    assert (answer.status_code, answer.json) == (200, [0, 0])
    assert answer.headers["Cache-Status"]


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 422), ("?model=", 422), ("?model=no-such", 404), ("?model=iris&model=iris", 422), ("?m=iris", 422)],
)
def test_the_one_line_prediction_wants_one_model(acme: Caller, query: str, status: int) -> None:
    assert acme.post(f"/predict{query}", [ROW]).status_code == status


def test_linear_regression_fits_and_answers(acme: Caller) -> None:
    answer = acme.post("/linear_regression", {"X": [[1], [2], [3]], "y": [2, 4, 6]})
    assert (answer.status_code, answer.json) == (200, pytest.approx([2, 4, 6]))


def test_a_support_vector_machine_fits_and_answers(acme: Caller) -> None:
    answer = acme.post("/support_vector_machine", {"X": [[0], [1], [10], [11]], "y": ["a", "a", "b", "b"]})
    assert (answer.status_code, answer.json) == (200, ["a", "a", "b", "b"])


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"X": [[1]]},
        {"X": [[1]], "y": [1], "kernel": "linear"},
        {"X": [[1], [2, 3]], "y": [1, 2]},
        {"X": [[1]], "y": [1, 2]},
        {"X": [["1"]], "y": [1]},
    ],
)
@pytest.mark.parametrize("path", ["/linear_regression", "/support_vector_machine"])
def test_data_that_cannot_be_fitted_are_refused(acme: Caller, path: str, body: Any) -> None:
    assert acme.post(path, body).status_code == 422

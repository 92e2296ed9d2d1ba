"""Every error as a problem, with nothing of the inside in it."""

import re
from pathlib import Path

import pytest

from service import errors
from service.errors import Finding, ModelwardError
from service.gateway.codes import CODES
from service.gateway.errors import STATUSES, bare, status_of
from tests.gateway.application import Running

SERVICE = Path(errors.__file__).parent

FAMILIES = {
    errors.Malformed: 400,
    errors.Invalid: 422,
    errors.Rejected: 422,
    errors.Unsupported: 415,
    errors.Unacceptable: 406,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.QuotaExceeded: 429,
    errors.Throttled: 429,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
    errors.ChildFailed: 500,
    errors.ModelCrashed: 502,
}


def families(family: type[ModelwardError] = ModelwardError) -> set[type[ModelwardError]]:
    return {family}.union(*map(families, family.__subclasses__())) if family.__subclasses__() else {family}


def test_every_family_has_a_status() -> None:
    assert {family for family in families() if family.__module__ == "service.errors"} - {ModelwardError} == set(
        FAMILIES
    )
    assert {family: status_of(family) for family in FAMILIES} == FAMILIES
    assert status_of(ModelwardError) == 500


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_a_refusal_is_a_problem(running: Running, family: type[ModelwardError]) -> None:
    running.raises = family("Do this.", findings=[Finding("inputs[3].x", "a number")], retry_after=1.2)
    response = running.ask("/raise", headers={"X-Request-Id": "mine"})
    assert response.status_code == FAMILIES[family]
    assert response.mimetype == "application/problem+json"
    assert response.json == {
        "type": f"urn:modelward:problem:{family.code}",
        "title": family.title,
        "status": FAMILIES[family],
        "code": family.code,
        "detail": "Do this.",
        "request_id": "mine",
        "errors": [{"at": "inputs[3].x", "message": "a number"}],
    }
    assert response.headers["Retry-After"] == "2"


def test_a_fault_of_ours_tells_nobody_but_the_log(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.raises = RuntimeError("SELECT secret FROM /etc/passwd")
    response = running.ask("/raise")
    assert (response.status_code, response.json["code"]) == (500, "internal_error")
    assert response.json["errors"] == []
    assert "SELECT" not in response.text
    assert "Traceback" not in response.text
    printed = capsys.readouterr().out
    assert "SELECT secret" in printed
    assert response.json["request_id"] in printed


@pytest.mark.parametrize("path", ["//public", "///healthz", "//any", "/public/", "/models//x"])
def test_a_path_with_an_empty_segment_is_a_404(running: Running, path: str) -> None:
    environ = {"PATH_INFO": path}
    response = running.ask("/", key=running.key, environ_overrides=environ)
    assert (response.status_code, response.json["code"]) == (404, "not_found")


def test_an_unknown_path_is_a_404_problem(running: Running) -> None:
    response = running.ask("/nowhere")
    assert (response.status_code, response.json["code"]) == (404, "not_found")


@pytest.mark.parametrize("method", ["TRACE", "FOO", "PUT", "DELETE", "OPTIONS"])
def test_another_method_is_a_405_that_says_which_there_are(running: Running, method: str) -> None:
    response = running.ask("/public", method=method)
    assert (response.status_code, response.json["code"]) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["//public", "/public/", "/any//"])
def test_a_path_that_is_nearly_right_is_not_redirected(running: Running, path: str) -> None:
    assert running.ask(path).status_code == 404


def test_an_answer_of_ours_that_breaks_its_schema_is_no_fault_of_the_caller(running: Running) -> None:
    response = running.ask("/documents", method="POST", data=b'{"sizes": [1, "secret-value"], "extra": 1}')
    assert (response.status_code, response.json["code"]) == (500, "internal_error")
    assert "secret-value" not in response.text


@pytest.mark.parametrize("family", [errors.Unavailable, errors.Throttled, errors.QuotaExceeded])
def test_who_is_to_come_back_is_told_when(running: Running, family: type[ModelwardError]) -> None:
    running.raises = family("Not now.")
    assert int(running.ask("/raise").headers["Retry-After"]) >= 1
    _, fields, _ = bare(status_of(family), "overloaded", "Not now.", "req_1")
    assert int(dict(fields)["Retry-After"]) >= 1


def test_clients_of_other_protocols_find_what_they_look_for(running: Running) -> None:
    running.raises = errors.NotFound("There is none.")
    assert running.ask("/v2/raise").json["error"] == "There is none."
    answer = running.ask("/m/invocations").json
    assert (answer["error_code"], answer["message"]) == ("RESOURCE_DOES_NOT_EXIST", "There is none.")
    assert running.ask("/raise").json.keys().isdisjoint({"error", "error_code", "message"})
    running.raises = errors.Invalid("It does not fit.")
    assert running.ask("/m/invocations").json["error_code"] == "INVALID_PARAMETER_VALUE"


def test_every_code_that_is_raised_is_listed_and_none_is_listed_twice() -> None:
    written = set()
    for path in SERVICE.rglob("*.py"):
        written |= set(re.findall(r'\bcode(?:: ClassVar\[str\])?=? ?= ?"([a-z_]+)"', path.read_text()))
        written |= set(re.findall(r'\bcode="([a-z_]+)"', path.read_text()))
    assert written - {"unsafe_settings"} <= set(CODES)
    assert {family.code for family in families()} <= set(CODES)
    assert all(re.fullmatch(r"[a-z_]+", code) and meaning.endswith(".") for code, meaning in CODES.items())


def test_a_problem_of_the_server_itself_has_the_same_form() -> None:
    status, fields, body = bare(413, "body_too_large", "Too large.", "mine", 3)
    assert status == 413
    names = dict(fields)
    assert names["Content-Type"] == "application/problem+json"
    assert names["X-Request-Id"] == "mine"
    assert names["X-Content-Type-Options"] == "nosniff"
    assert names["Retry-After"] == "3"
    assert b'"code":"body_too_large"' in body


def test_the_table_of_statuses_has_no_family_twice() -> None:
    assert set(STATUSES) - {ModelwardError} <= set(FAMILIES)

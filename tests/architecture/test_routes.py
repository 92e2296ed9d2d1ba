"""What holds for every route, those that are added later among them."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import TestResponse

from service.api.contract import MARK
from service.api.openapi import document
from service.api.table import Route
from service.gateway.guards import guard_of
from service.tenants.scopes import ROLES, Scope
from tests.api.callers import Caller, World, unused
from tests.architecture.routes import Names, call, routes

PUBLIC = {
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/.well-known/jwks.json",
    "/v1/auth/refresh",
    "/v1/auth/revoke",
}
PROBLEM = {"type", "title", "status", "code", "detail", "request_id"}
SECURITY_HEADERS = {
    "X-Request-Id",
    "X-Content-Type-Options",
    "Referrer-Policy",
    "Cross-Origin-Resource-Policy",
    "Content-Security-Policy",
    "Cache-Control",
}
MOVING = {"X-Request-Id", "RateLimit", "Content-Length", "Date"}


def problem_of(response: TestResponse) -> dict[str, Any]:
    assert response.mimetype == "application/problem+json", response.text
    problem: dict[str, Any] = response.json
    assert PROBLEM <= problem.keys() <= PROBLEM | {"errors"}
    assert problem["status"] == response.status_code
    assert problem["request_id"] == response.headers["X-Request-Id"]
    return problem


def but_for_the_request_id(response: TestResponse) -> tuple[Any, ...]:
    headers = {name: value for name, value in response.headers if name not in MOVING}
    request_id = response.headers["X-Request-Id"]
    return response.status_code, headers, response.data.replace(request_id.encode(), b"")


def test_each_route_states_its_guard_and_its_contract(world: World) -> None:
    for endpoint, view in world.app.view_functions.items():
        assert guard_of(view) is not None, endpoint
        assert hasattr(view, MARK), endpoint


def test_what_is_public_is_listed_here(world: World) -> None:
    assert {route.path for route in routes(world.app) if route.public} == PUBLIC


def test_the_document_has_every_route_and_no_other(world: World) -> None:
    documented = {
        (path, method.upper(), operation.get("security") == [])
        for path, operations in document(world.app)["paths"].items()
        for method, operation in operations.items()
    }
    assert documented == {(route.path, route.method, route.public) for route in routes(world.app)}


def test_the_document_says_which_work_ends_when_its_caller_stops_waiting(world: World) -> None:
    timed = {
        path
        for path, operations in document(world.app)["paths"].items()
        for operation in operations.values()
        if any(parameter["name"] == "X-Request-Timeout-Ms" for parameter in operation["parameters"])
        and "504" in operation["responses"]
    }
    assert timed == {route.path for route in routes(world.app) if route.path.endswith("predict")} | {
        "/linear_regression",
        "/support_vector_machine",
    }


def test_whatever_is_created_honours_idempotency_keys(world: World) -> None:
    creating = {route.endpoint for route in routes(world.app) if route.contract.status == 201}
    assert creating
    assert creating <= {route.endpoint for route in routes(world.app) if route.idempotent}


def test_every_change_of_what_has_a_revision_honours_if_match(world: World) -> None:
    revised = {
        route.path
        for route in routes(world.app)
        if route.method == "GET" and "revision" in getattr(route.contract.answer, "model_fields", ())
    }
    changing = [route for route in routes(world.app) if route.method in {"PATCH", "PUT", "DELETE"}]
    assert {route.path for route in changing if route.contract.conditional} <= revised
    exempt = {"/v1/admin/tenants/{tenant}"}
    assert {route.path for route in changing if not route.contract.conditional and route.method != "PATCH"} <= exempt


def test_without_a_credential_every_other_route_answers_401(world: World) -> None:
    for route in routes(world.app):
        response = call(world.nobody, route, Names())
        assert (response.status_code == 401) != (route.path in PUBLIC - {"/v1/auth/refresh"}), route
        if response.status_code == 401:
            assert problem_of(response)["code"] in {"unauthenticated", "invalid_refresh_token"}
            assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.fixture(scope="session")
def holders(world: World) -> dict[str, Caller]:
    """A caller of each role, all of one tenant but for the operator."""
    owner = world.tenant("holders")
    tenants = {role: world.key(owner, role=role) for role in ROLES if role != "platform-admin"}
    return {**tenants, "platform-admin": world.operator}


@pytest.mark.parametrize("role", ROLES)
def test_beyond_its_scopes_a_role_gets_403_and_within_them_never(
    world: World, holders: dict[str, Caller], role: str
) -> None:
    for route in routes(world.app):
        allowed = route.scope is None or route.scope in ROLES[role]
        if allowed and route.method != "GET":
            continue
        response = call(holders[role], route, Names())
        assert (response.status_code == 403) is not allowed, (route, response.text)
        if not allowed:
            assert problem_of(response)["code"] == "missing_scope"


def test_each_scope_that_guards_a_route_can_be_held() -> None:
    assert set().union(*ROLES.values()) == set(Scope)


def state_of(owner: Caller) -> list[Any]:
    """Return all that a tenant has, but for the record of looking at it."""
    paths = ["/v1/models", "/v1/keys", "/v1/audit"]
    paths += [f"/v1/models/secret{more}" for more in ("", "/versions", "/aliases", "/aliases/production/history")]
    return [owner.get(path).json for path in paths]


def addressed(world: World) -> Iterator[Route]:
    for route in routes(world.app):
        if not route.public and ("{" in route.path or route.endpoint == "fit_and_answer.predict_array"):
            yield route


def test_another_tenants_things_are_answered_like_what_never_was(world: World) -> None:
    key = world.globex.get("/v1/keys").json["data"][0]["id"]
    foreign = Names(model="secret", key=key, tenant="globex", plan="free")
    before = state_of(world.globex)
    for route in addressed(world):
        of_another, of_nobody = (call(world.acme, route, names) for names in (foreign, Names()))
        expected = 403 if route.scope is Scope.PLATFORM_ADMIN else 404
        if route.endpoint == "versions.upload_version":
            # The name is free in the caller's own tenant, so what is refused is the file.
            expected = of_nobody.status_code
            assert expected in {415, 422}
        assert of_nobody.status_code == expected, (route, of_nobody.text)
        assert but_for_the_request_id(of_another) == but_for_the_request_id(of_nobody), route
    assert state_of(world.globex) == before


def test_what_was_deleted_is_answered_like_what_never_was(world: World) -> None:
    name = unused("gone")
    world.acme.post("/v1/models", {"name": name})
    assert world.acme.delete(f"/v1/models/{name}").status_code == 204
    for route in addressed(world):
        if "{model}" in route.path and route.scope is not Scope.PLATFORM_ADMIN:
            gone, never = (call(world.acme, route, names) for names in (Names(model=name), Names()))
            assert but_for_the_request_id(gone) == but_for_the_request_id(never), route


def test_a_key_bound_to_other_models_sees_none_of_the_rest(world: World) -> None:
    bound = world.key(world.acme, scopes=sorted(ROLES["publisher"]), models=["elsewhere"])
    assert bound.get("/v1/models").json["data"] == []
    for route in addressed(world):
        if "{model}" in route.path and route.scope in ROLES["publisher"]:
            hidden, never = (call(bound, route, names) for names in (Names(model="iris"), Names()))
            assert hidden.status_code == 404, route
            assert but_for_the_request_id(hidden) == but_for_the_request_id(never), route


def test_an_unknown_field_is_named_on_every_route_with_a_body(world: World) -> None:
    for route in routes(world.app):
        if route.contract.body is None and route.endpoint not in {
            "predict.predict",
            "fit_and_answer.linear_regression",
        }:
            continue
        response = call(world.operator, route, Names(), json={"tenant_id": "ten_other"})
        assert response.status_code == 422, (route, response.text)
        assert "tenant_id" in [each["at"] for each in problem_of(response)["errors"]]


def test_an_unknown_query_parameter_is_named_on_every_route(world: World) -> None:
    for route in routes(world.app):
        path = route.path.format(**vars(Names())) + "?owner=globex"
        response = world.operator.call(route.method, path)
        assert response.status_code == 422, (route, response.text)
        assert "owner" in [each["at"] for each in problem_of(response)["errors"]]


def test_a_body_of_another_type_is_refused_on_every_route_with_a_body(world: World) -> None:
    for route in routes(world.app):
        if route.contract.body is not None or route.contract.documents:
            response = call(world.operator, route, Names(), json=None, data=b"a=b", content_type="text/plain")
            assert response.status_code == 415, (route, response.text)
            problem_of(response)


def test_an_unsupported_method_is_refused_with_those_that_are_supported(world: World) -> None:
    for path in {route.path for route in routes(world.app)}:
        supported = {route.method for route in routes(world.app) if route.path == path}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"} - supported:
            response = world.operator.call(method, path.format(**vars(Names())))
            assert response.status_code == 405, (method, path)
            problem_of(response)
            assert set(re.split(", *", response.headers["Allow"])) - {"HEAD", "OPTIONS"} == supported


def test_every_response_carries_the_security_headers(world: World) -> None:
    for route in routes(world.app):
        for caller in (world.nobody, world.operator):
            if caller is world.operator and route.method != "GET":
                continue
            response = call(caller, route, Names())
            assert set(response.headers.keys()) >= SECURITY_HEADERS, route
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert "Access-Control-Allow-Origin" not in response.headers
    for path in ("/", "/v1", "/v1/nothing", "/docs/", "/admin", "/.env"):
        response = world.nobody.get(path)
        assert response.status_code == 404
        assert problem_of(response).keys() >= PROBLEM
        assert set(response.headers.keys()) >= SECURITY_HEADERS


def test_after_authentication_the_limits_are_told(world: World) -> None:
    for route in routes(world.app):
        if not route.public and route.method == "GET":
            response = call(world.operator, route, Names())
            assert {"RateLimit", "RateLimit-Policy"} <= set(response.headers.keys()), route


def test_the_callers_request_id_comes_back_where_it_is_a_plain_one(world: World) -> None:
    assert world.nobody.get("/healthz", headers={"X-Request-Id": "call-7"}).headers["X-Request-Id"] == "call-7"
    for odd in ("a b", "a" * 200, "é"):
        assert world.nobody.get("/healthz", headers={"X-Request-Id": odd}).headers["X-Request-Id"] != odd

"""The OpenAPI 3.1 document, generated from the table of URLs and what each view states."""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, Final

from flask import Blueprint, Flask, Response, current_app
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from service.api.answers import Answer, show_json
from service.api.contract import Operation, operation
from service.api.fields import LARGEST_INTEGER
from service.api.table import Route, table
from service.errors import (
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Invalid,
    Malformed,
    ModelwardError,
    NotFound,
    PreconditionFailed,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from service.gateway.errors import PROBLEM_JSON, status_of
from service.gateway.guards import public
from service.ids import NAME
from service.server.deadlines import MOST_MILLISECONDS
from service.tenants.idempotency import KEY

DESCRIPTION: Final = (
    "Serves versioned scikit-learn models to many tenants. Send an API key as `X-API-Key`, or a key or an access "
    "token as `Authorization: Bearer`. Errors are `application/problem+json` with a stable `code`."
)
_DOCUMENT: Final = "modelward.openapi"
_ALWAYS: Final[tuple[type[ModelwardError], ...]] = (
    Malformed,
    Invalid,
    Throttled,
    Unavailable,
    TooLarge,
    ModelwardError,
)
_CREATED: Final = 201
_REFERENCE: Final = "#/components/schemas/{model}"
_SEGMENTS: Final[dict[str, dict[str, Any]]] = {
    "version": {"type": "integer", "minimum": 1, "maximum": LARGEST_INTEGER},
    "key": {"type": "string", "pattern": "^key_[0-9a-z]{26}$"},
}
_NAME_SEGMENT: Final[dict[str, Any]] = {"type": "string", "pattern": NAME}

routes = Blueprint("openapi", __name__)


class ProblemPlace(Answer):
    """One thing that is wrong, and where."""

    at: str
    message: str


class Problem(Answer):
    """RFC 9457: what went wrong. `code` is stable; `errors` names each place, where there are any."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str | None
    errors: list[ProblemPlace]


class AnyObject(Answer):
    """A JSON object whose members another specification describes."""


@routes.get("/openapi.json")
@public
@operation("This document", answer=AnyObject)
def openapi() -> Response:
    """The OpenAPI 3.1 description of every call, generated from the code that answers them."""
    return show_json(document(current_app))


def document(app: Flask) -> dict[str, Any]:
    """Return the OpenAPI document of ``app``, made once."""
    if _DOCUMENT not in app.extensions:
        app.extensions[_DOCUMENT] = _generate(list(table(app)))
    made: dict[str, Any] = app.extensions[_DOCUMENT]
    return made


def _generate(table: list[Route]) -> dict[str, Any]:
    schemas, definitions = _schemas(table)
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Modelward",
            "version": version("modelward"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in sorted({route.tag for route in table})],
        "security": [{"ApiKey": []}, {"Bearer": []}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "responses": {str(status): _problem(status, titles) for status, titles in _refusals_by_status().items()},
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "`mw_…`"},
                "Bearer": {"type": "http", "scheme": "bearer", "description": "An API key or an access token."},
            },
        },
    }


def _wanted(route: Route) -> Iterator[tuple[type[BaseModel], JsonSchemaMode]]:
    contract = route.contract
    for body in (contract.body, *(contract.documents or {}).values()):
        if body is not None:
            yield body, "validation"
    if contract.answer is not None:
        yield contract.answer, "serialization"


def _schemas(table: list[Route]) -> tuple[Mapping[Any, Any], dict[str, Any]]:
    """Return a reference for each model that the routes name, and the definitions that they lead to."""
    wanted = dict.fromkeys(each for route in table for each in _wanted(route))
    references, document = models_json_schema([*wanted, (Problem, "serialization")], ref_template=_REFERENCE)
    return references, document["$defs"]


def _operation(route: Route, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    contract = route.contract
    described: dict[str, Any] = {
        "operationId": route.endpoint.partition(".")[2],
        "summary": contract.summary,
        "description": _description(route),
        "tags": [route.tag],
        "parameters": [*_path_parameters(route.path), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(route, schemas),
    }
    if route.public:
        described["security"] = []
    if body := _request_body(contract, schemas):
        described["requestBody"] = body
    return described


def _description(route: Route) -> str:
    needed = "" if route.scope is None else f"\n\nNeeds the scope `{route.scope}`."
    guarded = "\n\n`If-Match` with the resource's `ETag` refuses a change of what was changed since."
    return route.description + needed + (guarded if route.contract.conditional else "")


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path):
        yield {"name": name, "in": "path", "required": True, "schema": _SEGMENTS.get(name, _NAME_SEGMENT)}


def _query_parameters(route: Route) -> Iterator[dict[str, Any]]:
    schema = route.contract.query.model_json_schema()
    for name, described in schema.get("properties", {}).items():
        yield {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": _given(described)}


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that is either left out or not null."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in {"anyOf", "title", "default"}}
    default = {"default": schema["default"]} if schema.get("default") is not None else {}
    return {**(choices[0] if choices else {}), **rest, **default}


def _header_parameters(route: Route) -> Iterator[dict[str, Any]]:
    if route.idempotent:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "The same key and body replay the first answer for 24 hours.",
            "schema": {"type": "string", "pattern": KEY},
        }
    if route.contract.timed:
        yield {
            "name": "X-Request-Timeout-Ms",
            "in": "header",
            "required": False,
            "description": "Milliseconds for which you wait; after them the answer is a 504, and nothing works on.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MOST_MILLISECONDS},
        }


def _request_body(contract: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any] | None:
    bodies = {"application/json": contract.body} if contract.body else contract.documents or {}
    if not bodies:
        return None
    content: dict[str, Any] = {
        media: {} if model is None else {"schema": schemas[model, "validation"]} for media, model in bodies.items()
    }
    if contract.example is not None:
        next(iter(content.values()))["example"] = contract.example
    return {"required": not contract.optional_body, "content": content}


def _responses(route: Route, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    contract = route.contract
    good: dict[str, Any] = {"description": contract.summary}
    if contract.answer is not None:
        good["content"] = {contract.media: {"schema": schemas[contract.answer, "serialization"]}}
    elif contract.media != "application/json":
        good["content"] = {contract.media: {}}
    if contract.files:
        good["content"] |= {media: {} for media in contract.files}
    answers = {str(contract.status): good}
    answers |= {str(status): {**good, "description": text} for status, text in contract.also.items()}
    if contract.status == _CREATED:
        good["headers"] = {"Location": {"description": "Where it is.", "schema": {"type": "string"}}}
    if route.method == "GET" and "revision" in getattr(contract.answer, "model_fields", ()):
        good["headers"] = {"ETag": {"description": "Its revision, for If-Match.", "schema": {"type": "string"}}}
        answers["304"] = {"description": "It is still at the revision that If-None-Match names."}
    for status in sorted({status_of(family) for family in _families(route)}):
        answers.setdefault(str(status), {"$ref": f"#/components/responses/{status}"})
    return answers


def _families(route: Route) -> set[type[ModelwardError]]:
    """Return the families of errors that follow from what the route states."""
    contract = route.contract
    families = {*_ALWAYS, *contract.refuses}
    if not route.public:
        families |= {Unauthenticated, Forbidden}
    if "{" in route.path:
        families.add(NotFound)
    if contract.body or contract.documents:
        families.add(Unsupported)
    if route.idempotent:
        families.add(Conflict)
    if contract.timed:
        families.add(DeadlineExceeded)
    if contract.conditional:
        families.add(PreconditionFailed)
    return families


def _refusals_by_status() -> dict[int, list[str]]:
    by_status: dict[int, list[str]] = {}
    families: list[type[ModelwardError]] = [ModelwardError, *_descendants(ModelwardError)]
    for family in families:
        by_status.setdefault(status_of(family), []).append(family.title)
    return dict(sorted(by_status.items()))


def _descendants(family: type[ModelwardError]) -> Iterator[type[ModelwardError]]:
    for child in family.__subclasses__():
        yield child
        yield from _descendants(child)


def _problem(status: int, titles: list[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": ", or ".join(dict.fromkeys(titles)),
        "content": {PROBLEM_JSON: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}},
    }
    if status in {429, 503}:
        seconds = {"type": "integer", "minimum": 0}
        answer["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": seconds}}
    return answer

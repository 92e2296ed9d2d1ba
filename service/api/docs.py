"""The reference for people: one page made from the OpenAPI document, with no script and nothing from outside."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response, current_app, render_template

from service.api.contract import operation
from service.api.openapi import document
from service.gateway.codes import CODES
from service.gateway.guards import public

STYLE: Final = (Path(__file__).parent / "templates" / "docs.css").read_text()
STYLE_HASH: Final = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

routes = Blueprint("docs", __name__, template_folder="templates")


@dataclass(frozen=True, slots=True)
class Field:
    """A line of a table of fields."""

    name: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Call:
    """One operation, as the page shows it."""

    id: str
    method: str
    path: str
    summary: str
    description: list[str]
    public: bool
    parameters: list[Field]
    media: str | None
    body: list[Field]
    example: str | None
    answers: list[tuple[str, str]]


@routes.get("/docs")
@public
@operation("The reference for people", media="text/html")
def docs() -> Response:
    """The reference as a page: every call, what it takes and what it answers."""
    described = document(current_app)
    page = render_template("docs.html", style=STYLE, info=described["info"], groups=groups(described), codes=CODES)
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = POLICY
    return response


def groups(described: dict[str, Any]) -> dict[str, list[Call]]:
    """Return the calls of an OpenAPI document, by tag."""
    grouped: dict[str, list[Call]] = {}
    for path, operations in described["paths"].items():
        for method, each in operations.items():
            grouped.setdefault(each["tags"][0].replace("_", " "), []).append(_call(described, path, method, each))
    return grouped


def _call(described: dict[str, Any], path: str, method: str, each: dict[str, Any]) -> Call:
    content = each.get("requestBody", {}).get("content", {})
    media = next(iter(content), None)
    body = content.get(media, {})
    return Call(
        id=each["operationId"],
        method=method.upper(),
        path=path,
        summary=each["summary"],
        description=each["description"].split("\n\n"),
        public=each.get("security") == [],
        parameters=[
            Field(f"{one['name']} ({one['in']})", _type(one["schema"]), one["required"], one.get("description", ""))
            for one in each["parameters"]
        ],
        media=media,
        body=list(_fields(_resolved(described, body.get("schema", {})))),
        example=json.dumps(body["example"]) if "example" in body else None,
        answers=[(status, _resolved(described, answer)["description"]) for status, answer in each["responses"].items()],
    )


def _fields(schema: dict[str, Any]) -> Iterator[Field]:
    for name, described in schema.get("properties", {}).items():
        yield Field(name, _type(described), name in schema.get("required", ()), described.get("description", ""))


def _resolved(described: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    reference = value.get("$ref")
    if reference is None:
        return value
    found: Any = described
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format", kind)) if kind == "string" else kind

"""API keys of the caller's tenant."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Self

from flask import Blueprint, Response
from pydantic import ConfigDict, Field, model_validator

from service.api.answers import Answer, Listing, nothing, show
from service.api.bodies import Body, Change
from service.api.contract import operation
from service.api.fields import Line, Moment, Name, Network, Role, Scopes, Whole
from service.api.parameters import Paging
from service.errors import Conflict
from service.gateway.context import principal, services
from service.gateway.guards import idempotent, requires
from service.tenants.key_fields import MOST_ENTRIES
from service.tenants.keys import LONGEST_OVERLAP, IssuedKey, KeySpec
from service.tenants.scopes import Scope

routes = Blueprint("keys", __name__)

Models = Annotated[list[Name], Field(min_length=1, max_length=MOST_ENTRIES)]
Networks = Annotated[list[Network], Field(min_length=1, max_length=MOST_ENTRIES)]


class NewKey(Body):
    """What a key may do: `scopes`, or a `role` that stands for them. It never reaches further than its maker."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["scopes"]}, {"required": ["role"]}]})

    name: Line
    scopes: Scopes = Field(default_factory=list)
    role: Role = ""
    expires_at: Moment | None = None
    models: Models | None = None
    allowed_cidrs: Networks | None = None

    @model_validator(mode="after")
    def _scopes_or_role(self) -> Self:
        if ("scopes" in self.model_fields_set) == ("role" in self.model_fields_set):
            raise ValueError("Give either scopes or role.")
        return self


class KeyChange(Change):
    """What may be changed of a key; what is left out stays."""

    name: Line = ""
    scopes: Scopes = Field(default_factory=list)
    expires_at: Moment | None = None
    models: Models | None = None
    allowed_cidrs: Networks | None = None


class Rotation(Body):
    """How long the old key goes on."""

    overlap_seconds: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP), Whole] = 0


class KeyAnswer(Answer):
    """A key, without its secret."""

    id: str
    name: str
    hint: str
    scopes: list[str]
    models: list[str] | None
    allowed_cidrs: list[str] | None
    expires_at: datetime | None
    revoked_at: datetime | None
    revision: int
    created_at: datetime
    created_by: str


class KeyWithSecret(KeyAnswer):
    """A key as it was just made; `api_key` is shown this once."""

    api_key: str


@routes.get("/v1/keys")
@requires(Scope.KEYS_MANAGE)
@operation("List keys", query=Paging, answer=Listing[KeyAnswer])
def list_keys(query: Paging) -> Response:
    """The tenant's keys, the oldest first."""
    return show(Listing[KeyAnswer], services().keys.list(principal(), query.limit, query.cursor))


@routes.post("/v1/keys")
@requires(Scope.KEYS_MANAGE)
@idempotent
@operation("Make a key", body=NewKey, answer=KeyWithSecret, status=201)
def create_key(body: NewKey) -> Response:
    """Make a key. The answer holds its secret, which is nowhere else."""
    return show_issued(services().keys.create(principal(), KeySpec(**body.model_dump(exclude_unset=True))))


@routes.get("/v1/keys/<key>")
@requires(Scope.KEYS_MANAGE)
@operation("Read a key", answer=KeyAnswer)
def get_key(key: str) -> Response:
    """One key, without its secret."""
    return show(KeyAnswer, services().keys.get(principal(), key))


@routes.patch("/v1/keys/<key>")
@requires(Scope.KEYS_MANAGE)
@operation("Change a key", body=KeyChange, answer=KeyAnswer, conditional=True, refuses=(Conflict,))
def change_key(key: str, body: KeyChange, expected_revision: int | None) -> Response:
    """Change what a key is called, what it may do, or how long."""
    return show(KeyAnswer, services().keys.change(principal(), key, body.changes(), expected_revision))


@routes.delete("/v1/keys/<key>")
@requires(Scope.KEYS_MANAGE)
@operation("Revoke a key", status=204, conditional=True)
def revoke_key(key: str, expected_revision: int | None) -> Response:
    """Revoke a key and every token made from it: within a second, on every worker."""
    services().keys.revoke(principal(), key, expected_revision)
    return nothing()


@routes.post("/v1/keys/<key>/rotate")
@requires(Scope.KEYS_MANAGE)
@idempotent
@operation("Rotate a key", body=Rotation, optional_body=True, answer=KeyWithSecret, status=201, refuses=(Conflict,))
def rotate_key(key: str, body: Rotation) -> Response:
    """Make a key that may do the same; the old one ends after the overlap."""
    return show_issued(services().keys.rotate(principal(), key, body.overlap_seconds))


def show_issued(issued: IssuedKey) -> Response:
    """Return a key that was just made, with its secret."""
    shown = {**asdict(issued.view), "api_key": issued.secret}
    return show(KeyWithSecret, shown, 201, location=f"/v1/keys/{issued.view.id}")

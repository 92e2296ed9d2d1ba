"""Aliases: movable names of versions, and the ledger of their moves."""

from datetime import datetime
from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field

from service.api.answers import Answer, Listing, nothing, show
from service.api.bodies import Body
from service.api.contract import operation
from service.api.fields import Moment, Reason, VersionNumber
from service.api.parameters import NumberPaging, Paging
from service.errors import Conflict
from service.gateway.context import principal, services
from service.gateway.guards import idempotent, requires
from service.registry.aliases import UNSET
from service.tenants.scopes import Scope

routes = Blueprint("aliases", __name__)

ALIASES = "/v1/models/<model>/aliases"


class AliasMove(Body):
    """Where an alias is to point. `expected` is where it must point now; null means that it must not exist."""

    version: VersionNumber
    expected: Annotated[VersionNumber | None, Field(description="Left out, any present target is accepted.")] = None
    reason: Reason = ""


class Rollback(Body):
    """Why an alias goes back."""

    reason: Reason = ""


class History(NumberPaging):
    """Which moves; `as_of` leaves out those after that moment."""

    as_of: Moment | None = None


class AliasAnswer(Answer):
    """An alias and the version that it names."""

    model: str
    alias: str
    version: int
    revision: int
    updated_at: datetime
    updated_by: str


class MoveAnswer(Answer):
    """One move of an alias."""

    sequence: int
    action: str
    from_version: int | None
    to_version: int | None
    reason: str
    actor: str
    at: datetime


@routes.get(ALIASES)
@requires(Scope.MODELS_READ)
@operation("List aliases", query=Paging, answer=Listing[AliasAnswer])
def list_aliases(model: str, query: Paging) -> Response:
    """The aliases of a model."""
    return show(
        Listing[AliasAnswer], services().aliases.list(principal(), model, limit=query.limit, cursor=query.cursor)
    )


@routes.get(f"{ALIASES}/<alias>")
@requires(Scope.MODELS_READ)
@operation("Read an alias", answer=AliasAnswer)
def get_alias(model: str, alias: str) -> Response:
    """One alias."""
    return show(AliasAnswer, services().aliases.get(principal(), model, alias))


@routes.put(f"{ALIASES}/<alias>")
@requires(Scope.VERSIONS_PROMOTE)
@operation("Move an alias", body=AliasMove, answer=AliasAnswer, conditional=True, refuses=(Conflict,))
def move_alias(model: str, alias: str, body: AliasMove, expected_revision: int | None) -> Response:
    """Set an alias, or move it. With `expected` it is a compare-and-set."""
    moved = services().aliases.move(
        principal(),
        model,
        alias,
        body.version,
        expected=body.expected if "expected" in body.model_fields_set else UNSET,
        reason=body.reason,
        expected_revision=expected_revision,
    )
    return show(AliasAnswer, moved)


@routes.delete(f"{ALIASES}/<alias>")
@requires(Scope.VERSIONS_PROMOTE)
@operation("Remove an alias", status=204, conditional=True)
def delete_alias(model: str, alias: str, expected_revision: int | None) -> Response:
    """Remove an alias; its history stays."""
    services().aliases.delete(principal(), model, alias, expected_revision=expected_revision)
    return nothing()


@routes.post(f"{ALIASES}/<alias>/rollback")
@requires(Scope.VERSIONS_PROMOTE)
@idempotent
@operation("Roll an alias back", body=Rollback, optional_body=True, answer=AliasAnswer, refuses=(Conflict,))
def roll_back_alias(model: str, alias: str, body: Rollback) -> Response:
    """Point an alias at the version that it named before."""
    return show(AliasAnswer, services().aliases.rollback(principal(), model, alias, reason=body.reason))


@routes.get(f"{ALIASES}/<alias>/history")
@requires(Scope.MODELS_READ)
@operation("Read the moves of an alias", query=History, answer=Listing[MoveAnswer])
def alias_history(model: str, alias: str, query: History) -> Response:
    """Every move of an alias, the newest first."""
    page = services().aliases.history(
        principal(), model, alias, as_of=query.as_of, limit=query.limit, cursor=query.cursor
    )
    return show(Listing[MoveAnswer], page)

"""Models: the named things that a tenant calls."""

from datetime import datetime
from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field

from service.api.answers import Answer, Listing, nothing, show
from service.api.bodies import Body, Change
from service.api.contract import operation
from service.api.fields import Name, Tags, Text
from service.api.parameters import Paging
from service.errors import Conflict
from service.gateway.context import principal, services
from service.gateway.guards import idempotent, requires
from service.runtimes.policy import EXACT, Policy
from service.tenants.scopes import Scope

routes = Blueprint("models", __name__)

Parity = Annotated[
    Policy,
    Field(
        description="How far compiled forms of later versions may be from scikit-learn: `exact` is 1e-9, "
        "`tolerance` is 1e-5 of each number. Labels are equal under both."
    ),
]


class NewModel(Body):
    """A model without a version yet; uploading one makes its model as well."""

    name: Name
    description: Text = ""
    tags: Tags = Field(default_factory=dict)
    parity: Parity = EXACT


class ModelChange(Change):
    """What may be changed of a model; what is left out stays."""

    description: Text = ""
    tags: Tags = Field(default_factory=dict)
    parity: Parity = EXACT


class ModelAnswer(Answer):
    """A model."""

    name: str
    description: str
    tags: dict[str, str]
    parity: Parity
    revision: int
    created_at: datetime
    created_by: str


@routes.get("/v1/models")
@requires(Scope.MODELS_READ)
@operation("List models", query=Paging, answer=Listing[ModelAnswer])
def list_models(query: Paging) -> Response:
    """The tenant's models by name, those that the credential reaches."""
    return show(Listing[ModelAnswer], services().models.list(principal(), limit=query.limit, cursor=query.cursor))


@routes.post("/v1/models")
@requires(Scope.MODELS_WRITE)
@idempotent
@operation("Make a model", body=NewModel, answer=ModelAnswer, status=201, refuses=(Conflict,))
def create_model(body: NewModel) -> Response:
    """Make a model that has no version yet."""
    model = services().models.create(
        principal(), body.name, description=body.description, tags=body.tags, parity=body.parity
    )
    return show(ModelAnswer, model, 201, location=f"/v1/models/{model.name}")


@routes.get("/v1/models/<model>")
@requires(Scope.MODELS_READ)
@operation("Read a model", answer=ModelAnswer)
def get_model(model: str) -> Response:
    """One model."""
    return show(ModelAnswer, services().models.get(principal(), model))


@routes.patch("/v1/models/<model>")
@requires(Scope.MODELS_WRITE)
@operation("Change a model", body=ModelChange, answer=ModelAnswer, conditional=True)
def change_model(model: str, body: ModelChange, expected_revision: int | None) -> Response:
    """Change a model's description, tags or parity. Another parity holds for the versions uploaded from then on."""
    return show(ModelAnswer, services().models.change(principal(), model, body.changes(), expected_revision))


@routes.delete("/v1/models/<model>")
@requires(Scope.MODELS_WRITE)
@operation("Delete a model", status=204, conditional=True, refuses=(Conflict,))
def delete_model(model: str, expected_revision: int | None) -> Response:
    """Delete a model with its versions and aliases. Its version numbers are never used again."""
    services().models.delete(principal(), model, expected_revision=expected_revision)
    return nothing()

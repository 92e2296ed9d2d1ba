"""Signing keys, as operators see and rotate them."""

from datetime import datetime

from flask import Blueprint, Response

from service.api.answers import Answer, Listing, show
from service.api.contract import operation
from service.api.parameters import Paging
from service.gateway.context import principal, services
from service.gateway.guards import idempotent, requires
from service.tenants.scopes import Scope

routes = Blueprint("admin_signing_keys", __name__)

SIGNING_KEYS = "/v1/admin/signing-keys"


class SigningKeyAnswer(Answer):
    """A signing key; `status` is `published`, `signing` or `verifying`."""

    kid: str
    algorithm: str
    status: str
    created_at: datetime
    signs_from: datetime
    retires_at: datetime | None


class NewSigningKey(Answer):
    """The id of the key that was just published."""

    kid: str


@routes.get(SIGNING_KEYS)
@requires(Scope.PLATFORM_ADMIN)
@operation("List signing keys", query=Paging, answer=Listing[SigningKeyAnswer])
def list_signing_keys(query: Paging) -> Response:
    """Every published key, the oldest first; none shows its private half."""
    return show(Listing[SigningKeyAnswer], services().signing_keys.list(query.limit, query.cursor))


@routes.post(f"{SIGNING_KEYS}/rotate")
@requires(Scope.PLATFORM_ADMIN)
@idempotent
@operation("Rotate the signing key", answer=NewSigningKey, status=201)
def rotate_signing_key() -> Response:
    """Publish a new key, which signs two seconds later; those before it go on verifying."""
    made = {"kid": services().signing_keys.rotate(principal())}
    return show(NewSigningKey, made, 201, location=SIGNING_KEYS)

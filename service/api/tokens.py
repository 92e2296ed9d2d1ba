"""Tokens: got for an API key, renewed, revoked; and the public keys that verify them."""

from typing import Annotated, Any, Final

from flask import Blueprint, Response, request
from pydantic import Field

from service.api.answers import Answer, nothing, show
from service.api.bodies import Body
from service.api.contract import operation
from service.errors import Conflict, Forbidden, Invalid, Unauthenticated
from service.gateway.auth import KEY_PREFIX
from service.gateway.context import principal, services
from service.gateway.guards import public, requires
from service.gateway.tokens import claims_of, encoded
from service.tenants.scopes import Scope
from service.tenants.tokens import Grant

routes = Blueprint("tokens", __name__)

_ANY_SCOPE: Final = "|".join(Scope)


class Narrowing(Body):
    """The only scopes that the token is to have, separated by spaces."""

    scope: Annotated[str, Field(pattern=rf"^({_ANY_SCOPE})( ({_ANY_SCOPE})){{0,{len(Scope) - 1}}}$")] = ""


class Renewal(Body):
    """The refresh token to spend."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]


class Revocation(Body):
    """The access or refresh token to revoke."""

    token: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]


class TokenPair(Answer):
    """An access token, and the refresh token that renews it once."""

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str
    scope: str


class KeySet(Answer):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, Any]]


@routes.post("/v1/auth/token")
@requires()
@operation("Get tokens for an API key", body=Narrowing, optional_body=True, answer=TokenPair, refuses=(Conflict,))
def get_token(body: Narrowing) -> Response:
    """Exchange the API key in the header for an access token and a refresh token.

    An `Idempotency-Key` is not looked at, since its answer would have to be stored, and no token is.
    """
    _require_api_key()
    narrowed = frozenset(map(Scope, body.scope.split())) if body.scope else None
    return _show_grant(services().tokens.issue(principal(), narrowed))


@routes.post("/v1/auth/refresh")
@public
@operation("Renew tokens", body=Renewal, answer=TokenPair, refuses=(Unauthenticated, Forbidden, Conflict))
def refresh_token(body: Renewal) -> Response:
    """Spend a refresh token for a new pair. Its second use revokes every token of its family."""
    return _show_grant(services().tokens.refresh(body.refresh_token, request.remote_addr))


@routes.post("/v1/auth/revoke")
@public
@operation("Revoke a token", body=Revocation, status=204)
def revoke_token(body: Revocation) -> Response:
    """Revoke an access token, or a refresh token with its family. A token that does not hold is revoked already."""
    if body.token.startswith(KEY_PREFIX):
        raise Invalid("An API key is revoked with DELETE /v1/keys/{id}.", code="not_a_token")
    services().tokens.revoke(None, _claims(body.token) or body.token)
    return nothing()


@routes.get("/.well-known/jwks.json")
@public
@operation("Read the public signing keys", answer=KeySet)
def jwks() -> Response:
    """The keys that verify access tokens, old ones until their last token ends."""
    return show(KeySet, services().signing_keys.jwks())


def _require_api_key() -> None:
    # A token that could be exchanged for another would never end.
    sent = request.headers.get("X-API-Key") or request.headers.get("Authorization", "").partition(" ")[2]
    if not sent.strip().startswith(KEY_PREFIX):
        raise Unauthenticated("Tokens are given for an API key only.", code="api_key_required")


def _claims(token: str) -> dict[str, Any] | None:
    try:
        return claims_of(token)
    except Unauthenticated:
        return None


def _show_grant(grant: Grant) -> Response:
    shown = {
        "access_token": encoded(grant.access_claims),
        "token_type": "Bearer",
        "expires_in": grant.expires_in,
        "refresh_token": grant.refresh_token,
        "scope": " ".join(sorted(grant.scopes)),
    }
    return show(TokenPair, shown)

"""Access tokens as text: signed and verified by flask-jwt-extended, held to one strict form.

What a token says and whether it still holds is decided in ``service.tenants.tokens``.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from hashlib import blake2b
from threading import Lock
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from flask import Flask, current_app
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException

from service.bootstrap import Services
from service.errors import Unauthenticated
from service.gateway.context import services
from service.tenants.tokens import LEEWAY_SECONDS

ALGORITHM: Final = "EdDSA"
TYPE: Final = "at+jwt"
MOST_CHARACTERS: Final = 4096
REMEMBERED: Final = 10_000

_EXTENSION: Final = "modelward.verified-tokens"
_TEXT_CLAIMS: Final = ("iss", "aud", "sub", "tenant", "scope", "jti")
_TIME_CLAIMS: Final = ("iat", "exp")

_signing_key: ContextVar[Ed25519PrivateKey] = ContextVar("signing_key")


class VerifiedTokens:
    """Claims of tokens that were verified here, until they end.

    Verifying a signature costs more than a whole warm prediction. What may change while a
    token lasts is looked at on each request, by ``Tokens.principal_of``.
    """

    def __init__(self) -> None:
        self._claims: OrderedDict[bytes, dict[str, Any]] = OrderedDict()
        self._lock = Lock()

    def get(self, digest: bytes) -> dict[str, Any] | None:
        """Return the claims of a token that has not ended."""
        claims = self._claims.get(digest)
        return claims if claims is not None and time.time() < claims["exp"] + LEEWAY_SECONDS else None

    def forget(self, digest: bytes) -> None:
        """Forget a token that no longer holds."""
        with self._lock:
            self._claims.pop(digest, None)

    def put(self, digest: bytes, claims: dict[str, Any]) -> None:
        """Remember the claims, and forget the oldest where there are too many."""
        with self._lock:
            self._claims[digest] = claims
            if len(self._claims) > REMEMBERED:
                self._claims.popitem(last=False)


def init_app(app: Flask, services: Services) -> None:
    """Configure flask-jwt-extended for the one form of token that there is."""
    settings = services.settings
    app.config.update(
        JWT_TOKEN_LOCATION=["headers"],
        JWT_ALGORITHM=ALGORITHM,
        JWT_DECODE_ALGORITHMS=[ALGORITHM],
        JWT_DECODE_LEEWAY=LEEWAY_SECONDS,
        JWT_ENCODE_ISSUER=settings.issuer,
        JWT_DECODE_ISSUER=settings.issuer,
        JWT_ENCODE_AUDIENCE=settings.audience,
        JWT_DECODE_AUDIENCE=settings.audience,
        JWT_COOKIE_CSRF_PROTECT=False,
        JWT_ENCODE_NBF=False,
    )
    manager = JWTManager(app)
    manager.encode_key_loader(lambda _identity: _signing_key.get())
    manager.decode_key_loader(lambda header, _claims: _verifying_key(header))
    app.extensions[_EXTENSION] = VerifiedTokens()


def encoded(claims: Mapping[str, Any]) -> str:
    """Sign the claims of an access token with the key that signs now, and return its text."""
    kid, private = services().signing_keys.signing()
    reset = _signing_key.set(private)
    try:
        token: str = create_access_token(
            identity=claims["sub"],
            expires_delta=False,
            additional_claims=dict(claims),
            additional_headers={"typ": TYPE, "kid": kid},
        )
        return token
    finally:
        _signing_key.reset(reset)


def claims_of(token: str, before_lookup: Callable[[], None] | None = None) -> dict[str, Any]:
    """Return the claims of an access token whose signature, form, issuer, audience and times hold.

    :param before_lookup: called for a token that was not found good here; what it raises goes on.
    :raises Unauthenticated: one of them does not.
    """
    verified: VerifiedTokens = current_app.extensions[_EXTENSION]
    digest = _digest(token)
    claims = verified.get(digest)
    if claims is None:
        if before_lookup is not None:
            before_lookup()
        claims = _verify(token)
        verified.put(digest, claims)
    return claims


def known_claims(app: Flask, token: str) -> dict[str, Any] | None:
    """Return the claims of a token that was verified here already."""
    verified: VerifiedTokens = app.extensions[_EXTENSION]
    return verified.get(_digest(token))


def forget(token: str) -> None:
    """Treat a token, from now on, as one that was never found good."""
    verified: VerifiedTokens = current_app.extensions[_EXTENSION]
    verified.forget(_digest(token))


def _digest(token: str) -> bytes:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _verify(token: str) -> dict[str, Any]:
    if len(token) > MOST_CHARACTERS:
        raise _invalid()
    try:
        claims = decode_token(token)
    except jwt.ExpiredSignatureError as error:
        raise Unauthenticated("The access token has expired.", code="expired_token") from error
    except (jwt.PyJWTError, JWTExtendedException, ValueError, TypeError, RecursionError) as error:
        raise _invalid() from error
    _require_form(claims)
    return claims


def _verifying_key(header: Mapping[str, Any]) -> Ed25519PublicKey:
    """Return the key that a token names, after its header is held to the form that we write.

    A header of ours has three members. Any other (``crit``, ``jwk``, ``jku``, ``x5u`` …) asks
    to be verified in another way than ours, so it is refused before anything is made of it.
    """
    kid = header.get("kid")
    if set(header) != {"alg", "typ", "kid"} or header["alg"] != ALGORITHM or header["typ"] != TYPE:
        raise _invalid()
    if not isinstance(kid, str) or not kid.isascii() or not kid.isprintable():
        raise _invalid()
    key = services().signing_keys.verifying(kid)
    if key is None:
        raise _invalid()
    return key


def _require_form(claims: Mapping[str, Any]) -> None:
    settings = services().settings
    strings = all(isinstance(claims.get(name), str) and claims[name] for name in _TEXT_CLAIMS if name != "scope")
    # A token for several audiences is none of ours, though PyJWT would take one of them.
    if not strings or not isinstance(claims.get("scope"), str) or claims["aud"] != settings.audience:
        raise _invalid()
    times = [claims.get(name) for name in _TIME_CLAIMS]
    if not all(isinstance(moment, int | float) and not isinstance(moment, bool) for moment in times):
        raise _invalid()


def _invalid() -> Unauthenticated:
    return Unauthenticated("The access token is not valid.", code="invalid_token")

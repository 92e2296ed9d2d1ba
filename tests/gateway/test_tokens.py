"""Access tokens: one strict form, and everything else refused."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.gateway.application import Running

HEADERS: dict[str, dict[str, Any]] = {
    "another type": {"typ": "JWT"},
    "the type of an id token": {"typ": "id+jwt"},
    "no type": {"typ": None},
    "crit": {"crit": ["exp"]},
    "an unknown crit": {"crit": ["x"], "x": 1},
    "jwk": {"jwk": {"kty": "OKP"}},
    "jku": {"jku": "http://127.0.0.1:1/keys"},
    "x5u": {"x5u": "http://127.0.0.1:1/cert"},
    "x5c": {"x5c": ["MIIB"]},
    "b64": {"b64": False, "crit": ["b64"]},
    "an unknown kid": {"kid": "another"},
    "a kid that is a path": {"kid": "../../../dev/null"},
    "a kid that is SQL": {"kid": "' OR '1'='1"},
    "a kid with a NUL": {"kid": "a\0b"},
    "a kid that is no text": {"kid": ["a"]},
    "no kid": {"kid": None},
}

CLAIMS: dict[str, dict[str, Any]] = {
    **{f"no {name}": {name: None} for name in ("iss", "aud", "sub", "tenant", "scope", "jti", "iat", "exp")},
    "another issuer": {"iss": "another"},
    "a foreign audience": {"aud": "another"},
    "several audiences": {"aud": ["modelward", "another"]},
    "an expired one": {"exp": int(time.time()) - 61},
    "one of the future": {"iat": int(time.time()) + 86_400},
    "not yet valid": {"nbf": int(time.time()) + 86_400},
    "a subject that is a number": {"sub": 7},
    "another tenant": {"tenant": "other"},
    "a tenant that is a list": {"tenant": ["acme"]},
    "an unknown subject": {"sub": "key_00000000000000000000000000"},
    "an empty jti": {"jti": ""},
    "an end that is a text": {"exp": "tomorrow"},
    "a scope that is a list": {"scope": ["models:read"]},
}


def parts(running: Running) -> tuple[dict[str, Any], dict[str, Any], Ed25519PrivateKey]:
    """Return the header and the claims of a good token, and the key that signs it."""
    kid, private = running.services.signing_keys.signing()
    claims = running.services.tokens.issue(running.principal()).access_claims
    return {"typ": "at+jwt", "kid": kid}, dict(claims), private


def signed(header: dict[str, Any], claims: dict[str, Any], key: Any, algorithm: str = "EdDSA") -> str:
    """Sign by hand, so that a library's own checks stand in no forger's way."""
    full = {name: value for name, value in {"alg": algorithm, **header}.items() if value is not None}
    kept = {name: value for name, value in claims.items() if value is not None}
    text = f"{encoded(json.dumps(full).encode())}.{encoded(json.dumps(kept).encode())}"
    signature = key.sign(text.encode()) if hasattr(key, "sign") else key(text.encode())
    return f"{text}.{encoded(signature)}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def ask(running: Running, token: str) -> int:
    response = running.ask("/any", headers={"Authorization": f"Bearer {token}"})
    if response.status_code != 200:
        assert response.json["code"] in {"invalid_token", "expired_token"}, response.json
    return response.status_code


def test_a_token_signed_by_hand_in_our_form_is_taken(running: Running) -> None:
    assert ask(running, signed(*parts(running))) == 200


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_of_another_form_is_refused(running: Running, name: str) -> None:
    header, claims, key = parts(running)
    assert ask(running, signed(header | HEADERS[name], claims, key)) == 401


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_of_another_form_are_refused(running: Running, name: str) -> None:
    header, claims, key = parts(running)
    assert ask(running, signed(header, claims | CLAIMS[name], key)) == 401


def test_the_clock_may_be_off_by_half_a_minute(running: Running) -> None:
    header, claims, key = parts(running)
    now = int(time.time())
    assert ask(running, signed(header, claims | {"exp": now - 25}, key)) == 200
    assert ask(running, signed(header, claims | {"exp": now - 31}, key)) == 401


def test_other_algorithms_are_refused(running: Running) -> None:
    header, claims, key = parts(running)
    public = key.public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert ask(running, signed(header, claims, lambda _: b"", "none")) == 401
    assert ask(running, signed(header, claims, lambda _: b"", "None")) == 401
    for algorithm in ("HS256", "HS512"):
        mac = jwt.get_algorithm_by_name(algorithm)
        assert ask(running, signed(header, claims, lambda text, mac=mac: mac.sign(text, raw), algorithm)) == 401
    assert ask(running, signed(header, claims, key, "ES256")) == 401


def test_a_signature_that_is_not_ours_is_refused(running: Running) -> None:
    header, claims, key = parts(running)
    good = signed(header, claims, key)
    assert ask(running, signed(header, claims, Ed25519PrivateKey.generate())) == 401
    assert ask(running, good.rpartition(".")[0] + ".") == 401
    assert ask(running, good.rpartition(".")[0]) == 401
    assert ask(running, good + "." + good) == 401
    head, _, signature = good.split(".")
    forged = encoded(json.dumps({**claims, "scope": "platform:admin"}).encode())
    assert ask(running, f"{head}.{forged}.{signature}") == 401


@pytest.mark.parametrize("token", ["a.b.c", "...", "a" * 5000, "e30.e30.", "é.é.é", "null.null.null"])
def test_what_is_no_token_is_refused(running: Running, token: str) -> None:
    response = running.ask("/any", headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, response.json["code"]) == (401, "invalid_token")


def test_our_tokens_have_the_contracts_form(running: Running) -> None:
    token = running.token()
    assert jwt.get_unverified_header(token).keys() == {"alg", "typ", "kid"}
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims.keys() >= {"iss", "aud", "sub", "tenant", "scope", "jti", "iat", "exp"}
    assert claims["exp"] - claims["iat"] == 900


def test_a_revoked_token_is_refused_though_it_was_verified_before(running: Running) -> None:
    token = running.token()
    bearer = {"Authorization": f"Bearer {token}"}
    assert running.ask("/any", headers=bearer).status_code == 200
    claims = running.ask("/claims", method="POST", data=token).json
    running.services.tokens.revoke(running.principal(), claims)
    response = running.ask("/any", headers=bearer)
    assert (response.status_code, response.json["code"]) == (401, "revoked_token")


def test_a_verified_token_is_not_verified_again_until_it_ends(running: Running) -> None:
    header, claims, key = parts(running)
    token = signed(header, claims | {"exp": int(time.time()) - 28}, key)
    assert ask(running, token) == 200
    time.sleep(2.1)
    assert ask(running, token) == 401

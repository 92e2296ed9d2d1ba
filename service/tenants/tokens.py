"""Tokens made from API keys: short access tokens, and refresh tokens that are spent once.

This module decides what a token says and whether it still holds; signing and decoding
belong to the edge. An access token and the refresh token it was given out with have the
same name, so that revoking a family of refresh tokens reaches the access tokens too.
"""

import hmac
import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import orm

from service.database import PLATFORM, Database, insert, now
from service.errors import Forbidden, Unauthenticated
from service.ids import new_id, random_name
from service.tenants import key_format
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs, Snapshots
from service.tenants.keys import ApiKeys
from service.tenants.principal import Principal
from service.tenants.scopes import Scope
from service.tenants.standing import CAPACITY, StandingKeys, known_scopes, require_usable
from service.tenants.tables import RefreshToken, RevokedToken
from service.tenants.vault import Vault

ACCESS_SECONDS: Final = 900
REFRESH_SECONDS: Final = 30 * 24 * 3600
RETRY_SECONDS: Final = 10
"""How long after its first use a refresh token gives the same answer again, for one whose answer was lost."""

LEEWAY_SECONDS: Final = 30
"""How far the clocks of two machines may differ: a token holds for so long after its end."""

_PURPOSE: Final = "refresh-token"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a caller gets: the claims to sign, the refresh token, seconds until the access token ends."""

    access_claims: dict[str, Any]
    refresh_token: str = field(repr=False)
    expires_in: int
    scopes: frozenset[Scope]


class Tokens:
    """Issues, refreshes, checks and revokes tokens.

    :param issuer: the ``iss`` of every access token.
    :param audience: the ``aud`` of every access token.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        epochs: Epochs,
        keys: ApiKeys,
        audit: Audit,
        *,
        issuer: str,
        audience: str,
    ) -> None:
        self._database = database
        self._vault = vault
        self._epochs = epochs
        self._keys = keys
        self._audit = audit
        self._issuer = issuer
        self._audience = audience
        self._snapshots: Snapshots[tuple[str, str, str], Principal] = Snapshots(epochs, CAPACITY)

    def issue(self, principal: Principal, narrowed: frozenset[Scope] | None = None) -> Grant:
        """Give a pair of tokens to a principal who presented an API key; a new family begins.

        :param narrowed: the only scopes that the tokens have; ``None`` is all of the key's.
        :raises Forbidden: the key lacks one of them.
        """
        scopes = principal.scopes if narrowed is None else narrowed
        subject = principal.subject
        with self._audit.recording_refusals(principal.tenant_id, subject, "token.issue", subject):
            if not scopes <= principal.scopes:
                beyond = min(scopes - principal.scopes)
                raise Forbidden(f"The key does not hold the scope {beyond}.", code="scope_escalation")
        with self._database.write(principal.tenant_id) as session:
            return self._grant(session, principal, scopes, new_id("fam"))

    def refresh(self, presented: str, address: str | None = None) -> Grant:
        """Spend a refresh token for a new pair.

        Asked again within ten seconds, it gives the same pair again; asked later, somebody
        has a copy, and the whole family is revoked with its access tokens.

        :param address: the caller's, for keys that are bound to networks; ``None`` does not check it.
        :raises Unauthenticated: it is malformed, unknown, expired, revoked, or spent, or its key no longer stands.
        :raises Forbidden: the tenant is suspended, or the address is not allowed.
        """
        token = self._find(presented)
        key = None if token is None else self._keys.standing.get(token.key_id)
        if token is None or key is None or token.revoked_at is not None:
            raise _invalid()
        principal = key.require()
        require_usable(principal if address is not None else replace(principal, networks=None), address or "")
        if token.expires_at <= now():
            raise Unauthenticated("The refresh token has expired.", code="expired_refresh_token")
        with self._database.write(token.tenant_id) as session:
            grant = self._spend(session, token, principal) or self._spent_before(session, token)
        if grant is None:
            self._revoke_family(token, "token.reuse", token.key_id, "refused")
            raise Unauthenticated(
                "The refresh token was used before; all tokens of its family are revoked.", code="refresh_token_reused"
            )
        return grant

    def revoke(self, principal: Principal | None, presented: str | Mapping[str, Any]) -> None:
        """Revoke an access token, or a refresh token with its family: within a second, on every worker.

        Whoever holds a token may revoke it, and an unknown one is no error (RFC 7009).

        :param principal: who asks, where that is known.
        :param presented: a refresh token's text, or an access token's verified claims.
        """
        if isinstance(presented, str):
            token = self._find(presented)
            if token is not None:
                self._revoke_family(token, "token.revoke", principal.subject if principal else token.key_id, "ok")
            return
        key = self._keys.standing.get(str(presented["sub"]))
        if key is None or key.principal.tenant != presented["tenant"]:
            return
        tenant_id, jti, ends = key.principal.tenant_id, str(presented["jti"]), float(presented["exp"])
        # Of a tenant that was just deleted nothing is left to be revoked.
        with suppress(Unauthenticated), self._database.write(tenant_id) as session:
            self._epochs.bump(session, tenant_id)
            self._revoke_access(session, tenant_id, {jti: ends})
            actor = principal.subject if principal else key.principal.subject
            self._record(session, tenant_id, actor, "token.revoke", jti, "ok")

    def known(self, claims: Mapping[str, Any]) -> Principal | None:
        """Return who presents a verified access token, where that was looked up already and still holds."""
        return self._snapshots.get((str(claims["jti"]), str(claims["sub"]), str(claims["scope"])))

    def principal_of(self, claims: Mapping[str, Any], address: str) -> Principal:
        """Return who presents a verified access token: the key behind it, narrowed to the token's scopes.

        :param claims: of a token whose signature, issuer, audience and times were checked.
        :raises Unauthenticated: it is revoked, or its key is revoked, expired or gone.
        :raises Forbidden: the tenant is suspended, or the address is not allowed.
        """
        jti, key_id, scope = str(claims["jti"]), str(claims["sub"]), str(claims["scope"])
        principal = self._snapshots.get((jti, key_id, scope))
        if principal is None:
            with self._database.read(PLATFORM) as session:
                # The key is read first, because its statement reads the epoch.
                key = StandingKeys.read(session, key_id) if (jti + key_id).isprintable() else None
                if key is None or key.principal.tenant != claims["tenant"]:
                    raise Unauthenticated("The token is not valid.", code="invalid_token")
                tenant_id = key.principal.tenant_id
                revoked = session.get(RevokedToken, (tenant_id, jti)) is not None
            if revoked:
                raise Unauthenticated("The token is revoked.", code="revoked_token")
            principal = key.require()
            principal = replace(
                principal,
                scopes=principal.scopes & known_scopes(scope.split()),
                expires_at=min(principal.expires_at or math.inf, claims["exp"] + LEEWAY_SECONDS),
            )
            self._snapshots.put((jti, key_id, scope), principal, tenant_id, key.epoch)
        require_usable(principal, address, expired="expired_token")
        return principal

    def _find(self, presented: str) -> RefreshToken | None:
        parsed = key_format.parse(presented, key_format.REFRESH)
        if parsed is None:
            return None
        with self._database.read(PLATFORM) as session:
            token = session.scalar(sa.select(RefreshToken).where(RefreshToken.id == f"rtk_{parsed.id}"))
        expected = self._vault.digest(_PURPOSE, presented.encode())
        return token if token is not None and hmac.compare_digest(token.digest, expected) else None

    def _grant(self, session: orm.Session, principal: Principal, scopes: frozenset[Scope], family: str) -> Grant:
        name, moment = random_name(), now()
        text = key_format.mint(name, key_format.REFRESH)
        session.add(
            RefreshToken(
                tenant_id=principal.tenant_id,
                id=f"rtk_{name}",
                key_id=principal.subject,
                family=family,
                digest=self._vault.digest(_PURPOSE, text.encode()),
                scopes=sorted(scopes),
                expires_at=moment + timedelta(seconds=REFRESH_SECONDS),
            )
        )
        claims = self._claims(principal, scopes, f"tok_{name}", int(moment.timestamp()))
        return Grant(claims, text, claims["exp"] - claims["iat"], scopes)

    def _claims(self, principal: Principal, scopes: frozenset[Scope], jti: str, issued: int) -> dict[str, Any]:
        return {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": principal.subject,
            "tenant": principal.tenant,
            "scope": " ".join(sorted(scopes)),
            "jti": jti,
            "iat": issued,
            "exp": int(min(issued + ACCESS_SECONDS, principal.expires_at or math.inf)),
        }

    def _spend(self, session: orm.Session, token: RefreshToken, principal: Principal) -> Grant | None:
        # Of several at once, the condition holds for one: the others wait for its row, and find it spent.
        spend = (
            sa.update(RefreshToken)
            .where(
                RefreshToken.id == token.id,
                RefreshToken.spent_at.is_(None),
                RefreshToken.revoked_at.is_(None),
            )
            .values(spent_at=now())
            .returning(RefreshToken.id)
        )
        if session.scalar(spend, execution_options={"synchronize_session": False}) is None:
            return None
        grant = self._grant(session, principal, known_scopes(token.scopes) & principal.scopes, token.family)
        answer = json.dumps({"refresh_token": grant.refresh_token, "access_claims": grant.access_claims}).encode()
        keep = sa.update(RefreshToken).where(RefreshToken.id == token.id)
        session.execute(keep.values(successor=self._vault.seal(_PURPOSE, answer, token.id.encode())))
        return grant

    def _spent_before(self, session: orm.Session, token: RefreshToken) -> Grant | None:
        row = session.scalar(sa.select(RefreshToken).where(RefreshToken.id == token.id))
        if row is None or row.revoked_at is not None:
            raise _invalid()
        if row.spent_at is None or row.successor is None or now() - row.spent_at > timedelta(seconds=RETRY_SECONDS):
            return None
        answer = json.loads(self._vault.open(_PURPOSE, row.successor, row.id.encode()))
        claims = answer["access_claims"]
        left = max(0, claims["exp"] - int(now().timestamp()))
        return Grant(claims, answer["refresh_token"], left, known_scopes(claims["scope"].split()))

    def _revoke_family(self, token: RefreshToken, action: str, actor: str, outcome: str) -> None:
        # Independent, because the caller refuses the request that found a reuse, and that rolls it back.
        with self._database.write(token.tenant_id, independent=True) as session:
            standing = sa.select(RefreshToken).where(
                RefreshToken.family == token.family, RefreshToken.revoked_at.is_(None)
            )
            # A refresh that was under way when the first look began has added a token by the next.
            while rows := session.scalars(standing.with_for_update()).all():
                for row in rows:
                    row.revoked_at = now()
                session.flush()
                self._revoke_access(session, token.tenant_id, _access_ends(rows))
            self._epochs.bump(session, token.tenant_id)
            self._record(session, token.tenant_id, actor, action, token.family, outcome)

    @staticmethod
    def _revoke_access(session: orm.Session, tenant_id: str, ends: Mapping[str, float]) -> None:
        for jti, end in ends.items():
            kept = {"tenant_id": tenant_id, "jti": jti, "expires_at": datetime.fromtimestamp(end + LEEWAY_SECONDS, UTC)}
            session.execute(insert(session, RevokedToken).values(kept).on_conflict_do_nothing())

    def _record(self, session: orm.Session, tenant_id: str, actor: str, action: str, target: str, outcome: str) -> None:
        self._audit.record(session, tenant_id=tenant_id, actor=actor, action=action, target=target, outcome=outcome)


def _access_ends(rows: Iterable[RefreshToken]) -> dict[str, float]:
    """Return the access tokens that were given out with those, and when the latest of their ends is."""
    issued = {row.id.removeprefix("rtk_"): row.expires_at.timestamp() - REFRESH_SECONDS for row in rows}
    alive = now().timestamp() - ACCESS_SECONDS - LEEWAY_SECONDS
    return {f"tok_{name}": moment + ACCESS_SECONDS for name, moment in issued.items() if moment > alive}


def _invalid() -> Unauthenticated:
    return Unauthenticated("The refresh token is not valid.", code="invalid_refresh_token")

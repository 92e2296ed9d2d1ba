"""The Ed25519 keys that sign tokens: published before they sign, verifying until their last token ended.

The public halves go out as RFC 8037 keys; the private ones lie in the database sealed by
the vault, and are opened for the moment of signing.
"""

import base64
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import orm

from service.database import PLATFORM, Database, now
from service.errors import Unavailable
from service.ids import new_id
from service.paging import Page, paginate
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs, Snapshots
from service.tenants.principal import PLATFORM_TENANT_ID, Principal
from service.tenants.tables import SigningKey
from service.tenants.tokens import ACCESS_SECONDS, LEEWAY_SECONDS
from service.tenants.vault import Vault

ALGORITHM: Final = "EdDSA"
PUBLISHED_SECONDS: Final = 2
"""How long a new key is only published: twice the longest time that a worker needs to hear of it."""

VERIFYING_SECONDS: Final = ACCESS_SECONDS + LEEWAY_SECONDS + 60
"""How long an old key verifies: a token's life, the leeway of its end, and a minute for clocks that differ."""

_PURPOSE: Final = "signing-key"


@dataclass(frozen=True, slots=True)
class SigningKeyView:
    """A signing key as operators see it; ``status`` is ``published``, ``signing`` or ``verifying``."""

    kid: str
    algorithm: str
    status: str
    created_at: datetime
    signs_from: datetime
    retires_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Key:
    kid: str
    public_jwk: dict[str, Any]
    public: Ed25519PublicKey
    sealed_private: bytes = field(repr=False)
    signs_from: float
    retires_at: float

    def verifies(self, moment: float) -> bool:
        return moment < self.retires_at


class SigningKeys:
    """Gives out the key that signs now, and those that verify."""

    def __init__(self, database: Database, vault: Vault, epochs: Epochs, audit: Audit) -> None:
        self._database = database
        self._vault = vault
        self._epochs = epochs
        self._audit = audit
        self._snapshots: Snapshots[None, dict[str, _Key]] = Snapshots(epochs, 1)

    def signing(self) -> tuple[str, Ed25519PrivateKey]:
        """Return the id and the private half of the key that signs now; the first is made on demand.

        :raises Unavailable: it was sealed under another secret; a rotation makes a new one.
        """
        key = self._newest() or self._made_first()
        try:
            private = self._vault.open(_PURPOSE, key.sealed_private, key.kid.encode())
        except ValueError as error:
            raise Unavailable(
                "The signing key does not open; an operator must rotate it.", code="signing_key_unreadable"
            ) from error
        return key.kid, Ed25519PrivateKey.from_private_bytes(private)

    def verifying(self, kid: str) -> Ed25519PublicKey | None:
        """Return the public half of a published key, or ``None`` where there is none that still verifies."""
        key = self._keys().get(kid)
        return key.public if key is not None and key.verifies(time.time()) else None

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """Return the published keys as a JSON Web Key Set (RFC 7517)."""
        moment = time.time()
        return {"keys": [key.public_jwk for key in self._keys().values() if key.verifies(moment)]}

    def ensure(self) -> str:
        """Make the first key unless there is one, however many workers ask at once; return the id of one."""
        with self._database.write(PLATFORM) as session:
            self._epochs.bump(session, PLATFORM_TENANT_ID)
            kid = session.scalar(sa.select(SigningKey.kid).where(SigningKey.retires_at.is_(None)))
            return kid or self._add(session, now())

    def rotate(self, principal: Principal) -> str:
        """Publish a new key, which signs in two seconds; those before it go on verifying. Return its id."""
        with self._database.write(PLATFORM) as session:
            # The bump comes first: it locks the platform's row, so that rotations follow each other.
            self._epochs.bump(session, PLATFORM_TENANT_ID)
            moment = now()
            signs_from = moment + timedelta(seconds=PUBLISHED_SECONDS)
            session.execute(sa.delete(SigningKey).where(SigningKey.retires_at < moment))
            retire = sa.update(SigningKey).where(SigningKey.retires_at.is_(None))
            session.execute(retire.values(retires_at=signs_from + timedelta(seconds=VERIFYING_SECONDS)))
            kid = self._add(session, signs_from)
            self._audit.record(
                session,
                tenant_id=PLATFORM_TENANT_ID,
                actor=principal.subject,
                action="signing_key.rotate",
                target=kid,
            )
            return kid

    def list(self, limit: int = 50, cursor: str | None = None) -> Page[SigningKeyView]:
        """Return a page of the keys that are published, the oldest first.

        :raises Malformed: the cursor is not one that this list gave out.
        """
        newest = self._newest()
        published = sa.select(SigningKey).where(sa.or_(SigningKey.retires_at.is_(None), SigningKey.retires_at > now()))
        with self._database.read(PLATFORM) as session:
            page = paginate(session, published, [SigningKey.kid], limit=limit, cursor=cursor)
        return Page([_view(row, newest) for row in page.data], page.next_cursor)

    def _add(self, session: orm.Session, signs_from: datetime) -> str:
        kid = new_id("sig")
        private = Ed25519PrivateKey.generate()
        session.add(
            SigningKey(
                kid=kid,
                algorithm=ALGORITHM,
                public_jwk=_jwk(kid, private.public_key()),
                sealed_private=self._vault.seal(_PURPOSE, private.private_bytes_raw(), kid.encode()),
                signs_from=signs_from,
            )
        )
        return kid

    def _newest(self) -> _Key | None:
        moment = time.time()
        due = [key for key in self._keys().values() if key.signs_from <= moment]
        return max(due, key=lambda key: key.signs_from, default=None)

    def _made_first(self) -> _Key:
        kid = self.ensure()
        return self._keys()[kid]

    def _keys(self) -> dict[str, _Key]:
        keys = self._snapshots.get(None)
        if keys is None:
            with self._database.read(PLATFORM) as session:
                epoch = self._epochs.read(session, PLATFORM_TENANT_ID)
                rows = session.scalars(sa.select(SigningKey).order_by(SigningKey.signs_from))
                keys = {row.kid: _copy(row) for row in rows}
            self._snapshots.put(None, keys, PLATFORM_TENANT_ID, epoch)
        return keys


def _copy(row: SigningKey) -> _Key:
    public = Ed25519PublicKey.from_public_bytes(_unbase64url(row.public_jwk["x"]))
    retires_at = float("inf") if row.retires_at is None else row.retires_at.timestamp()
    return _Key(row.kid, row.public_jwk, public, row.sealed_private, row.signs_from.timestamp(), retires_at)


def _view(row: SigningKey, newest: _Key | None) -> SigningKeyView:
    status = _status(row, newest)
    return SigningKeyView(row.kid, row.algorithm, status, row.created_at, row.signs_from, row.retires_at)


def _status(row: SigningKey, newest: _Key | None) -> str:
    if newest is not None and row.kid == newest.kid:
        return "signing"
    return "published" if row.signs_from > now() else "verifying"


def _jwk(kid: str, public: Ed25519PublicKey) -> dict[str, str]:
    x = base64.urlsafe_b64encode(public.public_bytes_raw()).decode().rstrip("=")
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": ALGORITHM, "use": "sig"}


def _unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

"""Whether a key still stands: read once, kept as a small copy, checked on every request.

A warm request costs one hash and one look into a dictionary. The text of a key is looked
up by its BLAKE2b under a random key of this process, so how long the look-up takes tells
nothing about any key; on the slow path digests are compared in constant time.
"""

import hmac
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import sqlalchemy as sa
from sqlalchemy import orm

from service.database import PLATFORM, Database
from service.errors import Forbidden, Unauthenticated
from service.tenants import key_format
from service.tenants.epochs import Epochs, Snapshots
from service.tenants.plans import limits_of
from service.tenants.principal import Principal
from service.tenants.scopes import Scope
from service.tenants.tables import ApiKey, Plan, Tenant
from service.tenants.vault import Vault

CAPACITY: Final = 50_000
"""Credentials that a process keeps copies of; one is about a kilobyte."""

_PURPOSE: Final = "api-key"
_SCOPES: Final = {scope.value: scope for scope in Scope}


@dataclass(frozen=True, slots=True)
class StandingKey:
    """A key with its tenant and plan as they were at ``epoch``."""

    principal: Principal
    digest: bytes = field(repr=False)
    revoked: bool
    active: bool
    epoch: int

    def require(self) -> Principal:
        """Return the principal of a key that is not revoked and whose tenant is not suspended.

        :raises Unauthenticated: it is revoked.
        :raises Forbidden: its tenant is suspended.
        """
        if self.revoked:
            raise Unauthenticated("This API key is revoked.", code="revoked_api_key")
        if not self.active:
            raise Forbidden("This tenant is suspended; ask the operator.", code="tenant_suspended")
        return self.principal


class StandingKeys:
    """Authenticates presented keys, and knows the keys behind tokens."""

    def __init__(self, database: Database, vault: Vault, epochs: Epochs) -> None:
        self._database = database
        self._vault = vault
        self._pepper = os.urandom(32)
        self._verified: Snapshots[bytes, Principal] = Snapshots(epochs, CAPACITY)
        self._standing: Snapshots[str, StandingKey] = Snapshots(epochs, CAPACITY)
        # Every change of a tenant ends the copies of its keys, which are no strangers for that.
        self._met: OrderedDict[bytes, Principal] = OrderedDict()
        self._meeting = threading.Lock()

    def digest(self, presented: str) -> bytes:
        """Return what is stored of a key's text."""
        return self._vault.digest(_PURPOSE, presented.encode())

    def authenticate(self, presented: str, address: str, before_lookup: Callable[[], None] | None = None) -> Principal:
        """Return who presents a key; see ``ApiKeys.authenticate``."""
        fingerprint = self._fingerprint(presented)
        principal = self._verified.get(fingerprint)
        if principal is None:
            if before_lookup is not None and fingerprint not in self._met:
                before_lookup()
            principal = self._looked_up(presented, fingerprint)
        require_usable(principal, address)
        return principal

    def met(self, presented: str) -> Principal | None:
        """Return who presented a key when it was last found good here; it may not hold any more."""
        return self._met.get(self._fingerprint(presented))

    def _fingerprint(self, presented: str) -> bytes:
        return blake2b(presented.encode("utf-8", "surrogatepass"), digest_size=32, key=self._pepper).digest()

    def _looked_up(self, presented: str, fingerprint: bytes) -> Principal:
        try:
            key = self._verify(presented)
            principal = key.require()
        except Unauthenticated:
            with self._meeting:
                self._met.pop(fingerprint, None)
            raise
        with self._meeting:
            self._met[fingerprint] = principal
            self._met.move_to_end(fingerprint)
            if len(self._met) > CAPACITY:
                self._met.popitem(last=False)
        self._verified.put(fingerprint, principal, principal.tenant_id, key.epoch)
        return principal

    def _verify(self, presented: str) -> StandingKey:
        parsed = key_format.parse(presented)
        key = self.get(f"key_{parsed.id}") if parsed else None
        if key is None or not hmac.compare_digest(key.digest, self.digest(presented)):
            raise Unauthenticated("The API key is not valid.", code="invalid_api_key")
        return key

    def get(self, key_id: str) -> StandingKey | None:
        """Return the key of that id, whatever became of it; ``None`` where there never was one."""
        key = self._standing.get(key_id)
        if key is None:
            with self._database.read(PLATFORM) as session:
                key = self.read(session, key_id)
            if key is not None:
                self._standing.put(key_id, key, key.principal.tenant_id, key.epoch)
        return key

    @staticmethod
    def read(session: orm.Session, key_id: str) -> StandingKey | None:
        """Read the key, its tenant, its plan and the epoch in one statement, so that they agree."""
        statement = (
            sa.select(ApiKey, Tenant, Plan)
            .join(Tenant, Tenant.id == ApiKey.tenant_id)
            .join(Plan, Plan.slug == Tenant.plan)
            .where(ApiKey.id == key_id)
        )
        row = session.execute(statement).one_or_none()
        return row and _standing(*row)


def require_usable(principal: Principal, address: str, expired: str = "expired_api_key") -> None:
    """Check what depends on the moment and on the caller's address.

    :param expired: the code for a credential that has expired.
    :raises Unauthenticated: the credential has expired.
    :raises Forbidden: it may not be used from that address.
    """
    if principal.expires_at is not None and time.time() >= principal.expires_at:
        raise Unauthenticated("The credential has expired.", code=expired)
    if principal.networks is not None and not _within(address, principal.networks):
        raise Forbidden("This API key may not be used from this address.", code="address_not_allowed")


def known_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes of those names; one that a later release took away grants nothing."""
    return frozenset(_SCOPES[name] for name in names if name in _SCOPES)


def _within(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


def _standing(key: ApiKey, tenant: Tenant, plan: Plan) -> StandingKey:
    ends = None if key.expires_at is None else key.expires_at.timestamp()
    principal = Principal(
        tenant_id=tenant.id,
        tenant=tenant.slug,
        subject=key.id,
        scopes=known_scopes(key.scopes),
        plan=limits_of(plan),
        models=None if key.models is None else frozenset(key.models),
        networks=None if key.allowed_cidrs is None else tuple(map(ip_network, key.allowed_cidrs)),
        expires_at=ends,
        key_expires_at=ends,
    )
    return StandingKey(principal, key.digest, key.revoked_at is not None, tenant.status == "active", tenant.epoch)

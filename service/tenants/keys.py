"""API keys: made, listed, changed, rotated, revoked, and who it is that presents one."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import orm

from service.database import Database, now
from service.errors import Conflict, Invalid, NotFound
from service.ids import random_name
from service.paging import Page, paginate
from service.tenants import fields, key_format
from service.tenants.audit import Audit
from service.tenants.authority import reach_of, require_authority, require_reach
from service.tenants.epochs import Epochs
from service.tenants.key_fields import FIELDS, KeySpec, KeyView, view
from service.tenants.principal import Principal
from service.tenants.standing import StandingKeys
from service.tenants.tables import ApiKey
from service.tenants.vault import Vault

LONGEST_OVERLAP: Final = 30 * 24 * 3600
_HINT_LENGTH: Final = 4

__all__ = ["LONGEST_OVERLAP", "ApiKeys", "IssuedKey", "KeySpec", "KeyView"]


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key with its secret, which is nowhere else: only a keyed digest of it is stored."""

    view: KeyView
    secret: str = field(repr=False)


class ApiKeys:
    """The keys of tenants.

    Every method but ``authenticate`` works on the keys of the principal's own tenant;
    an operator may name another by ``tenant_id``.
    """

    def __init__(self, database: Database, vault: Vault, epochs: Epochs, audit: Audit) -> None:
        self._database = database
        self._epochs = epochs
        self._audit = audit
        self.standing = StandingKeys(database, vault, epochs)

    def authenticate(self, presented: str, address: str, before_lookup: Callable[[], None] | None = None) -> Principal:
        """Return who presents a key.

        :param presented: the whole text, ``mw_…``.
        :param address: the caller's, for keys that are bound to networks.
        :param before_lookup: called for a key that this process has never found good; what it raises goes on.
        :raises Unauthenticated: it is malformed or unknown, revoked, or expired. A text whose
            checksum is wrong is refused without a look at the database.
        :raises Forbidden: the tenant is suspended, or the address is not allowed.
        """
        return self.standing.authenticate(presented, address, before_lookup)

    def create(self, principal: Principal, spec: KeySpec, tenant_id: str | None = None) -> IssuedKey:
        """Make a key.

        :raises Invalid: a field of the specification is wrong.
        :raises Forbidden: it would reach further than the caller does.
        """
        owner = reach_of(principal, tenant_id)
        columns = spec.columns()
        with self._recorded(principal, owner, "key.create", spec.name):
            require_authority(principal, columns, owner)
        with self._database.write(owner) as session:
            return self.add(session, owner, columns, principal.subject)

    def add(self, session: orm.Session, tenant_id: str, columns: Mapping[str, Any], actor: str) -> IssuedKey:
        """Add a key within the caller's transaction; ``columns`` are those of ``KeySpec.columns``."""
        name = random_name()
        secret = key_format.mint(name)
        key = ApiKey(
            tenant_id=tenant_id,
            id=f"key_{name}",
            digest=self.standing.digest(secret),
            hint=secret[-_HINT_LENGTH:],
            created_by=actor,
            **columns,
        )
        session.add(key)
        session.flush()
        self._record(session, actor, "key.create", key, {"name": key.name, "scopes": key.scopes})
        return IssuedKey(view(key), secret)

    def list(
        self, principal: Principal, limit: int = 50, cursor: str | None = None, tenant_id: str | None = None
    ) -> Page[KeyView]:
        """Return a page of keys, the oldest first, revoked and expired ones among them.

        :raises Malformed: the cursor is not one that this list gave out.
        """
        with self._database.read(reach_of(principal, tenant_id)) as session:
            page = paginate(session, sa.select(ApiKey), [ApiKey.id], limit=limit, cursor=cursor)
        return Page([view(key) for key in page.data], page.next_cursor)

    def get(self, principal: Principal, key_id: str, tenant_id: str | None = None) -> KeyView:
        """Return one key.

        :raises NotFound: the tenant has none of that id.
        """
        owner = reach_of(principal, tenant_id)
        with self._database.read(owner) as session:
            return view(_find(session, owner, key_id))

    def change(
        self,
        principal: Principal,
        key_id: str,
        changes: Mapping[str, Any],
        expected_revision: int | None = None,
        tenant_id: str | None = None,
    ) -> KeyView:
        """Change a key's name, scopes, models, allowed_cidrs or expires_at.

        :param changes: new values by field; what is not named stays.
        :raises Invalid: a field is unknown or wrong.
        :raises NotFound: the tenant has none of that id.
        :raises Conflict: it is revoked.
        :raises Forbidden: before or after, it reaches further than the caller does.
        :raises PreconditionFailed: it is at another revision.
        """
        owner = reach_of(principal, tenant_id)
        columns = fields.parse(changes, FIELDS)
        self._require_authority_over(principal, owner, key_id, "key.change", columns)
        with self._database.write(owner) as session:
            key = _find(session, owner, key_id, lock=True)
            require_reach(principal, _columns(key))
            fields.require_revision(expected_revision, key.revision)
            _require_live(key)
            for column, value in columns.items():
                setattr(key, column, value)
            self._changed(session, principal, "key.change", key, {"fields": sorted(columns)})
            return view(key)

    def revoke(
        self, principal: Principal, key_id: str, expected_revision: int | None = None, tenant_id: str | None = None
    ) -> KeyView:
        """Revoke a key, and with it every token made from it: within a second, on every worker.

        A revoked key stays in the list. Revoking it again changes nothing. Every key may end itself.

        :raises NotFound: the tenant has none of that id.
        :raises Forbidden: it reaches further than the caller does.
        :raises PreconditionFailed: it is at another revision.
        """
        owner = reach_of(principal, tenant_id)
        own = principal.subject == key_id
        if not own:
            self._require_reach_over(principal, owner, key_id, "key.revoke")
        with self._database.write(owner) as session:
            key = _find(session, owner, key_id, lock=True)
            if not own:
                require_reach(principal, _columns(key))
            fields.require_revision(expected_revision, key.revision)
            if key.revoked_at is None:
                key.revoked_at = now()
                self._changed(session, principal, "key.revoke", key, {})
            return view(key)

    def rotate(
        self,
        principal: Principal,
        key_id: str,
        overlap_seconds: int = 0,
        expected_revision: int | None = None,
        tenant_id: str | None = None,
    ) -> IssuedKey:
        """Make a key that may do the same, and let the old one end after an overlap.

        :param overlap_seconds: how long both hold, up to 30 days; 0 ends the old one now.
        :raises Invalid: the overlap is out of its range.
        :raises NotFound: the tenant has none of that id.
        :raises Conflict: it is revoked or expired.
        :raises Forbidden: it reaches further than the caller does.
        """
        if not 0 <= overlap_seconds <= LONGEST_OVERLAP:
            raise Invalid(f"overlap_seconds is between 0 and {LONGEST_OVERLAP}.")
        owner = reach_of(principal, tenant_id)
        self._require_authority_over(principal, owner, key_id, "key.rotate", {})
        with self._database.write(owner) as session:
            key = _find(session, owner, key_id, lock=True)
            require_authority(principal, _columns(key), owner)
            fields.require_revision(expected_revision, key.revision)
            _require_live(key)
            issued = self.add(session, owner, _columns(key), principal.subject)
            end = now() + timedelta(seconds=overlap_seconds)
            key.expires_at = end if key.expires_at is None else min(key.expires_at, end)
            self._changed(session, principal, "key.rotate", key, {"successor": issued.view.id})
            return issued

    def _require_authority_over(
        self, principal: Principal, owner: str, key_id: str, action: str, columns: Mapping[str, Any]
    ) -> None:
        present = self._require_reach_over(principal, owner, key_id, action)
        with self._recorded(principal, owner, action, key_id):
            require_authority(principal, {**present, **columns}, owner)

    def _require_reach_over(self, principal: Principal, owner: str, key_id: str, action: str) -> dict[str, Any]:
        # Looked at before the transaction that changes the key, because the record of a refusal
        # must not wait for that transaction to end; looked at again within it.
        with self._database.read(owner) as session:
            present = _columns(_find(session, owner, key_id))
        with self._recorded(principal, owner, action, key_id):
            require_reach(principal, present)
        return present

    def _recorded(self, principal: Principal, owner: str, action: str, target: str) -> AbstractContextManager[None]:
        return self._audit.recording_refusals(owner, principal.subject, action, target)

    def _changed(
        self, session: orm.Session, principal: Principal, action: str, key: ApiKey, details: dict[str, Any]
    ) -> None:
        key.revision += 1
        self._record(session, principal.subject, action, key, details)
        session.flush()
        self._epochs.bump(session, key.tenant_id)

    def _record(self, session: orm.Session, actor: str, action: str, key: ApiKey, details: dict[str, Any]) -> None:
        self._audit.record(session, tenant_id=key.tenant_id, actor=actor, action=action, target=key.id, details=details)


def _find(session: orm.Session, owner: str, key_id: str, *, lock: bool = False) -> ApiKey:
    # PostgreSQL cannot even compare a text with characters such as NUL.
    key = session.get(ApiKey, (owner, key_id), with_for_update=lock) if key_id.isprintable() else None
    if key is None:
        raise NotFound("There is no such API key.")
    return key


def _columns(key: ApiKey) -> dict[str, Any]:
    return {column: getattr(key, column) for column in FIELDS}


def _require_live(key: ApiKey) -> None:
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now()):
        raise Conflict("The key is revoked or expired; make a new one.", code="key_not_active")

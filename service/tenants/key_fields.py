"""What a key is made of: the specification that comes in, the columns it becomes, the view that goes out."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_network
from typing import Any, Final

from service.database import now
from service.errors import Finding, Invalid
from service.ids import is_name
from service.tenants import fields
from service.tenants.scopes import ROLES, Scope
from service.tenants.tables import ApiKey

MOST_ENTRIES: Final = 100


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A key to be made: either ``scopes`` or a ``role``, and what narrows it.

    :param expires_at: a moment with its zone; ``None`` is never.
    :param models: names of the only models that it reaches; ``None`` is all.
    :param allowed_cidrs: networks that it may be used from; ``None`` is everywhere.
    """

    name: str
    scopes: Collection[str] | None = None
    role: str | None = None
    expires_at: datetime | None = None
    models: Collection[str] | None = None
    allowed_cidrs: Collection[str] | None = None

    def columns(self) -> dict[str, Any]:
        """Return the columns of the key.

        :raises Invalid: with a finding for each field that is wrong.
        """
        if (self.role is None) == (self.scopes is None):
            raise Invalid("Give either scopes or a role.", findings=[Finding("scopes", "Give either this or a role.")])
        if self.role is not None and self.role not in ROLES:
            raise Invalid("There is no such role.", findings=[Finding("role", f"It is one of {', '.join(ROLES)}.")])
        values = {
            "name": self.name,
            "scopes": self.scopes if self.role is None else ROLES[self.role],
            "expires_at": self.expires_at,
            "models": self.models,
            "allowed_cidrs": self.allowed_cidrs,
        }
        return fields.parse(values, FIELDS)


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key as its tenant sees it. ``hint`` is the last four characters of its text."""

    id: str
    name: str
    hint: str
    scopes: list[str]
    models: list[str] | None
    allowed_cidrs: list[str] | None
    expires_at: datetime | None
    revoked_at: datetime | None
    revision: int
    created_at: datetime
    created_by: str

    @property
    def status(self) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now() else "active"


def view(key: ApiKey) -> KeyView:
    """Return what may be seen of a key."""
    return KeyView(
        key.id,
        key.name,
        key.hint,
        key.scopes,
        key.models,
        key.allowed_cidrs,
        key.expires_at,
        key.revoked_at,
        key.revision,
        key.created_at,
        key.created_by,
    )


def _scopes(names: Iterable[str]) -> list[str]:
    chosen = sorted(set(names))
    unknown = [name for name in chosen if name not in set(Scope)]
    if unknown or not chosen:
        raise ValueError(f"It names at least one of {', '.join(Scope)}.")
    return [str(name) for name in chosen]


def _models(names: Collection[str] | None) -> list[str] | None:
    if names is None:
        return None
    if not 1 <= len(names) <= MOST_ENTRIES or not all(map(is_name, names)):
        raise ValueError(f"It is null or has 1 to {MOST_ENTRIES} names of models.")
    return sorted(set(names))


def _networks(cidrs: Collection[str] | None) -> list[str] | None:
    if cidrs is None:
        return None
    if not 1 <= len(cidrs) <= MOST_ENTRIES:
        raise ValueError(f"It is null or has 1 to {MOST_ENTRIES} networks.")
    return [str(ip_network(cidr, strict=False)) for cidr in cidrs]


def _future(moment: datetime | None) -> datetime | None:
    if moment is not None and (moment.tzinfo is None or moment <= now()):
        raise ValueError("It is null or a moment to come, with its zone.")
    return moment


FIELDS: Final[dict[str, fields.Parser]] = {
    "name": fields.title,
    "scopes": _scopes,
    "models": _models,
    "allowed_cidrs": _networks,
    "expires_at": _future,
}
"""The fields that a caller sets, each with its parser; they are the columns of the same names."""

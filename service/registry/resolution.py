"""From how a call names a version to what the hot path needs of it, without SQL when warm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final, Self, TypeAlias

import orjson
import sqlalchemy as sa
from sqlalchemy import orm

from service.database import Database
from service.errors import NotFound
from service.registry.aliases import PRODUCTION, require_ready
from service.registry.signature import Signature
from service.registry.tables import Alias, Version
from service.registry.visibility import require_reach, visible_alias, visible_model, visible_version
from service.runtimes.policy import EXACT, NATIVE, TOLERANCE, Policy
from service.tenants.epochs import Epochs, Snapshots
from service.tenants.principal import Principal

CAPACITY: Final = 20_000
"""Snapshots kept. One holds some kilobytes, most of it the signature."""


@dataclass(frozen=True, slots=True)
class DefaultRef:
    """The alias ``production``, or the newest ready version where that alias is not set."""

    key = None


DEFAULT: Final = DefaultRef()


@dataclass(frozen=True, slots=True)
class VersionRef:
    """A version by its number."""

    number: int

    @property
    def key(self) -> int:
        """What tells it apart from every other reference to the same model."""
        return self.number


@dataclass(frozen=True, slots=True)
class AliasRef:
    """The version that an alias names."""

    name: str

    @property
    def key(self) -> str:
        """What tells it apart from every other reference to the same model."""
        return self.name


Plan: TypeAlias = Mapping[str, Mapping[str, str]]
"""For each method the name of the form for ``one`` row and for ``many``; empty where scikit-learn answers all."""

Ref: TypeAlias = DefaultRef | VersionRef | AliasRef
_Key: TypeAlias = tuple[str, str, int | str | None]


@dataclass(frozen=True, slots=True)
class ResolvedVersion:
    """A ready version, as the hot path sees it.

    ``alias`` is the alias by which it was found, ``None`` where none was. ``plan`` says what
    computes its answers, as admission chose within ``policy``. ``plan_digest`` tells plans
    apart, and is empty where the plan is: versions of equal bytes may have different ones.
    """

    tenant_id: str
    tenant: str
    model: str
    number: int
    alias: str | None
    digest: str
    size_bytes: int
    estimator: str
    methods: tuple[str, ...]
    classes: Sequence[Any] | None
    signature: Signature
    plan: Plan
    plan_digest: str
    policy: Policy

    def natively(self) -> Self:
        """Return the version as it is when scikit-learn itself answers everything."""
        return replace(self, plan={}, plan_digest="")


class Resolution:
    """Resolves references; what was resolved once holds until the tenant's epoch changes."""

    def __init__(self, database: Database, epochs: Epochs) -> None:
        self._database = database
        self._snapshots: Snapshots[_Key, ResolvedVersion] = Snapshots(epochs, CAPACITY)
        self._epochs = epochs

    def known(self, principal: Principal, model: str, ref: Ref) -> ResolvedVersion | None:
        """Return what is resolved already, without any I/O.

        :raises NotFound: the credential does not reach the model.
        """
        require_reach(principal, model)
        return self._snapshots.get((principal.tenant_id, model, ref.key))

    def resolve(self, principal: Principal, model: str, ref: Ref) -> ResolvedVersion:
        """Return the version that a reference names at this moment.

        :raises NotFound: model, version or alias do not exist for this caller.
        :raises Conflict: ``version_archived`` or ``version_quarantined``: it is not served.
        """
        known = self.known(principal, model, ref)
        if known is not None:
            return known
        with self._database.read(principal.tenant_id) as session:
            epoch = self._epochs.read(session, principal.tenant_id)
            row, alias = _find(session, principal, model, ref)
            resolved = _resolved(principal, row, alias)
        self._snapshots.put((principal.tenant_id, model, ref.key), resolved, principal.tenant_id, epoch)
        return resolved


def _find(session: orm.Session, principal: Principal, model: str, ref: Ref) -> tuple[Version, str | None]:
    if isinstance(ref, VersionRef):
        return visible_version(session, principal, model, ref.number), None
    if isinstance(ref, AliasRef):
        alias = visible_alias(session, principal, model, ref.name)
        return visible_version(session, principal, model, alias.version), alias.name
    visible_model(session, principal, model)
    production = session.get(Alias, (principal.tenant_id, model, PRODUCTION))
    if production is not None:
        return visible_version(session, principal, model, production.version), PRODUCTION
    newest = (
        sa.select(Version)
        .where(Version.tenant_id == principal.tenant_id, Version.model == model, Version.status == "ready")
        .order_by(Version.number.desc())
        .limit(1)
    )
    row = session.scalar(newest)
    if row is None:
        raise NotFound(
            f"The model {model} has no version that is ready: upload one, or ask for one by its number or an alias.",
            code="no_ready_version",
        )
    return row, None


def _resolved(principal: Principal, row: Version, alias: str | None) -> ResolvedVersion:
    require_ready(row)
    assert row.digest is not None  # A ready version has its bytes: purging archives it.
    plan = _plan(row)
    return ResolvedVersion(
        tenant_id=principal.tenant_id,
        tenant=principal.tenant,
        model=row.model,
        number=row.number,
        alias=alias,
        digest=row.digest,
        size_bytes=row.size_bytes,
        estimator=row.estimator,
        methods=tuple(row.methods),
        classes=row.classes,
        signature=Signature.parse(row.signature),
        plan=plan,
        plan_digest=_digest(plan),
        policy=TOLERANCE if row.runtime.get("policy") == TOLERANCE else EXACT,
    )


def _plan(row: Version) -> Plan:
    plan = {name: {"one": each["one"], "many": each["many"]} for name, each in row.runtime.get("methods", {}).items()}
    return plan if any(name != NATIVE for sizes in plan.values() for name in sizes.values()) else {}


def _digest(plan: Plan) -> str:
    return blake2b(orjson.dumps(plan, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest() if plan else ""

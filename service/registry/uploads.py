"""The way of an upload into the registry: admission, bytes, then rows."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import orm

from service.artifacts.admission import Admission, Admitted, Declared
from service.artifacts.store import ArtifactStore
from service.database import Database, after_rollback
from service.errors import Invalid, ModelwardError, Unsupported
from service.registry.aliases import Aliases
from service.registry.kept_bytes import drop_quietly, keep
from service.registry.models import found
from service.registry.room import require_room_for_bytes, require_room_for_model
from service.registry.tables import Model, Version
from service.registry.views import VersionView
from service.registry.visibility import require_name, require_reach
from service.runtimes.policy import EXACT, TOLERANCE, Policy
from service.telemetry import Telemetry
from service.tenants.audit import Audit
from service.tenants.epochs import Epochs
from service.tenants.principal import Principal
from service.tenants.scopes import Scope


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an upload says about itself, all of it optional.

    :param signature: the signature that the estimator must agree with.
    :param sample: rows that it must be able to predict.
    :param alias: an alias that names the version as soon as it is ready.
    """

    description: str = ""
    tags: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    signature: dict[str, Any] | None = None
    sample: list[Any] | None = None
    alias: str | None = None


class Uploads:
    """Turns uploaded bytes into the next version of a model."""

    def __init__(
        self,
        database: Database,
        epochs: Epochs,
        audit: Audit,
        store: ArtifactStore,
        admission: Admission,
        aliases: Aliases,
        telemetry: Telemetry,
    ) -> None:
        self._database = database
        self._epochs = epochs
        self._audit = audit
        self._store = store
        self._admission = admission
        self._aliases = aliases
        self._telemetry = telemetry

    def upload(self, principal: Principal, model: str, data: bytes, metadata: Metadata) -> VersionView:
        """Admit an artifact as the next version; ``Versions.upload`` says the rest."""
        require_name(model, "model")
        require_reach(principal, model)
        if metadata.alias is not None:
            self._require_promotion(principal, model)
            require_name(metadata.alias, "metadata.alias")
        policy = self._policy_with_room(principal, model)
        declared = Declared(signature=metadata.signature, sample=metadata.sample, policy=policy)
        with self._refusals(principal, model):
            admitted = self._admit(principal, data, declared)
        # Bytes first: a version's row never stands without them. If the rows do not follow, the
        # bytes go again, by the sweep where this process does not live to do it.
        self._store.put(principal.tenant_id, admitted.data)
        with self._database.write(principal.tenant_id) as session:
            undo = partial(drop_quietly, self._database, self._store, principal.tenant_id, admitted.digest)
            after_rollback(session, undo)
            self._epochs.bump(session, principal.tenant_id)
            return VersionView.of(self._register(session, principal, model, admitted, metadata))

    def _require_promotion(self, principal: Principal, model: str) -> None:
        """Refuse an alias from who may publish and not promote, and leave the record of it that a route would leave."""
        scope = Scope.VERSIONS_PROMOTE
        if scope not in principal.scopes:
            details = {"scope": scope, "model": model}
            self._audit.record_refusal(
                principal.tenant_id, principal.subject, "scope.require", f"models/{model}/versions", details
            )
        principal.require(scope)

    def _policy_with_room(self, principal: Principal, model: str) -> Policy:
        """Return the model's policy; refuse early what the transaction would refuse late, after admission's cost."""
        with self._database.read(principal.tenant_id) as session:
            row = session.get(Model, (principal.tenant_id, model))
            there = row is not None and row.deleted_at is None
            if not there:
                require_room_for_model(session, principal)
            require_room_for_bytes(session, principal, 1)
            return TOLERANCE if there and row is not None and row.parity == TOLERANCE else EXACT

    def _admit(self, principal: Principal, data: bytes, declared: Declared) -> Admitted:
        begun = time.perf_counter()
        outcome = "failed"
        try:
            admitted = self._admission.admit(data, declared, owner=principal.tenant_id)
            outcome = "admitted"
        except (Invalid, Unsupported):
            outcome = "rejected"
            raise
        finally:
            self._telemetry.admission(outcome, time.perf_counter() - begun)
        return admitted

    @contextmanager
    def _refusals(self, principal: Principal, model: str) -> Iterator[None]:
        """Leave an audit record, and nothing else, of what is refused inside the block."""
        try:
            yield
        except ModelwardError as error:
            messages = [f"{finding.at}: {finding.message}"[:500] for finding in error.findings[:20]]
            details = {"code": error.reason, "findings": messages}
            self._audit.record_refusal(
                principal.tenant_id, principal.subject, "version.upload", f"models/{model}", details
            )
            raise

    def _register(
        self, session: orm.Session, principal: Principal, model: str, admitted: Admitted, metadata: Metadata
    ) -> Version:
        parent = found(session, principal, model)
        keep(session, self._store, principal, admitted.digest, admitted.data)
        row = _row(principal, model, parent.next_version, admitted, metadata)
        parent.next_version += 1
        session.add(row)
        session.flush()
        self._audit.record(
            session,
            tenant_id=principal.tenant_id,
            actor=principal.subject,
            action="version.upload",
            target=f"models/{model}/versions/{row.number}",
            details={"digest": admitted.digest, "size_bytes": admitted.size_bytes, "estimator": admitted.estimator},
        )
        if metadata.alias is not None:
            self._aliases.move_within(session, principal, model, metadata.alias, row.number, reason="upload")
        return row


def _row(principal: Principal, model: str, number: int, admitted: Admitted, metadata: Metadata) -> Version:
    return Version(
        tenant_id=principal.tenant_id,
        model=model,
        number=number,
        status="ready",
        format=admitted.format,
        digest=admitted.digest,
        size_bytes=admitted.size_bytes,
        estimator=admitted.estimator,
        task=admitted.task,
        classes=admitted.classes,
        methods=list(admitted.methods),
        signature=admitted.signature,
        runtime=admitted.runtime,
        sklearn_version=admitted.sklearn_version,
        description=metadata.description,
        tags=dict(metadata.tags),
        metrics=dict(metadata.metrics),
        created_by=principal.subject,
    )

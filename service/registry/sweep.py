"""The sweep: what crashes and the passing of time leave behind is found, and removed."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import orm

from service.artifacts.store import ArtifactStore
from service.artifacts.tables import Artifact
from service.database import PLATFORM, Database, now
from service.registry.kept_bytes import drop_orphan, locks_tenant
from service.registry.room import miscounted, recount
from service.tenants.tables import IdempotencyRecord, RefreshToken, RevokedToken

GRACE_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep found.

    :param dry_run: whether everything was left as it is.
    :param orphaned: bytes that no row names, as ``tenant id/digest``.
    :param missing: rows whose bytes are gone, as ``tenant id/digest``; never removed, since
        a restored backup of the bytes makes them whole.
    :param partial: leftovers of interrupted writes; none are looked for in a dry run.
    :param miscounted: tenants, by id, whose counts of models and bytes were not what they have, and are now.
    :param refresh_tokens: expired refresh tokens.
    :param revoked_tokens: revocations of access tokens that have ended since.
    :param idempotency_records: kept responses whose time is over.
    """

    dry_run: bool
    orphaned: tuple[str, ...]
    missing: tuple[str, ...]
    partial: int
    miscounted: tuple[str, ...]
    refresh_tokens: int
    revoked_tokens: int
    idempotency_records: int


class Sweep:
    """Compares bytes and counts with rows, and drops rows whose time is over."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    def run(self, *, dry_run: bool = False, older_than_seconds: float = GRACE_SECONDS) -> SweepReport:
        """Sweep once; safe beside running servers.

        :param dry_run: find, and remove nothing.
        :param older_than_seconds: leave alone bytes that were written, whole or in part, later
            than so many seconds ago, since the upload that makes their row may be under way, and
            rows that expired later. Where a storage does not say when bytes were written, the
            rules of ``kept_bytes`` alone keep such an upload whole.
        """
        orphaned, missing = self._bytes(dry_run=dry_run, older_than_seconds=older_than_seconds)
        leftovers = 0 if dry_run else self._store.clear_partial(older_than_seconds)
        before = now() - timedelta(seconds=older_than_seconds)
        with self._database.write(PLATFORM) as session:
            tokens, revoked, records = (
                _expired(session, table, before, dry_run=dry_run)
                for table in (RefreshToken, RevokedToken, IdempotencyRecord)
            )
        return SweepReport(
            dry_run, orphaned, missing, leftovers, self._counts(dry_run=dry_run), tokens, revoked, records
        )

    def _counts(self, *, dry_run: bool) -> tuple[str, ...]:
        with self._database.read(PLATFORM) as session:
            found = miscounted(session)
        for tenant_id in () if dry_run else found:
            with self._database.write(PLATFORM) as session:
                if locks_tenant(session, tenant_id):
                    recount(session, tenant_id)
        return tuple(found)

    def _bytes(self, *, dry_run: bool, older_than_seconds: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
        orphaned, missing = [], []
        rows = self._rows()
        unnamed = (lambda *name: not self._is_named(*name)) if dry_run else self._drop
        for tenant_id in sorted({*rows, *self._store.tenants()}):
            stored, named = set(self._store.list(tenant_id)), rows.get(tenant_id, set())
            # Rows come and go while this runs, so each difference is looked at once more.
            orphaned += [
                f"{tenant_id}/{digest}"
                for digest in sorted(stored - named)
                if self._is_old(tenant_id, digest, older_than_seconds) and unnamed(tenant_id, digest)
            ]
            missing += [
                f"{tenant_id}/{digest}" for digest in sorted(named - stored) if self._is_named(tenant_id, digest)
            ]
        return tuple(orphaned), tuple(missing)

    def _is_old(self, tenant_id: str, digest: str, seconds: float) -> bool:
        age = self._store.age_seconds(tenant_id, digest)
        return age is None or age >= seconds

    def _drop(self, tenant_id: str, digest: str) -> bool:
        return drop_orphan(self._database, self._store, tenant_id, digest)

    def _is_named(self, tenant_id: str, digest: str) -> bool:
        with self._database.read(PLATFORM) as session:
            return session.get(Artifact, (tenant_id, digest)) is not None

    def _rows(self) -> dict[str, set[str]]:
        rows: dict[str, set[str]] = {}
        with self._database.read(PLATFORM) as session:
            for tenant_id, digest in session.execute(sa.select(Artifact.tenant_id, Artifact.digest)):
                rows.setdefault(tenant_id, set()).add(digest)
        return rows


def _expired(session: orm.Session, table: Any, before: Any, *, dry_run: bool) -> int:
    over = table.expires_at < before
    if dry_run:
        return int(session.scalar(sa.select(sa.func.count()).select_from(table).where(over)) or 0)
    result: Any = session.execute(sa.delete(table).where(over).execution_options(synchronize_session=False))
    return int(result.rowcount)

"""Which bytes a tenant keeps, and when they may go.

An artifact's row and its bytes are in two stores, which no transaction spans. Two rules
keep every row's bytes safe while uploads and purges of equal bytes meet:

1. Bytes are removed only under the tenant's lock, and only where no row names them.
2. Who makes a row makes sure of its bytes under the same lock, in the row's transaction.

So a removal happens either before the row is made, and the bytes are put again, or after
it, and finds the row. The lock is the tenant's own row, which ``Epochs.bump`` locks until
the transaction ends (SQLite has a single writer at any time); every change of the registry
begins with it, which also makes one order of locks, and so no deadlock.
"""

import logging
from collections.abc import Iterable
from functools import partial
from typing import Final

import sqlalchemy as sa
from sqlalchemy import orm

from service.artifacts.store import ArtifactStore
from service.artifacts.tables import Artifact
from service.database import Database, after_commit
from service.errors import ModelwardError
from service.registry.room import count_bytes, require_room_for_bytes
from service.registry.tables import Version
from service.tenants.epochs import tenant_gone
from service.tenants.principal import Principal
from service.tenants.tables import Tenant

_log: Final = logging.getLogger(__name__)


def lock_tenant(session: orm.Session, tenant_id: str) -> None:
    """Hold the tenant's lock until the transaction ends.

    :raises Unauthenticated: the tenant was deleted, which this worker has yet to hear of.
    """
    if not locks_tenant(session, tenant_id):
        raise tenant_gone()


def keep(session: orm.Session, store: ArtifactStore, principal: Principal, digest: str, data: bytes) -> None:
    """Make the row of an artifact, and sure of its bytes. The tenant's lock must be held.

    :raises Forbidden: ``bytes_quota_exceeded``.
    """
    tenant_id = principal.tenant_id
    # Equal bytes of one tenant are kept, and counted, once.
    if session.get(Artifact, (tenant_id, digest)) is None:
        require_room_for_bytes(session, principal, len(data))
        count_bytes(session, tenant_id, len(data))
        session.add(Artifact(tenant_id=tenant_id, digest=digest, size_bytes=len(data)))
        session.flush()
    # They were put just before, and are missing only where a purge of equal bytes came in between.
    if not store.has(tenant_id, digest):
        store.put(tenant_id, data)


def release(
    session: orm.Session, database: Database, store: ArtifactStore, tenant_id: str, digests: Iterable[str]
) -> None:
    """Drop the rows of artifacts that no version names any more, and their bytes after the commit.

    The tenant's lock must be held.
    """
    session.flush()
    dropped = 0
    for digest in sorted(set(digests)):
        used = sa.select(Version.number).where(Version.tenant_id == tenant_id, Version.digest == digest).limit(1)
        if session.scalar(used) is None:
            own = (Artifact.tenant_id == tenant_id, Artifact.digest == digest)
            dropped += sum(session.scalars(sa.delete(Artifact).where(*own).returning(Artifact.size_bytes)))
            after_commit(session, partial(drop_quietly, database, store, tenant_id, digest))
    count_bytes(session, tenant_id, -dropped)


def drop_orphan(database: Database, store: ArtifactStore, tenant_id: str, digest: str) -> bool:
    """Remove bytes that no row names; return whether they were removed."""
    with database.write(tenant_id, independent=True) as session:
        # Also those of a tenant that is gone: it has no rows, and gets none any more.
        locks_tenant(session, tenant_id)
        if session.get(Artifact, (tenant_id, digest)) is not None:
            return False
        store.delete(tenant_id, digest)
        return True


def locks_tenant(session: orm.Session, tenant_id: str) -> bool:
    """Hold the tenant's lock until the transaction ends, if there still is such a tenant; return whether."""
    row = sa.select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(key_share=True)
    return session.scalar(row) is not None


def drop_quietly(database: Database, store: ArtifactStore, tenant_id: str, digest: str) -> None:
    """Remove bytes that no row names; where that fails, what was decided stands and the sweep comes by."""
    try:
        drop_orphan(database, store, tenant_id, digest)
    except (ModelwardError, OSError) as error:
        _log.warning("bytes of %s/%s were left for the sweep: %s", tenant_id, digest, error)

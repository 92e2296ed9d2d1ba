"""The end of a tenant: its rows in one transaction, then the bytes of its artifacts."""

from service.artifacts.store import ArtifactStore
from service.database import Database
from service.registry.kept_bytes import drop_quietly
from service.tenants.principal import Principal
from service.tenants.tenants import Tenants


def remove_tenant(
    database: Database,
    store: ArtifactStore,
    tenants: Tenants,
    principal: Principal,
    slug: str,
    expected_revision: int | None = None,
) -> None:
    """Delete a tenant with everything that it owns.

    Once its rows are gone it is deleted, whatever becomes of the bytes: those that cannot
    be removed now have no row that names them, and the sweep removes them.

    :raises NotFound: there is no such tenant.
    :raises PreconditionFailed: it is at another revision.
    """
    tenant_id, digests = tenants.delete(principal, slug, expected_revision)
    for digest in sorted(digests):
        drop_quietly(database, store, tenant_id, digest)

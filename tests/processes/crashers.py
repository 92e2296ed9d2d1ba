"""Versions that admission would refuse, brought into an installation past it: bytes into the store, rows by SQL."""

from service.artifacts.store import digest_of, open_store
from service.artifacts.tables import Artifact
from service.database import PLATFORM, Database
from service.registry.tables import Version
from tests.predict.crashers import tampered
from tests.processes.conftest import Installation
from tests.processes.estimators import constant


def smuggle(installation: Installation, slug: str, model: str, right: int, *, serial: int = 0) -> None:
    """Make the model's first version one whose tree leads to ``right`` for rows over 0.5.

    :param serial: makes bytes that are no other version's.
    """
    with installation.caller(slug) as caller:
        caller.uploaded(model, constant(0.0, features=1))
    data = tampered(right, serial)
    server = installation.server
    tenant = installation.ids[slug]
    open_store(str(server.directory / "modelward-data" / "artifacts")).put(tenant, data)
    database = Database(str(server.settings["database_url"]))
    with database.write(PLATFORM) as session:
        digest = digest_of(data)
        session.add(Artifact(tenant_id=tenant, digest=digest, size_bytes=len(data)))
        session.flush()
        version = session.get(Version, (tenant, model, 1))
        assert version is not None
        version.digest, version.runtime = digest, {"backend": "native"}
    database.dispose()

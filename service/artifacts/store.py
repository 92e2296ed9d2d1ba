"""Where artifacts are kept: bytes under their tenant and their SHA-256, the same over every implementation.

Nothing is shared between tenants, what is read is checked against its name, and a name
that is there has all of its bytes: they are written under another name first, or the
storage itself makes a write whole or absent.
"""

import hashlib
import re
from typing import Final, Protocol

from service.errors import Unavailable

SUFFIX: Final = ".skops"
RETRY_SECONDS: Final = 2

_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_FILE: Final = re.compile(r"([0-9a-f]{64})\.skops")


class ArtifactStore(Protocol):
    """Bytes of tenants, by digest. Each method may raise ``Unavailable``."""

    def put(self, tenant_id: str, data: bytes) -> str:
        """Keep ``data`` and return its digest, ``sha256:…``; keeping it twice is keeping it once."""
        ...

    def has(self, tenant_id: str, digest: str) -> bool:
        """Whether there are bytes under that digest; they are not read."""
        ...

    def age_seconds(self, tenant_id: str, digest: str) -> float | None:
        """Return how long ago the bytes were written, ``None`` where they are gone or the storage does not say."""
        ...

    def get(self, tenant_id: str, digest: str) -> bytes:
        """Return the bytes of that digest, checked against it.

        :raises Unavailable: ``artifact_missing`` or ``artifact_corrupt``.
        """
        ...

    def delete(self, tenant_id: str, digest: str) -> None:
        """Remove the bytes; what is not there is no error."""
        ...

    def tenants(self) -> list[str]:
        """Return the ids of tenants that have anything."""
        ...

    def clear_partial(self, older_than_seconds: float) -> int:
        """Remove what interrupted writes left behind, and return how many there were."""
        ...

    def check(self) -> None:
        """Write, read and remove a probe.

        :raises Unavailable: says what does not work.
        """
        ...

    def list(self, tenant_id: str) -> list[str]:
        """Return the digests that a tenant has."""
        ...


def open_store(url: str) -> ArtifactStore:
    """Return the store that ``url`` names: a directory, or any URL that fsspec knows.

    :raises Unavailable: no package for that kind of URL is installed.
    """
    from service.artifacts.file_store import FileStore  # noqa: PLC0415 - both import this module's rules.
    from service.artifacts.fsspec_store import FsspecStore  # noqa: PLC0415

    if "://" not in url:
        return FileStore(url)
    if url.startswith("file://"):
        return FileStore(url.removeprefix("file://"))
    return FsspecStore(url)


def digest_of(data: bytes) -> str:
    """Return ``sha256:`` and the hexadecimal digest."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def key_parts(tenant_id: str, digest: str) -> tuple[str, str]:
    """Return directory and file name of an artifact.

    :raises ValueError: tenant or digest has a form that the server never makes.
    """
    found = _DIGEST.fullmatch(digest)
    if found is None:
        raise ValueError("a digest is sha256: and 64 hexadecimal digits")
    return tenant_part(tenant_id), found[1] + SUFFIX


def is_tenant(name: str) -> bool:
    """Whether a directory of that name can be a tenant's."""
    return _TENANT.fullmatch(name) is not None


def tenant_part(tenant_id: str) -> str:
    """Return the directory of a tenant.

    :raises ValueError: the id has a form that the server never makes.
    """
    if not is_tenant(tenant_id):
        raise ValueError("a tenant's id has letters, digits, - and _ only")
    return tenant_id


def digest_of_file(name: str) -> str | None:
    """Return the digest that a file name stands for, if it is an artifact's."""
    found = _FILE.fullmatch(name)
    return found and f"sha256:{found[1]}"


def verified(data: bytes, digest: str) -> bytes:
    """Return ``data`` if it is what ``digest`` says.

    :raises Unavailable: ``artifact_corrupt``; it is not served in any case.
    """
    if digest_of(data) != digest:
        raise Unavailable("The stored bytes of this version were altered; upload it again.", code="artifact_corrupt")
    return data


def missing() -> Unavailable:
    """Return the error for bytes that should be there and are not."""
    return Unavailable("The stored bytes of this version are missing; upload it again.", code="artifact_missing")


def out_of_reach(error: Exception) -> Unavailable:
    """Return the error for a storage that does not answer, or refuses."""
    return Unavailable(
        f"The artifact store cannot be used: {type(error).__name__}.",
        code="artifact_store_unavailable",
        retry_after=RETRY_SECONDS,
    )

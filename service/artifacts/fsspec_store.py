"""Artifacts in any storage that fsspec knows: S3 and its like, or memory."""

import contextlib
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import fsspec

from service.artifacts import store
from service.errors import Unavailable


class FsspecStore:
    """Artifacts as objects ``<url>/<tenant>/<sha256>.skops``.

    Object storage makes a write whole or absent. What some other storage left half
    written does not match its digest; it is never served, and the next ``put`` replaces it.

    :param url: for example ``s3://bucket/prefix``; credentials are the storage's own affair.
    :raises Unavailable: no package for that kind of URL is installed.
    """

    def __init__(self, url: str) -> None:
        try:
            self._storage, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise store.out_of_reach(error) from error
        self._root = root.rstrip("/")

    def put(self, tenant_id: str, data: bytes) -> str:
        """Keep the bytes; see ``ArtifactStore``."""
        digest = store.digest_of(data)
        with _reachable():
            self._storage.makedirs(f"{self._root}/{store.tenant_part(tenant_id)}", exist_ok=True)
            self._storage.pipe_file(self._key(tenant_id, digest), data)
        return digest

    def has(self, tenant_id: str, digest: str) -> bool:
        """Whether they are there; see ``ArtifactStore``."""
        with _reachable():
            self._storage.invalidate_cache()
            return bool(self._storage.exists(self._key(tenant_id, digest)))

    def age_seconds(self, tenant_id: str, digest: str) -> float | None:
        """Return their age; see ``ArtifactStore``."""
        with _reachable():
            try:
                written: datetime = self._storage.modified(self._key(tenant_id, digest))
            except (FileNotFoundError, NotImplementedError):
                return None
        return (datetime.now(UTC) - (written if written.tzinfo else written.replace(tzinfo=UTC))).total_seconds()

    def get(self, tenant_id: str, digest: str) -> bytes:
        """Return the bytes; see ``ArtifactStore``."""
        with _reachable():
            try:
                data: bytes = self._storage.cat_file(self._key(tenant_id, digest))
            except FileNotFoundError:
                raise store.missing() from None
        return store.verified(data, digest)

    def delete(self, tenant_id: str, digest: str) -> None:
        """Remove the bytes; see ``ArtifactStore``."""
        with _reachable(), contextlib.suppress(FileNotFoundError):
            self._storage.rm_file(self._key(tenant_id, digest))

    def tenants(self) -> list[str]:
        """Return the tenants; see ``ArtifactStore``."""
        return sorted(self._last(entry) for entry in self._entries(self._root) if entry["type"] == "directory")

    def clear_partial(self, older_than_seconds: float) -> int:
        """Remove leavings, of which there are none; see ``ArtifactStore``."""
        return 0

    def check(self) -> None:
        """Try the store; see ``ArtifactStore``."""
        probe = f"{self._root}/{secrets.token_hex(8)}.probe"
        with _reachable():
            self._storage.makedirs(self._root, exist_ok=True)
            self._storage.pipe_file(probe, b"probe")
            self._storage.rm_file(probe)

    def _key(self, tenant_id: str, digest: str) -> str:
        return "/".join((self._root, *store.key_parts(tenant_id, digest)))

    def _entries(self, path: str) -> list[dict[str, Any]]:
        with _reachable():
            self._storage.invalidate_cache()
            try:
                found: list[dict[str, Any]] = self._storage.ls(path, detail=True)
            except FileNotFoundError:
                return []
        return found

    @staticmethod
    def _last(entry: dict[str, Any]) -> str:
        return str(entry["name"]).rstrip("/").rpartition("/")[2]

    def list(self, tenant_id: str) -> list[str]:
        """Return the digests of a tenant; see ``ArtifactStore``."""
        names = (self._last(entry) for entry in self._entries(f"{self._root}/{store.tenant_part(tenant_id)}"))
        return sorted(digest for name in names if (digest := store.digest_of_file(name)))


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (Unavailable, ValueError):
        raise
    except Exception as error:  # a storage's client raises errors of its own making.
        raise store.out_of_reach(error) from error

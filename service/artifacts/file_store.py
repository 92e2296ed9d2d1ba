"""Artifacts as files below a directory."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from service.artifacts import store

PARTIAL: Final = ".part"


class FileStore:
    """Artifacts as ``<root>/<tenant>/<sha256>.skops``.

    A write goes to another name, is forced to disk, and then renamed, and the rename is
    forced to disk too; so what was answered for survives a crash of the machine.

    :param root: the directory; it is made at the first write.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()

    def path(self, tenant_id: str, digest: str) -> Path:
        """Return where an artifact lies, or would lie."""
        directory, name = store.key_parts(tenant_id, digest)
        return self.root / directory / name

    def put(self, tenant_id: str, data: bytes) -> str:
        """Keep the bytes; see ``ArtifactStore``."""
        digest = store.digest_of(data)
        path = self.path(tenant_id, digest)
        with _reachable():
            if not self._holds(path, digest):
                self._write(path, data)
        return digest

    def has(self, tenant_id: str, digest: str) -> bool:
        """Whether they are there; see ``ArtifactStore``."""
        with _reachable():
            return self.path(tenant_id, digest).is_file()

    def age_seconds(self, tenant_id: str, digest: str) -> float | None:
        """Return their age; see ``ArtifactStore``."""
        with _reachable():
            try:
                return time.time() - self.path(tenant_id, digest).stat().st_mtime
            except FileNotFoundError:
                return None

    def get(self, tenant_id: str, digest: str) -> bytes:
        """Return the bytes; see ``ArtifactStore``."""
        with _reachable():
            try:
                data = self.path(tenant_id, digest).read_bytes()
            except FileNotFoundError:
                raise store.missing() from None
        return store.verified(data, digest)

    def delete(self, tenant_id: str, digest: str) -> None:
        """Remove the bytes; see ``ArtifactStore``."""
        with _reachable():
            self.path(tenant_id, digest).unlink(missing_ok=True)

    def tenants(self) -> list[str]:
        """Return the tenants; see ``ArtifactStore``."""
        with _reachable():
            return (
                sorted(path.name for path in self.root.iterdir() if path.is_dir() and store.is_tenant(path.name))
                if self.root.is_dir()
                else []
            )

    def clear_partial(self, older_than_seconds: float) -> int:
        """Remove leavings; see ``ArtifactStore``."""
        before = time.time() - older_than_seconds
        removed = 0
        with _reachable():
            for path in chain(self.root.glob(f"*{PARTIAL}"), self.root.glob(f"*/*{PARTIAL}")):
                # Its writer may finish or clear up in between.
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime <= before:
                        path.unlink()
                        removed += 1
        return removed

    def check(self) -> None:
        """Try the store; see ``ArtifactStore``."""
        probe = self.root / f"{secrets.token_hex(8)}{PARTIAL}"
        with _reachable():
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"probe")
            probe.unlink()

    @staticmethod
    def _holds(path: Path, digest: str) -> bool:
        try:
            return store.digest_of(path.read_bytes()) == digest
        except FileNotFoundError:
            return False

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{secrets.token_hex(8)}{PARTIAL}")
        try:
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        for directory in (path.parent, path.parent.parent):
            _force(directory)

    def list(self, tenant_id: str) -> list[str]:
        """Return the digests of a tenant; see ``ArtifactStore``."""
        directory = self.root / store.tenant_part(tenant_id)
        with _reachable():
            names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
        return [digest for name in names if (digest := store.digest_of_file(name))]


def _force(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise store.out_of_reach(error) from error

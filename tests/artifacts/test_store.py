"""One suite over every store: bytes under their digest, per tenant, whole or absent."""

import hashlib
import os
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from service.artifacts.file_store import FileStore
from service.artifacts.fsspec_store import FsspecStore
from service.artifacts.store import ArtifactStore, open_store
from service.errors import Unavailable

DATA = b"the bytes of an artifact"
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


class Opened:
    """A store, and a way around it to the bytes that it keeps."""

    def __init__(self, store: ArtifactStore, overwrite: Callable[[str, bytes], None]) -> None:
        self.store = store
        self.overwrite = overwrite


@pytest.fixture(params=["directory", "file URL", "memory", "fsspec on disk"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    root = tmp_path / "artifacts"
    if request.param == "memory":
        bucket = f"/{uuid.uuid4()}/prefix"
        storage = fsspec.filesystem("memory")
        return Opened(open_store(f"memory:/{bucket}"), lambda key, data: storage.pipe_file(f"{bucket}/{key}", data))
    stores = {"directory": str(root), "file URL": f"file://{root}"}
    store = open_store(stores[request.param]) if request.param in stores else FsspecStore(f"local://{root}")
    return Opened(store, lambda key, data: (root / key).write_bytes(data) and None)


@pytest.fixture
def store(opened: Opened) -> ArtifactStore:
    return opened.store


def test_what_is_put_can_be_got(store: ArtifactStore) -> None:
    assert store.put("ten_a", DATA) == DIGEST
    assert store.get("ten_a", DIGEST) == DATA


def test_putting_twice_is_putting_once(store: ArtifactStore) -> None:
    assert store.put("ten_a", DATA) == store.put("ten_a", DATA)
    assert store.list("ten_a") == [DIGEST]


def test_nothing_is_shared_between_tenants(store: ArtifactStore) -> None:
    store.put("ten_a", DATA)

    assert store.list("ten_b") == []
    with pytest.raises(Unavailable) as refusal:
        store.get("ten_b", DIGEST)
    assert refusal.value.reason == "artifact_missing"


def test_tenants_and_digests_are_listed(store: ArtifactStore) -> None:
    assert store.tenants() == []
    digests = {store.put("ten_a", DATA), store.put("ten_a", b"other")}
    store.put("ten_b", DATA)

    assert store.tenants() == ["ten_a", "ten_b"]
    assert set(store.list("ten_a")) == digests


def test_it_knows_what_it_has_and_for_how_long(store: ArtifactStore) -> None:
    assert not store.has("ten_a", DIGEST)
    assert store.age_seconds("ten_a", DIGEST) is None
    store.put("ten_a", DATA)

    assert store.has("ten_a", DIGEST)
    assert not store.has("ten_b", DIGEST)
    age = store.age_seconds("ten_a", DIGEST)
    assert age is not None
    assert abs(age) < 60


def test_deleting_removes_and_may_be_repeated(store: ArtifactStore) -> None:
    store.put("ten_a", DATA)
    store.put("ten_b", DATA)

    store.delete("ten_a", DIGEST)
    store.delete("ten_a", DIGEST)

    assert store.list("ten_a") == []
    assert store.get("ten_b", DIGEST) == DATA


def test_altered_bytes_are_never_returned_and_the_next_put_heals_them(opened: Opened) -> None:
    opened.store.put("ten_a", DATA)
    opened.overwrite(f"ten_a/{DIGEST.removeprefix('sha256:')}.skops", DATA[:-1] + b"X")

    with pytest.raises(Unavailable) as refusal:
        opened.store.get("ten_a", DIGEST)
    opened.store.put("ten_a", DATA)

    assert refusal.value.reason == "artifact_corrupt"
    assert opened.store.get("ten_a", DIGEST) == DATA


def test_what_is_no_artifact_is_not_listed(opened: Opened) -> None:
    opened.store.put("ten_a", DATA)
    opened.overwrite("ten_a/notes.txt", b"x")

    assert opened.store.list("ten_a") == [DIGEST]


@pytest.mark.parametrize("tenant", ["", "..", "a/b", "/etc", "a\0b", "x" * 200])
def test_a_tenant_cannot_name_another_place(tenant: str, store: ArtifactStore) -> None:
    with pytest.raises(ValueError, match="tenant"):
        store.put(tenant, DATA)
    with pytest.raises(ValueError, match="tenant"):
        store.list(tenant)


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../etc/passwd", "md5:" + "0" * 64, "sha256:" + "G" * 64])
def test_a_digest_cannot_name_another_place(digest: str, store: ArtifactStore) -> None:
    with pytest.raises(ValueError, match="digest"):
        store.get("ten_a", digest)


def test_the_check_leaves_nothing(store: ArtifactStore) -> None:
    store.check()

    assert store.tenants() == []


def test_many_writers_of_the_same_bytes_leave_them_once(store: ArtifactStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: store.put("ten_a", DATA), range(32)))

    assert digests == {DIGEST}
    assert store.get("ten_a", DIGEST) == DATA
    assert store.clear_partial(0) == 0


def test_what_a_crash_left_half_written_is_cleared(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    path = store.path("ten_a", store.put("ten_a", DATA))
    path.with_name(".deadbeef.part").write_bytes(b"half")
    (tmp_path / "deadbeef.part").write_bytes(b"probe")

    assert store.list("ten_a") == [DIGEST]
    assert store.clear_partial(3600) == 0
    assert store.clear_partial(0) == 2
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for store in (FileStore(tmp_path / "file" / "below"), FsspecStore(f"local://{tmp_path}/file/below")):
        with pytest.raises(Unavailable) as refusal:
            store.check()
        with pytest.raises(Unavailable):
            store.put("ten_a", DATA)
        assert refusal.value.reason == "artifact_store_unavailable"


@pytest.mark.parametrize("url", ["nosuchstorage://bucket", "abfs://container"])
def test_a_storage_that_is_not_installed_says_so(url: str) -> None:
    with pytest.raises(Unavailable):
        open_store(url)


def test_a_write_is_forced_to_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("force"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda path, to: (order.append("rename"), replace(path, to))[1])

    FileStore(tmp_path).put("ten_a", DATA)

    assert order == ["force", "rename", "force", "force"]

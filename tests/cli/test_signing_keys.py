"""``modelward signing-key`` and ``modelward sweep``."""

from service.cli.installation import operate
from service.tenants.principal import PLATFORM_TENANT_ID
from tests.cli.conftest import CommandLine


def test_rotate_publishes_a_key(migrated: CommandLine) -> None:
    assert migrated.json("signing-key", "list") == {"data": []}
    kid = migrated.json("signing-key", "rotate")["kid"]
    assert migrated.prints("signing-key", "rotate", "-q").strip() != kid
    listed = migrated.json("signing-key", "list")["data"]
    assert listed[0]["kid"] == kid
    assert len(listed) == 2


def test_sweep_finds_bytes_that_no_row_names(migrated: CommandLine) -> None:
    with operate() as services:
        digest = services.store.put(PLATFORM_TENANT_ID, b"left by a crash")
    assert migrated.json("sweep", "--dry-run", "--older-than-seconds", "0")["orphaned"] == [
        f"{PLATFORM_TENANT_ID}/{digest}"
    ]
    assert migrated.json("sweep", "--older-than-seconds", "0")["orphaned"] == [f"{PLATFORM_TENANT_ID}/{digest}"]
    assert migrated.json("sweep")["orphaned"] == []

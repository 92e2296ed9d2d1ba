"""The end of a tenant, with its rows and its bytes."""

from pathlib import Path

from service.registry.removal import remove_tenant
from service.tenants.keys import ApiKeys
from service.tenants.principal import Principal
from service.tenants.tenants import Tenants
from service.tenants.vault import Vault
from tests.registry.workers import Worker


def remove(worker: Worker, principal: Principal) -> None:
    keys = ApiKeys(worker.database, Vault(b"thirty-two bytes for the tests.."), worker.epochs, worker.audit)
    tenants = Tenants(worker.database, worker.epochs, worker.audit, keys)
    slug = f"{principal.tenant}-{principal.tenant_id[-8:]}"
    remove_tenant(worker.database, worker.store, tenants, Principal.operator(), slug)


def test_bytes_go_with_the_rows(worker: Worker, acme: Principal) -> None:
    worker.upload(acme)
    remove(worker, acme)
    assert worker.store.list(acme.tenant_id) == []


def test_bytes_that_cannot_be_removed_are_left_to_the_sweep(worker: Worker, acme: Principal, tmp_path: Path) -> None:
    digest = worker.upload(acme).digest
    directory = tmp_path / "artifacts" / acme.tenant_id
    [kept] = directory.iterdir()
    data = kept.read_bytes()
    # A directory in the place of the file cannot be unlinked, by root neither.
    kept.unlink()
    kept.mkdir()
    remove(worker, acme)
    kept.rmdir()
    kept.write_bytes(data)
    assert worker.sweep.run(older_than_seconds=0).orphaned == (f"{acme.tenant_id}/{digest}",)
    assert worker.store.list(acme.tenant_id) == []

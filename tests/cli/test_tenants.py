"""``modelward tenant``."""

import pytest

from service.cli.installation import operate
from service.errors import Forbidden
from service.registry.versions import Metadata
from tests.cli.conftest import CommandLine


def test_create_prints_the_tenant_with_its_first_key(migrated: CommandLine) -> None:
    made = migrated.json("tenant", "create", "acme", "--plan", "free", "--name", "Acme Ltd")
    assert (made["slug"], made["name"], made["plan"], made["status"]) == ("acme", "Acme Ltd", "free", "active")
    with operate() as services:
        principal = services.keys.authenticate(made["api_key"], "127.0.0.1")
        assert principal.tenant == "acme"
        assert len(services.signing_keys.list().data) == 1


def test_quiet_prints_the_key_alone(migrated: CommandLine) -> None:
    result = migrated.run("tenant", "create", "acme", "-q")
    assert result.stdout.startswith("mw_")
    assert len(result.stdout.split()) == 1
    assert result.stderr == ""


def test_a_human_is_told_to_keep_the_key(migrated: CommandLine) -> None:
    result = migrated.run("tenant", "create", "acme")
    assert "name\tacme" in result.stdout
    assert "keep it now" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["Acme Ltd"], "slug"), (["platform"], "slug"), (["acme", "--plan", "gold"], "plan"), (["taken"], "taken")],
)
def test_what_cannot_be_made_is_refused(migrated: CommandLine, arguments: list[str], said: str) -> None:
    migrated.prints("tenant", "create", "taken")
    assert said in migrated.refuses("tenant", "create", *arguments)


def test_list_and_show(migrated: CommandLine) -> None:
    assert migrated.json("tenant", "list") == {"data": []}
    for slug in ("acme", "beta"):
        migrated.prints("tenant", "create", slug)
    assert migrated.prints("tenant", "list", "-q") == "acme\nbeta\n"
    assert migrated.json("tenant", "show", "beta")["slug"] == "beta"
    assert "There is no such tenant" in migrated.refuses("tenant", "show", "gamma")


def test_list_prints_more_than_a_page(migrated: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        migrated.prints("tenant", "create", f"t{number}")
    monkeypatch.setattr("service.cli.tenants.PAGE_SIZE", 2)
    assert migrated.prints("tenant", "list", "-q").split() == [f"t{number}" for number in range(5)]


def test_change_moves_a_tenant_to_another_plan_or_name(migrated: CommandLine) -> None:
    migrated.prints("tenant", "create", "acme", "--plan", "free")
    changed = migrated.json("tenant", "change", "acme", "--plan", "standard")
    assert (changed["plan"], changed["name"]) == ("standard", "acme")
    assert migrated.json("tenant", "change", "acme", "--name", "Acme Ltd")["name"] == "Acme Ltd"
    assert migrated.prints("tenant", "change", "acme", "--plan", "free", "-q") == "acme\n"
    assert "plan" in migrated.refuses("tenant", "change", "acme", "--plan", "gold")
    migrated.refuses("tenant", "change", "acme", code=2)


def test_suspend_and_resume(migrated: CommandLine) -> None:
    key = migrated.prints("tenant", "create", "acme", "-q").strip()
    assert migrated.json("tenant", "suspend", "acme", "--reason", "unpaid")["status"] == "suspended"
    assert migrated.prints("tenant", "list", "--status", "suspended", "-q") == "acme\n"
    with operate() as services, pytest.raises(Forbidden):
        services.keys.authenticate(key, "127.0.0.1")
    assert migrated.json("tenant", "resume", "acme")["status"] == "active"
    with operate() as services:
        assert services.keys.authenticate(key, "127.0.0.1").tenant == "acme"
        reasons = [event.details.get("reason") for event in services.audit.list_all(tenant="acme").data]
    assert "unpaid" in reasons


def test_delete_asks_and_removes_the_bytes_too(migrated: CommandLine, artifact: bytes) -> None:
    key = migrated.prints("tenant", "create", "acme", "-q").strip()
    with operate() as services:
        principal = services.keys.authenticate(key, "127.0.0.1")
        services.versions.upload(principal, "small", artifact, Metadata())
        assert services.store.list(principal.tenant_id)
    assert migrated.run("tenant", "delete", "acme", input="n\n").exit_code == 1
    assert migrated.json("tenant", "delete", "acme", "--yes") == {"slug": "acme", "deleted": True}
    with operate() as services:
        assert not list(services.store.list(principal.tenant_id))
    assert "There is no such tenant" in migrated.refuses("tenant", "delete", "acme", "--yes")

"""``modelward key``."""

import pytest

from service.cli.installation import operate
from service.errors import Unauthenticated
from service.tenants.principal import PLATFORM_TENANT_ID
from service.tenants.scopes import ROLES, Scope
from tests.cli.conftest import CommandLine


@pytest.fixture
def acme(migrated: CommandLine) -> CommandLine:
    """The command line over a database with the tenant ``acme``."""
    migrated.prints("tenant", "create", "acme")
    return migrated


def stands(secret: str) -> bool:
    with operate() as services:
        try:
            services.keys.authenticate(secret, "127.0.0.1")
        except Unauthenticated:
            return False
        return True


def test_an_operators_key_is_of_the_platform(migrated: CommandLine) -> None:
    made = migrated.json("key", "create", "--platform-admin")
    with operate() as services:
        principal = services.keys.authenticate(made["api_key"], "127.0.0.1")
    assert principal.tenant_id == PLATFORM_TENANT_ID
    assert Scope.PLATFORM_ADMIN in principal.scopes
    assert made["key"] == made["api_key"]
    assert made["tenant"] is None


def test_a_tenants_key_has_the_scopes_of_its_role(acme: CommandLine) -> None:
    made = acme.json("key", "create", "--tenant", "acme", "--role", "predictor", "--model", "iris", "--name", "site")
    assert set(made["scopes"]) == ROLES["predictor"]
    assert (made["models"], made["name"], made["tenant"]) == (["iris"], "site", "acme")


def test_a_key_of_scopes_with_a_term_and_a_network(acme: CommandLine) -> None:
    options = ["--scope", "models:predict", "--cidr", "10.0.0.0/8", "--expires-in-days", "7"]
    made = acme.json("key", "create", "--tenant", "acme", *options)
    assert made["scopes"] == ["models:predict"]
    assert made["allowed_cidrs"] == ["10.0.0.0/8"]
    assert made["expires_at"] > made["created_at"]


def test_only_an_operators_key_reads_metrics(acme: CommandLine) -> None:
    made = acme.json("key", "create", "--platform-admin", "--scope", "metrics:read", "--name", "prometheus")
    assert (made["scopes"], made["tenant"]) == (["metrics:read"], None)
    assert "metrics:read" in acme.refuses("key", "create", "--tenant", "acme", "--scope", "metrics:read")


def test_quiet_prints_the_key_alone(acme: CommandLine) -> None:
    assert stands(acme.prints("key", "create", "--tenant", "acme", "-q").strip())


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--tenant", "acme", "--platform-admin"],
        ["--platform-admin", "--role", "viewer"],
        ["--tenant", "acme", "--role", "viewer", "--scope", "models:read"],
        ["--tenant", "acme", "--role", "platform-admin"],
        ["--tenant", "acme", "--expires-in-days", "0"],
    ],
)
def test_options_that_contradict_are_a_usage_error(acme: CommandLine, options: list[str]) -> None:
    acme.refuses("key", "create", *options, code=2)


def test_a_network_that_is_none_is_named(acme: CommandLine) -> None:
    assert "allowed_cidrs" in acme.refuses("key", "create", "--tenant", "acme", "--cidr", "everywhere")


def test_the_key_of_an_unknown_tenant_is_refused(migrated: CommandLine) -> None:
    assert "There is no such tenant" in migrated.refuses("key", "create", "--tenant", "acme")


def test_list_shows_no_secret(acme: CommandLine) -> None:
    secret = acme.prints("key", "create", "--tenant", "acme", "-q").strip()
    listed = acme.json("key", "list", "--tenant", "acme")["data"]
    assert [key["name"] for key in listed] == ["First key", "cli"]
    assert {key["status"] for key in listed} == {"active"}
    assert secret not in acme.prints("key", "list", "--tenant", "acme")
    assert acme.json("key", "list", "--platform-admin") == {"data": []}


def test_revoke_ends_a_key(acme: CommandLine) -> None:
    made = acme.json("key", "create", "--tenant", "acme")
    assert acme.json("key", "revoke", "--tenant", "acme", made["id"])["revoked_at"]
    assert not stands(made["key"])
    assert "no such API key" in acme.refuses("key", "revoke", "--tenant", "acme", "key_none")


def test_rotate_gives_a_successor_and_ends_the_old_one(acme: CommandLine) -> None:
    made = acme.json("key", "create", "--tenant", "acme")
    successor = acme.json("key", "rotate", "--tenant", "acme", made["id"])
    assert stands(successor["key"])
    assert not stands(made["key"])


def test_rotate_can_let_both_hold_for_a_while(acme: CommandLine) -> None:
    made = acme.json("key", "create", "--tenant", "acme")
    successor = acme.json("key", "rotate", "--tenant", "acme", made["id"], "--overlap-seconds", "60")
    assert stands(successor["key"])
    assert stands(made["key"])

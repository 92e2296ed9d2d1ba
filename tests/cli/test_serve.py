"""``modelward serve`` refuses each unsafe setting, and what it does not find ready."""

import pytest

from tests.cli.conftest import SECRET, CommandLine, Setting

UNSAFE = {
    "SECRET_KEY": "short",
    "DEBUG": "true",
    "CORS_ORIGINS": "https://good.example, *",
    "METRICS_PUBLIC": "true",
    "METRICS_TOKEN": "guess",
    "WORKERS": "2",
}


@pytest.fixture
def safe(migrated: CommandLine, setting: Setting) -> CommandLine:
    """The command line over settings that are safe, but for what a test changes."""
    setting("ALLOW_SQLITE", "true")
    return migrated


def refused(said: str) -> set[str]:
    """Return the settings that lines begin with."""
    return {line.split()[0] for line in said.splitlines() if line.startswith("MODELWARD_")}


@pytest.mark.parametrize("name", UNSAFE)
def test_each_unsafe_setting_is_named(safe: CommandLine, setting: Setting, name: str) -> None:
    setting(name, UNSAFE[name])
    named = "MODELWARD_REDIS_URL" if name == "WORKERS" else f"MODELWARD_{name}"
    assert refused(safe.refuses("serve")) == {named}


def test_all_of_them_are_named_at_once(cli: CommandLine, setting: Setting) -> None:
    for name, value in UNSAFE.items():
        setting(name, value)
    assert len(refused(cli.refuses("serve"))) == len(UNSAFE) + 1


def test_sqlite_needs_an_explicit_flag(migrated: CommandLine) -> None:
    assert refused(migrated.refuses("serve")) == {"MODELWARD_DATABASE_URL"}


def test_a_secret_key_that_repeats_itself_is_refused(safe: CommandLine, setting: Setting) -> None:
    setting("SECRET_KEY", "aaaa" * 10)
    assert refused(safe.refuses("serve")) == {"MODELWARD_SECRET_KEY"}


def test_the_key_that_up_generated_is_not_taken(safe: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    (safe.data_dir / "secret.key").write_text(SECRET)
    monkeypatch.delenv("MODELWARD_SECRET_KEY")
    assert refused(safe.refuses("serve")) == {"MODELWARD_SECRET_KEY"}


def test_options_are_held_to_the_same_rules(safe: CommandLine) -> None:
    assert refused(safe.refuses("serve", "--workers", "2")) == {"MODELWARD_REDIS_URL"}


def test_a_database_that_is_not_migrated_is_refused(cli: CommandLine, setting: Setting) -> None:
    setting("ALLOW_SQLITE", "true")
    assert "modelward migrate" in cli.refuses("serve")
    assert not cli.data_dir.exists()


def test_another_secret_key_than_the_databases_is_refused(safe: CommandLine, setting: Setting) -> None:
    safe.prints("tenant", "create", "acme")
    setting("SECRET_KEY", SECRET[::-1])
    assert "not the one that this database was made with" in safe.refuses("serve")


def test_a_port_in_use_is_one_line(safe: CommandLine, taken_port: int) -> None:
    said = safe.refuses("serve", "--port", str(taken_port))
    assert len(said.splitlines()) == 1
    assert f"127.0.0.1:{taken_port}" in said


def test_an_address_of_another_machine_is_one_line(safe: CommandLine) -> None:
    assert "192.0.2.1:8000" in safe.refuses("serve", "--host", "192.0.2.1")

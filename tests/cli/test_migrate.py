"""``modelward migrate``: to the newest revision, to another, and to none at all with --check."""

import pytest

from service.database import NEWEST, revision_of
from tests.cli.conftest import CommandLine, Setting


def test_it_migrates_an_empty_directory(cli: CommandLine) -> None:
    assert cli.json("migrate") == {"before": None, "revision": NEWEST, "newest": NEWEST}
    assert cli.data_dir.stat().st_mode & 0o777 == 0o700


def test_it_needs_no_secret_key(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELWARD_SECRET_KEY")
    assert cli.json("migrate")["revision"] == NEWEST


def test_what_is_done_is_not_done_again(migrated: CommandLine) -> None:
    assert migrated.json("migrate")["before"] == NEWEST


def test_check_changes_nothing_and_says_so(cli: CommandLine) -> None:
    assert "run `modelward migrate`" in cli.refuses("migrate", "--check")
    assert not cli.data_dir.exists()


def test_check_is_content_with_the_newest(migrated: CommandLine) -> None:
    assert migrated.prints("migrate", "--check", "-q") == f"{NEWEST}\n"


def test_going_back_asks_first(migrated: CommandLine) -> None:
    assert migrated.run("migrate", "--to", "base", input="n\n").exit_code == 1
    assert migrated.json("migrate", "--check")["revision"] == NEWEST
    assert migrated.run("migrate", "--to", "base", input="y\n").exit_code == 0
    assert migrated.json("migrate")["before"] is None


def test_going_back_can_be_said_to_be_meant(migrated: CommandLine) -> None:
    assert migrated.json("migrate", "--to", "base", "--yes")["revision"] is None


def test_a_revision_that_does_not_exist_is_refused(cli: CommandLine) -> None:
    assert "no revision 9999" in cli.refuses("migrate", "--to", "9999")


@pytest.mark.parametrize("command", [["migrate"], ["migrate", "--check"], ["tenant", "list"], ["serve"]])
def test_a_database_of_a_newer_release_is_refused(
    migrated: CommandLine, newer: None, setting: Setting, command: list[str]
) -> None:
    setting("ALLOW_SQLITE", "true")
    assert "9999" in migrated.refuses(*command)


def test_an_unreachable_database_is_one_line(cli: CommandLine, setting: Setting) -> None:
    setting("DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    assert cli.refuses("migrate").splitlines() == ["Error: The database does not answer."]


def test_the_owner_migrates_where_it_is_named(cli: CommandLine, setting: Setting, postgresql_url: str) -> None:
    setting("DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    setting("MIGRATION_URL", postgresql_url)
    assert cli.json("migrate")["revision"] == NEWEST
    assert revision_of(postgresql_url) == NEWEST

"""``modelward doctor``: each fault is found, and named with what to do."""

import json
from typing import Any

import pytest

from tests.cli.conftest import SECRET, CommandLine, Setting


def checks(cli: CommandLine, *, code: int) -> dict[str, Any]:
    """Return the last finding of each check."""
    result = cli.run("doctor", "--json")
    assert result.exit_code == code, result.output
    report = json.loads(result.stdout)
    assert report["ok"] == (code == 0)
    return {finding["check"]: finding for finding in report["checks"]}


def test_a_fresh_installation_is_in_order(migrated: CommandLine) -> None:
    found = checks(migrated, code=0)
    assert set(found) == {"settings", "database", "migrations", "clock", "redis", "artifacts", "signing keys", "disk"}
    assert all(finding["level"] == "ok" for check, finding in found.items() if check not in {"settings", "disk"})


def test_it_says_so_to_a_human(migrated: CommandLine) -> None:
    printed = migrated.prints("doctor")
    assert "SQLite answers" in printed
    assert "->" in printed
    assert migrated.prints("doctor", "-q") == ""


def test_without_a_database_every_line_says_what_to_do(cli: CommandLine) -> None:
    found = checks(cli, code=1)
    for check in ("database", "migrations", "signing keys"):
        assert found[check]["level"] == "failed"
        assert found[check]["advice"]
    assert not cli.data_dir.exists() or not (cli.data_dir / "modelward.db").exists()


def test_a_misspelt_setting_is_guessed(migrated: CommandLine, setting: Setting) -> None:
    setting("REDIS_ULR", "redis://127.0.0.1")
    setting("COFFEE", "1")
    printed = migrated.prints("doctor")
    assert "MODELWARD_REDIS_ULR" in printed
    assert "Did you mean MODELWARD_REDIS_URL?" in printed
    assert "MODELWARD_COFFEE is not a setting" in printed


def test_an_unsafe_setting_fails_in_production(migrated: CommandLine, setting: Setting) -> None:
    setting("ALLOW_SQLITE", "true")
    assert checks(migrated, code=0)["settings"]["level"] == "ok"
    setting("METRICS_PUBLIC", "true")
    assert "MODELWARD_METRICS_PUBLIC" in checks(migrated, code=1)["settings"]["detail"]


def test_the_wrong_secret_key_is_found(migrated: CommandLine, setting: Setting) -> None:
    migrated.prints("tenant", "create", "acme")
    setting("SECRET_KEY", SECRET[::-1])
    assert checks(migrated, code=1)["signing keys"]["level"] == "failed"


def test_an_old_schema_is_found(migrated: CommandLine) -> None:
    migrated.prints("migrate", "--to", "base", "--yes")
    assert checks(migrated, code=1)["migrations"]["level"] == "failed"


def test_a_newer_schema_is_found(migrated: CommandLine, newer: None) -> None:
    assert "9999" in checks(migrated, code=1)["migrations"]["detail"]


def test_a_redis_that_is_away_is_found(migrated: CommandLine, setting: Setting) -> None:
    setting("REDIS_URL", "redis://127.0.0.1:1")
    assert checks(migrated, code=1)["redis"]["level"] == "failed"


def test_a_redis_url_that_is_none_is_found(migrated: CommandLine, setting: Setting) -> None:
    setting("REDIS_URL", "nonsense")
    assert "MODELWARD_REDIS_URL" in migrated.refuses("doctor")


def test_a_store_that_cannot_be_written_to_is_found(migrated: CommandLine, setting: Setting) -> None:
    (migrated.data_dir / "file").touch()
    setting("ARTIFACT_URL", str(migrated.data_dir / "file" / "artifacts"))
    found = checks(migrated, code=1)["artifacts"]
    assert found["level"] == "failed"
    assert "MODELWARD_ARTIFACT_URL" in found["advice"]


def test_production_is_in_order(cli: CommandLine, setting: Setting, postgresql_url: str, redis_url: str) -> None:
    setting("DATABASE_URL", postgresql_url)
    setting("REDIS_URL", redis_url)
    cli.prints("migrate")
    cli.prints("tenant", "create", "acme")
    found = checks(cli, code=0)
    assert "PostgreSQL" in found["database"]["detail"]
    assert "apart" in found["clock"]["detail"]
    assert "signs tokens" in found["signing keys"]["detail"]


def test_a_database_that_is_away_is_found(cli: CommandLine, setting: Setting, redis_url: str) -> None:
    setting("DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    setting("REDIS_URL", redis_url)
    found = checks(cli, code=1)
    assert found["database"]["level"] == found["clock"]["level"] == "failed"
    assert found["redis"]["level"] == "ok"


@pytest.mark.parametrize("option", ["--json", "-q", None])
def test_a_failure_is_named_on_standard_error(cli: CommandLine, option: str | None) -> None:
    assert "checks failed" in cli.refuses("doctor", *([option] if option else []))

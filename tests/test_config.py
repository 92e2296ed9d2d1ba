"""Settings show no password, and what is derived from them holds."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from service.config import Settings
from service.database import make_engine

SECRET = "a-secret-of-the-tests-0123456789-abcdefghijklmnop"


def test_no_password_is_shown() -> None:
    settings = Settings(
        secret_key=SECRET,
        database_url="postgresql+psycopg://modelward:pass-1@db/modelward",
        migration_url="postgresql+psycopg://owner:pass-2@db/modelward",
        redis_url="redis://:pass-3@redis",
        artifact_url="s3://pass-4@store/bucket",
        metrics_token="pass-6-of-a-scraper",
    )
    for shown in (repr(settings), str(settings)):
        assert "pass-" not in shown
        assert SECRET not in shown


def test_an_error_of_a_statement_shows_no_value(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError) as caught:
        connection.execute(sa.text("SELECT x FROM nothing WHERE y = :value"), {"value": "hidden-value"})
    engine.dispose()
    assert "hidden-value" not in str(caught.value)


def test_an_admission_takes_an_hour_at_most() -> None:
    with pytest.raises(ValidationError):
        Settings(admission_seconds=3601)

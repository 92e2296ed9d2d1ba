"""The checks of ``modelward doctor``: each looks at one thing, changes nothing, and says what to do."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

import sqlalchemy as sa
from redis import Redis, RedisError

from service.artifacts.store import open_store
from service.cli.installation import database_file, operate, require_schema, require_secret_opens
from service.cli.output import Failure
from service.cli.pages import PAGE_SIZE
from service.config import Settings, unknown_variables, unsafe
from service.database import NEWEST, PLATFORM, Database, now
from service.errors import ModelwardError

CLOCK_WARNING: Final = timedelta(seconds=2)
CLOCK_FAILURE: Final = timedelta(seconds=30)
DISK_WARNING_BYTES: Final = 2 << 30
DISK_FAILURE_BYTES: Final = 200 << 20
REDIS_SECONDS: Final = 2


class Level(StrEnum):
    """How it stands with what was looked at."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it."""

    check: str
    level: Level
    detail: str
    advice: str | None = None


def check_settings(settings: Settings) -> list[Finding]:
    """Say which variables are no settings, and what ``modelward serve`` would refuse."""
    findings = [
        Finding(
            "settings",
            Level.WARNING,
            f"{name} is not a setting and does nothing.",
            f"Did you mean {meant}?" if meant else "Remove it; the README lists the settings.",
        )
        for name, meant in unknown_variables().items()
    ]
    # On SQLite nobody has said that this is production; there the same is advice for the day it is.
    level = Level.WARNING if settings.embedded and not settings.allow_sqlite else Level.FAILED
    findings += [
        Finding("settings", level, problem, "`modelward serve` does not start before this is changed.")
        for problem in unsafe(settings)
    ]
    return findings or [Finding("settings", Level.OK, "Safe for production.")]


def check_database(settings: Settings) -> list[Finding]:
    """Say whether the database answers, and how soon."""
    file = database_file(settings)
    if file is not None and not file.exists():
        return [Finding("database", Level.FAILED, f"There is no database at {file}.", "Run `modelward migrate`.")]
    with _database(settings) as database:
        started = time.perf_counter()
        database.ping()
        milliseconds = (time.perf_counter() - started) * 1000
    kind = "SQLite" if settings.embedded else "PostgreSQL"
    return [Finding("database", Level.OK, f"{kind} answers in {milliseconds:.0f} ms.")]


def check_migrations(settings: Settings) -> list[Finding]:
    """Say whether the schema is the one of this release."""
    require_schema(settings)
    return [Finding("migrations", Level.OK, f"At the newest revision, {NEWEST}.")]


def check_clock(settings: Settings) -> list[Finding]:
    """Say how far this machine's clock is from the database's: tokens and revocations depend on both."""
    if settings.embedded:
        return [Finding("clock", Level.OK, "The database uses this machine's clock.")]
    with _database(settings) as database, database.read(PLATFORM) as session:
        apart = abs(session.execute(sa.text("SELECT clock_timestamp()")).scalar_one() - now())
    level = Level.OK if apart < CLOCK_WARNING else Level.WARNING if apart < CLOCK_FAILURE else Level.FAILED
    advice = None if level == Level.OK else "Keep both machines on time with NTP: tokens end too early or too late."
    return [Finding("clock", level, f"{apart.total_seconds():.1f} s apart from the database's.", advice)]


def check_redis(settings: Settings) -> list[Finding]:
    """Say whether Redis answers, or what its absence means."""
    if not settings.redis_url:
        detail = "Not set: limits, usage and cached answers are kept in the memory of one process."
        return [Finding("redis", Level.OK, detail)]
    try:
        with Redis.from_url(
            settings.redis_url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
        ) as r:
            started = time.perf_counter()
            r.ping()
            milliseconds = (time.perf_counter() - started) * 1000
    except (RedisError, ValueError) as error:
        advice = "Start it or correct MODELWARD_REDIS_URL; until then every worker counts limits for itself."
        return [Finding("redis", Level.FAILED, f"Does not answer: {error}", advice)]
    return [Finding("redis", Level.OK, f"Answers in {milliseconds:.0f} ms.")]


def check_artifacts(settings: Settings) -> list[Finding]:
    """Say whether the artifact store can be written to."""
    open_store(settings.resolved_artifact_url).check()
    return [Finding("artifacts", Level.OK, f"{settings.resolved_artifact_url} can be written to.")]


def check_signing_keys(settings: Settings) -> list[Finding]:
    """Say whether the secret key opens the key that signs tokens."""
    with operate(settings) as services:
        require_secret_opens(services)
        signing = [key.kid for key in services.signing_keys.list(PAGE_SIZE).data if key.status == "signing"]
    detail = (
        f"{signing[0]} signs tokens, and the secret key opens it."
        if signing
        else "None yet; the first is made when needed."
    )
    return [Finding("signing keys", Level.OK, detail)]


def check_disk(settings: Settings) -> list[Finding]:
    """Say how much room there is where the data directory is."""
    there = next(
        path for path in (settings.data_dir.absolute(), *settings.data_dir.absolute().parents) if path.exists()
    )
    free = shutil.disk_usage(there).free
    level = Level.OK if free > DISK_WARNING_BYTES else Level.WARNING if free > DISK_FAILURE_BYTES else Level.FAILED
    advice = None if level == Level.OK else "Make room: `modelward sweep` removes bytes that no version needs."
    return [Finding("disk", level, f"{free / (1 << 30):.1f} GiB free at {there}.", advice)]


def guarded(name: str, advice: str, check: Callable[[Settings], list[Finding]]) -> Callable[[Settings], list[Finding]]:
    """Return the check, with a refusal by the domain as a finding of its own."""

    def run(settings: Settings) -> list[Finding]:
        try:
            return check(settings)
        except (ModelwardError, Failure, OSError) as error:
            return [Finding(name, Level.FAILED, str(error), advice)]

    return run


CHECKS: Final = (
    guarded("database", "Start it, or correct MODELWARD_DATABASE_URL.", check_database),
    guarded("migrations", "Run `modelward migrate`.", check_migrations),
    guarded("clock", "See to the database first.", check_clock),
    check_redis,
    guarded("artifacts", "Correct MODELWARD_ARTIFACT_URL, or who may write there.", check_artifacts),
    guarded("signing keys", "Set the MODELWARD_SECRET_KEY that every process here shares.", check_signing_keys),
    check_disk,
)


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.resolved_database_url, pool_size=1)
    try:
        yield database
    finally:
        database.dispose()

"""The installation that a command acts on: its settings, its schema and its services.

Beside ``modelward up`` the other commands work on the same data directory without
further settings: where ``MODELWARD_SECRET_KEY`` is not set, the key that ``up``
generated there is taken. ``modelward serve`` takes nothing that was not set.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from pydantic import SecretStr, ValidationError

from service.cli.data_directory import DataDirectory
from service.cli.output import Failure
from service.config import Settings, environment_name, unsafe_secret
from service.database import NEWEST, revision_of
from service.errors import Unavailable

if TYPE_CHECKING:
    from service.bootstrap import Services


def read_settings(**options: Any) -> Settings:
    """Read the settings from the environment.

    :param options: fields that the command line sets; ``None`` leaves a field to the environment.
    :raises Failure: a variable has a value that it cannot have.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [f"{environment_name(str(item['loc'][0]))}: {item['msg']}." for item in error.errors()]
        raise Failure("\n".join(lines)) from error


def with_local_secret(settings: Settings) -> Settings:
    """Return the settings with the secret key of the data directory where none is set."""
    if settings.secret_key.get_secret_value():
        return settings
    secret = DataDirectory(settings.data_dir).secret()
    return settings.model_copy(update={"secret_key": SecretStr(secret)}) if secret else settings


def require_secret(settings: Settings) -> None:
    """Refuse settings without a secret key that can be used.

    :raises Failure: there is none, or it is weak.
    """
    problem = unsafe_secret(settings)
    if problem:
        raise Failure(f"{problem}\nBeside `modelward up`, MODELWARD_DATA_DIR must name its data directory instead.")


def require_schema(settings: Settings) -> None:
    """Refuse a database whose schema is not the one that this release works with.

    :raises Failure: there is no database yet, or it is not migrated.
    :raises Conflict: a newer release has migrated it.
    :raises Unavailable: it does not answer.
    """
    file = database_file(settings)
    if file is not None and not file.exists():
        raise Failure(f"There is no database at {file}; `modelward migrate` makes one, and so does `modelward up`.")
    revision = known_revision(settings.resolved_database_url)
    if revision != NEWEST:
        raise Failure(f"The database is at revision {revision}, not {NEWEST}; run `modelward migrate` first.")


def known_revision(url: str) -> str | None:
    """Return the revision of the database, ``None`` where it has no tables yet.

    :raises Conflict: a newer release has migrated it.
    :raises Unavailable: it does not answer.
    """
    revision = revision_of(url)
    if revision not in {None, NEWEST}:
        from service import schema  # noqa: PLC0415 - it brings alembic, which no ordinary start need wait for

        schema.refuse_newer(url)
    return revision


def database_file(settings: Settings) -> Path | None:
    """Return the file of an embedded database, ``None`` where it is a server or in memory."""
    path = sa.make_url(settings.resolved_database_url).database if settings.embedded else None
    return Path(path) if path and path != ":memory:" else None


@contextmanager
def operate(settings: Settings | None = None) -> Iterator["Services"]:
    """Build the services that a command acts through, and close them after it.

    :param settings: those to build from; the environment's where none are given.
    :raises Failure: the settings or the state of the schema do not allow it.
    """
    from service.bootstrap import build  # noqa: PLC0415 - it brings scikit-learn, which no ``--help`` should wait for

    settings = settings or with_local_secret(read_settings())
    require_secret(settings)
    require_schema(settings)
    services = build(settings)
    try:
        yield services
    finally:
        services.close()


def require_secret_opens(services: "Services") -> None:
    """Refuse a secret key that is not the one that the database was made with: no API key would hold.

    :raises Failure: it does not open the key that signs tokens.
    """
    if not services.signing_keys.list(limit=1).data:
        return
    try:
        services.signing_keys.signing()
    except Unavailable as error:
        raise Failure("MODELWARD_SECRET_KEY is not the one that this database was made with; set that one.") from error

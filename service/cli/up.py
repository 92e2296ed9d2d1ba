"""``modelward up``: everything on one machine, with nothing to set up first."""

import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from pydantic import SecretStr

from service.cli.data_directory import QUICKSTART_FILE, SECRET_FILE, DataDirectory, Quickstart
from service.cli.installation import database_file, known_revision, operate, read_settings, require_secret_opens
from service.cli.launch import base_url, free_port, run_server
from service.cli.output import Failure
from service.config import Settings, unsafe
from service.database import NEWEST, revision_of

REFUSED_HERE_TOO: Final = ("MODELWARD_SECRET_KEY", "MODELWARD_REDIS_URL", "MODELWARD_CORS_ORIGINS")


@click.command()
@click.option("--host", help="The address to listen on, instead of MODELWARD_HOST.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 picks a free one.  [default: 8000]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where it all lies.  [default: modelward-data]")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes; more than one needs Redis.  [default: 1]")
def up(host: str | None, port: int | None, data_dir: Path | None, workers: int | None) -> None:
    """Run everything on this machine, in the foreground.

    The first start makes a database, an operator's key, the tenant `demo` with a key,
    and its model `iris`, trained on the spot. It writes the keys to quickstart.json in
    the data directory and prints a first request to paste. Later starts find all of
    this again. Ctrl-C stops it.

    \b
    modelward up
    modelward up --port 9000 --data-dir ~/models
    MODELWARD_REDIS_URL=redis://127.0.0.1:6379 modelward up --workers 2
    """
    settings = read_settings(host=host, port=port, data_dir=data_dir, workers=workers)
    directory = DataDirectory(settings.data_dir)
    _refuse_unsafe(settings)
    directory.prepare()
    with directory.locked():
        settings = settings.model_copy(update={"port": free_port(settings.host, settings.port)})
        settings = _with_secret(settings, directory)
        with _ended_by_ctrl_c():
            quickstart = _prepare(settings, directory)
        run_server(settings, on_ready=lambda _url: _greet(quickstart, directory))


def _refuse_unsafe(settings: Settings) -> None:
    # A missing secret key is made below, and SQLite is what this command is for.
    given = bool(settings.secret_key.get_secret_value())
    refused = REFUSED_HERE_TOO if given else REFUSED_HERE_TOO[1:]
    problems = [problem for problem in unsafe(settings) if problem.startswith(refused)]
    if problems:
        raise Failure("\n".join(problems))


def _with_secret(settings: Settings, directory: DataDirectory) -> Settings:
    """Return the settings with the secret key, which is made where this is the first start.

    :raises Failure: there is a database already, and its key is gone.
    """
    file = database_file(settings)
    populated = (file is None or file.exists()) and _refuse_newer(settings)
    if settings.secret_key.get_secret_value():
        return settings
    secret = directory.secret()
    if secret is None and populated:
        raise Failure(
            f"The database is there, but {directory.path / SECRET_FILE} is gone, without which its keys are worthless. "
            "Restore the file, set MODELWARD_SECRET_KEY, or begin anew with another --data-dir."
        )
    return settings.model_copy(update={"secret_key": SecretStr(secret or directory.generate_secret())})


def _refuse_newer(settings: Settings) -> bool:
    """Refuse a database of a newer release; return whether there is anything in it."""
    return known_revision(settings.resolved_database_url) is not None


def _prepare(settings: Settings, directory: DataDirectory) -> Quickstart:
    # It brings scikit-learn, which a refusal above need not wait for.
    from service.cli.first_start import finish_first_start  # noqa: PLC0415

    url = settings.migration_url or settings.resolved_database_url
    if revision_of(url) != NEWEST:
        from service import schema  # noqa: PLC0415 - it brings alembic, for which only a first start should wait

        _say("Migrating the database ...")
        schema.upgrade(url)
    with operate(settings) as services:
        require_secret_opens(services)
        services.signing_keys.ensure()
        return finish_first_start(services, directory, base_url(settings.host, settings.port), _say)


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Have Ctrl-C end the process at once, which the next start makes good.

    As an exception it is lost where it meets a callback of the garbage collector.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _greet(quickstart: Quickstart, directory: DataDirectory) -> None:
    keys = directory.path / QUICKSTART_FILE
    click.echo(
        f"\nModelward is ready at {quickstart.url}; the keys are in {keys}. Ctrl-C stops it. A first prediction:\n"
    )
    click.echo(first_request(quickstart) + "\n")


def first_request(quickstart: Quickstart) -> str:
    """Return a command line that asks the model of the first start for a prediction."""
    return shlex.join(
        [
            "curl",
            "-s",
            f"{quickstart.url}/v1/models/iris/predict",
            "-H",
            f"X-API-Key: {quickstart.api_key}",
            "-H",
            "Content-Type: application/json",
            "-d",
            json.dumps({"inputs": [[5.1, 3.5, 1.4, 0.2]]}),
        ]
    )


def _say(text: str) -> None:
    click.echo(text, err=True)

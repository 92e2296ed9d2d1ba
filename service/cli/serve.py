"""``modelward serve``: run in production. It creates nothing, and starts only on safe settings."""

import click

from service.cli.data_directory import DataDirectory
from service.cli.installation import operate, read_settings, require_secret_opens
from service.cli.launch import run_server
from service.cli.output import Failure
from service.config import Settings, unsafe


@click.command()
@click.option("--host", help="The address to listen on, instead of MODELWARD_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on, instead of MODELWARD_PORT.")
@click.option("--workers", type=click.IntRange(1, 256), help="How many processes, instead of MODELWARD_WORKERS.")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Serve in production, on settings that are safe, over a database that is migrated.

    It creates nothing, and it refuses to start on any unsafe setting, naming all of
    them at once. SIGTERM and Ctrl-C let the requests under way end first.

    \b
    export MODELWARD_DATABASE_URL=postgresql+psycopg://modelward:…@db/modelward
    export MODELWARD_REDIS_URL=redis://redis:6379/0
    export MODELWARD_SECRET_KEY=…          # 32 random bytes or more, kept for good
    modelward migrate
    modelward serve --host 0.0.0.0 --workers 4
    """
    settings = read_settings(host=host, port=port, workers=workers)
    _refuse_unsafe(settings)
    # Servers that share PostgreSQL may share the directory too; that of `modelward up` is its own.
    with DataDirectory(settings.data_dir).locked(shared=not settings.embedded):
        with operate(settings) as services:
            require_secret_opens(services)
        run_server(settings)


def _refuse_unsafe(settings: Settings) -> None:
    problems = unsafe(settings)
    if problems:
        raise Failure("\n".join(["modelward serve does not start on these settings:", *problems]))

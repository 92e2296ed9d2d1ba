"""The command line: ``python -m tests.benchmarks [OPTIONS]``, ``… scale [OPTIONS]`` and ``… overload [OPTIONS]``."""

import shlex
import sys
import tempfile
from pathlib import Path

import click
import orjson

from tests.benchmarks.asking import MODES
from tests.benchmarks.comparison import compare
from tests.benchmarks.estimators import MODELS
from tests.benchmarks.load import generator
from tests.benchmarks.overload import overload
from tests.benchmarks.peers import PEERS
from tests.benchmarks.report import Report, write_between_marks
from tests.benchmarks.running import Wanted, started
from tests.benchmarks.scale import scale
from tests.servers.modelward import ROOT

PEERS_DIRECTORY = Path(tempfile.gettempdir()) / "modelward-benchmarks"
README = ROOT / "README.md"


class Names(click.ParamType[tuple[str, ...]]):
    """Some of the known names, separated by commas."""

    def __init__(self, known: tuple[str, ...]) -> None:
        self.name = ",".join(known)
        self._known = known

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(filter(None, str(value).split(",")))
        if unknown := set(names) - set(self._known):
            self.fail(f"{', '.join(sorted(unknown))}; known are {', '.join(self._known)}", param, ctx)
        return names


@click.group(invoke_without_command=True)
@click.option("--rounds", default=5, show_default=True, help="Measurements of each case.")
@click.option("--seconds", default=1.0, show_default=True, help="Of each measurement; wrk takes whole ones.")
@click.option("--models", type=Names(tuple(MODELS)), default=tuple(MODELS), help="Which models.  [default: all]")
@click.option("--modes", type=Names(MODES), default=MODES, help="How Modelward is asked.  [default: all]")
@click.option("--redis/--no-redis", default=True, help="PostgreSQL and Redis with two workers too.  [default: yes]")
@click.option("--peers", type=Names(tuple(PEERS)), default=(), help="Other servers, installed on their first use.")
@click.option("--peers-directory", type=click.Path(path_type=Path), default=PEERS_DIRECTORY, show_default=True)
@click.option("--generator", "load", type=click.Choice(["auto", "wrk", "own"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every round.")
@click.option("--output", type=click.Path(path_type=Path), help="Write what is printed to a file too.")
@click.option("--readme", is_flag=True, help="Write the tables into the project's README too.")
@click.pass_context
def main(
    context: click.Context,
    rounds: int,
    seconds: float,
    models: tuple[str, ...],
    modes: tuple[str, ...],
    redis: bool,
    peers: tuple[str, ...],
    peers_directory: Path,
    load: str,
    as_json: bool,
    output: Path | None,
    readme: bool,
) -> None:
    """Compare Modelward with the framework that it is built on, and with others.

    Everything runs at once on this machine, and takes turns in being measured.

    \b
    python -m tests.benchmarks
    python -m tests.benchmarks --models logistic,forest --no-redis --rounds 5
    python -m tests.benchmarks --peers mlserver,bentoml,mlflow --readme
    """
    if context.invoked_subcommand is not None:
        return
    wanted = Wanted(models, modes, redis, peers, peers_directory)
    chosen = generator(load)
    with (
        tempfile.TemporaryDirectory(prefix="modelward-benchmark-") as directory,
        started(wanted, Path(directory), say) as field,
    ):
        results = compare(field.cases, field.references, chosen, rounds=rounds, seconds=seconds, say=say)
    arguments = shlex.join(argument for argument in sys.argv[1:] if argument != "--readme")
    command = f"python -m tests.benchmarks {arguments}".rstrip()
    report = Report(command, chosen.name, rounds, seconds, results, field.footprints, field.missing)
    text = orjson.dumps(report.document(), option=orjson.OPT_INDENT_2).decode() if as_json else report.markdown()
    click.echo(text)
    if output is not None:
        output.write_text(text)
    if readme:
        write_between_marks(README, report.brief())


def say(text: str) -> None:
    """Say what is going on, apart from the results."""
    click.echo(text, err=True)


main.add_command(scale)
main.add_command(overload)

if __name__ == "__main__":
    main()

"""What a command prints: JSON for scripts, tables on a terminal, tab-separated lines elsewhere.

Results go to standard output and remarks to standard error, so that a pipe receives
the result alone.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.errors import ModelwardError

P = ParamSpec("P")
R = TypeVar("R")


class Failure(click.ClickException):
    """A refusal: one line on standard error for it and one for each finding, and exit code 1."""

    exit_code = 1

    @classmethod
    def of(cls, error: ModelwardError) -> Self:
        """Return the failure that says what the domain said."""
        lines = [error.detail, *(f"  {finding.at}: {finding.message}" for finding in error.findings)]
        return cls("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command's results and remarks go.

    :param json: print results as JSON, and no remarks.
    :param quiet: print the least that can be used, and no remarks.
    """

    json: bool = False
    quiet: bool = False

    def note(self, text: str) -> None:
        """Print a remark for a human."""
        if not (self.json or self.quiet):
            click.echo(text, err=True)

    def record(self, record: object, *, brief: str | None = None) -> None:
        """Print one thing with its fields.

        :param brief: what stands for it where the caller wants little.
        """
        fields = plain(record)
        if self.json:
            _print_json(fields)
        elif self.quiet:
            _print_lines([] if brief is None else [brief])
        else:
            _print_table([{"field": name, "value": value} for name, value in fields.items()], header=False)

    def rows(self, rows: Sequence[object], *, columns: Sequence[str]) -> None:
        """Print a list.

        :param columns: the fields that a human wants; the first alone where the caller wants little.
        """
        records = [plain(row) for row in rows]
        if self.json:
            _print_json({"data": records})
        elif self.quiet:
            _print_lines([str(record[columns[0]]) for record in records])
        elif records:
            _print_table([{name: record[name] for name in columns} for record in records], header=True)
        else:
            self.note("There are none.")


def plain(value: object) -> dict[str, Any]:
    """Return a view's fields as JSON would have them: sets as sorted lists, moments as text."""
    fields = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    rendered: dict[str, Any] = orjson.loads(orjson.dumps(fields, default=_rendered, option=orjson.OPT_UTC_Z))
    return rendered


def with_output(command: Callable[Concatenate[Output, P], R]) -> Callable[P, R]:
    """Give a command the options ``--json`` and ``--quiet``, and their ``Output`` as its first argument."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @click.option("-q", "--quiet", is_flag=True, help="Print only what a script would use, and no remarks.")
    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        output = Output(json=bool(kwargs.pop("as_json")), quiet=bool(kwargs.pop("quiet")))
        return command(output, *args, **kwargs)

    return run


def _rendered(value: object) -> object:
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def _print_json(value: object) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(line)


def _print_table(records: Sequence[Mapping[str, object]], *, header: bool) -> None:
    columns = list(records[0])
    cells = [[_cell(record[column]) for column in columns] for record in records]
    if not sys.stdout.isatty():
        _print_lines(["\t".join(row) for row in ([columns] if header else []) + cells])
        return
    table = Table(show_header=header, box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table, soft_wrap=True)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ",".join(_cell(item) for item in value)
    return value if isinstance(value, str) else orjson.dumps(value).decode()

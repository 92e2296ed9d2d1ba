"""``modelward bench``: how fast a running server answers, measured from outside."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from service.cli.bench import requests
from service.cli.bench.load import Plan, Request
from service.cli.bench.measuring import Outcome, measure
from service.cli.bench.plot import draw, require_plot
from service.cli.bench.report import COLUMNS, Row, describe, remarks, require_answers
from service.cli.bench.server import LIMITED, OK, UNFIT, Server, Target, limited, refused
from service.cli.data_directory import QUICKSTART_FILE, DataDirectory
from service.cli.installation import read_settings
from service.cli.output import Failure, Output, with_output

ENDS: Final = (401, 403, 404, LIMITED)
"""Statuses that every further request would get as well."""

LOOKS: Final = 5
INTERRUPTED: Final = 130


@click.command()
@click.option("--url", help="Where the server is.  [default: that of quickstart.json in the data directory]")
@click.option("--key", help="An API key; - reads it from standard input.  [default: that of quickstart.json]")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Where quickstart.json is.  [default: modelward-data]"
)
@click.option("--model", "models", multiple=True, help="A model; several are also asked in turn.  [default: the first]")
@click.option("--row", help="A row that the models take, as JSON; it is varied.  [default: made up from the signature]")
@click.option("--connections", type=click.IntRange(1, 10_000), default=16, show_default=True, help="Open at once.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=5, show_default=True, help="Of each measurement.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=3, show_default=True, help="Measurements of each row.")
@click.option("--cached/--no-cached", default=None, help="Kept answers alone, or new ones alone.  [default: both]")
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="That make the load.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw it too, as a .png or .svg file.")
@with_output
def bench(
    output: Output,
    url: str | None,
    key: str | None,
    data_dir: Path | None,
    models: tuple[str, ...],
    row: str | None,
    cached: bool | None,
    rounds: int,
    plot: Path | None,
    connections: int,
    seconds: float,
    processes: int,
) -> None:
    """Measure how fast a running server answers, cached and not.

    Each connection sends a request of one row as soon as the one before it is answered.
    What is not to be cached differs from request to request, and says no-store; what is
    cached are a few requests again and again. The rows of the table take turns, round by
    round; requests/s is the median of the rounds. Only answers with the status 200 count,
    and whatever else came is listed.

    It takes all that the server can give, so others who use it will notice. A plan with
    a limit ends it early; `modelward tenant change demo --plan unlimited` lifts the
    limit. Ctrl-C ends it with what was measured so far.

    \b
    modelward bench                                      # beside `modelward up`
    modelward bench --model iris --model wine --connections 64 --plot bench.svg
    modelward bench --json | jq '.rows[] | {models, cached, requests_per_second}'
    modelward bench --url https://models.example.com --key - --row '[5.1, 3.5, 1.4, 0.2]' < key.txt
    """
    if plot is not None:
        require_plot(plot)
    example = None if row is None else _row(row)
    server = _server(url, key, data_dir)
    caller = server.get("/v1/whoami")
    targets = [server.target(model, blindly=example is not None) for model in models or [server.first_model()]]
    for target in targets:
        _require_answer(server, target, example)
    if cached is not False and not _keeps_answers(server, targets[0], example):
        output.note("The server keeps no answers here, so what is called cached is not.")
    plans = [
        (kind, Plan(server.url, sent, connections, seconds, processes, ends=ENDS))
        for kind, sent in _loads(server, targets, example, cached)
    ]
    shown, unlimited = not (output.json or output.quiet), caller["limits"]["key_requests_per_minute"] is None
    outcome = measure(plans, rounds, shown=shown, warm_up=unlimited)
    measured = [kind for kind, _ in plans if kind.rounds]
    _report(output, measured, url=server.url, connections=connections, processes=processes)
    if plot is not None and measured:
        draw(measured, plot, f"{server.url}, {connections} connections")
    _end(caller, outcome, measured)


def _row(text: str) -> Any:
    try:
        row = json.loads(text)
    except ValueError:
        row = None
    if not isinstance(row, list | dict) or not row:
        raise click.BadParameter("A row is a JSON list of cells, or an object by name.", param_hint="--row")
    return row


def _server(url: str | None, key: str | None, data_dir: Path | None) -> Server:
    """Return the server that is meant, with what is not given taken from the data directory.

    :raises Failure: there is nothing to take it from.
    """
    directory = DataDirectory(read_settings(data_dir=data_dir).data_dir)
    quickstart = None if url and key else directory.quickstart()
    if quickstart is None and not (url and key):
        raise Failure(
            f"There is no {directory.path / QUICKSTART_FILE} here; start `modelward up`, or give --url and --key."
        )
    if key == "-":
        key = sys.stdin.readline().strip()
    server = Server((url or quickstart.url).rstrip("/"), key or quickstart.api_key)  # type: ignore[union-attr]
    parts = urlsplit(server.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path:
        raise click.BadParameter("A server is named as http://host:port or https://host:port.", param_hint="--url")
    return server


def _require_answer(server: Server, target: Target, example: Any) -> None:
    """See that a single request is answered.

    :raises Failure: it is refused.
    """
    reply = server.call("POST", f"/v1/models/{target.model}/predict", requests.single(target, example))
    if reply.status != OK:
        unfit = reply.status == UNFIT and example is None
        advice = " Give a row that the model takes with --row." if unfit else ""
        raise Failure(f"{refused(reply).message}{advice}")


def _keeps_answers(server: Server, target: Target, example: Any) -> bool:
    """Whether a request that comes again is answered from the cache, within a few attempts.

    Another worker may get it, and hears of the answer a moment later.
    """
    body = requests.single(target, example)
    replies = (server.call("POST", f"/v1/models/{target.model}/predict", body) for _ in range(LOOKS))
    return any("hit" in reply.headers.get("cache-status", "") for reply in replies)


def _loads(
    server: Server, targets: Sequence[Target], example: Any, cached: bool | None
) -> Iterator[tuple[Row, list[Request]]]:
    """Yield each row of the table with what is sent for it: the first model alone, then all of them in turn."""
    for some in (targets[:1], targets) if len(targets) > 1 else (targets,):
        names = [target.model for target in some]
        for keeps in (False, True) if cached is None else (cached,):
            make = requests.repeated if keeps else requests.fresh
            turns = zip(*(make(server, target, example) for target in some), strict=True)
            yield Row(names, keeps), [request for turn in turns for request in turn]


def _report(output: Output, rows: Sequence[Row], **conditions: Any) -> None:
    if output.json:
        output.record({**conditions, "rows": [row.document() for row in rows]})
    elif output.quiet:
        output.rows([{"rate": row.document()["requests_per_second"]} for row in rows], columns=["rate"])
    else:
        output.rows([row.cells() for row in rows], columns=COLUMNS)
    for remark in remarks(rows):
        output.note(remark)


def _end(caller: dict[str, Any], outcome: Outcome, rows: Sequence[Row]) -> None:
    """End the command as the measurement ended.

    :raises Failure: the server refused to go on, or gave no answer at all.
    """
    if outcome.interrupted:
        click.get_current_context().exit(INTERRUPTED)
    if outcome.refusal is not None:
        status, code = outcome.refusal
        said = f"{caller['tenant']} is on the plan {caller['plan']}."
        raise limited(code, said) if status == LIMITED else Failure(f"It ended early: {describe(status, code)}.")
    require_answers(rows)

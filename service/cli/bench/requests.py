"""Requests that differ from each other, made up from what a model takes."""

import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from service.cli.bench.generator import COUNTER_DIGITS
from service.cli.bench.load import Request
from service.cli.bench.server import Server, Target
from service.cli.output import Failure

ROWS: Final = 256
REPEATED_ROWS: Final = 16

_COUNTER: Final = "\0"
"""Stands where the counter goes; JSON would never hold it."""

_MADE_UP: Final[dict[str, Callable[[random.Random], str]]] = {
    "float64": lambda draw: f"{draw.uniform(0.1, 9.9):.3f}",
    "int64": lambda draw: str(draw.randrange(10)),
    "bool": lambda draw: draw.choice(("true", "false")),
    "string": lambda draw: json.dumps(draw.choice(("alpha", "beta", "gamma"))),
}
_TEXT: Final = "text"


def fresh(server: Server, target: Target, row: Any = None) -> list[Request]:
    """Return requests of one row each, whose answers are neither looked up nor kept.

    A counter makes each request another one wherever a cell has room for it, so that no
    proxy's cache between here and there knows it either.

    :param row: a row that the model takes, to be varied; ``None`` makes rows up.
    """
    bodies = [_body(target, row, random.Random(seed)) for seed in range(ROWS)]  # noqa: S311 - no secret
    return [_request(server, target, body, {"Cache-Control": "no-store"}) for body in bodies]


def repeated(server: Server, target: Target, row: Any = None) -> list[Request]:
    """Return a few requests without a counter, whose answers are kept after the first time."""
    counted = [_body(target, row, random.Random(seed)) for seed in range(REPEATED_ROWS)]  # noqa: S311 - no secret
    bodies = [body.replace(_COUNTER, "0" * COUNTER_DIGITS) for body in counted]
    return [_request(server, target, body, {}) for body in bodies]


def single(target: Target, row: Any = None) -> bytes:
    """Return the body of one such request."""
    body = _body(target, row, random.Random(0))  # noqa: S311 - no secret
    return body.replace(_COUNTER, "0" * COUNTER_DIGITS).encode()


def _request(server: Server, target: Target, body: str, headers: Mapping[str, str]) -> Request:
    parts = [part.encode() for part in body.split(_COUNTER)]
    length = sum(map(len, parts)) + COUNTER_DIGITS * (len(parts) - 1)
    named = {"Host": server.host, **server.headers, **headers, "Content-Length": str(length)}
    head = [f"POST /v1/models/{target.model}/predict HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return ("\r\n".join([*head, "", ""]).encode("latin-1") + parts[0], *parts[1:])


def _body(target: Target, row: Any, draw: random.Random) -> str:
    """Return the body as text, with the place of the counter marked where there is one."""
    cells = _made_up(target, draw) if row is None else _varied(target, row, draw)
    if isinstance(row, dict):
        named = ", ".join(f"{json.dumps(name)}: {cell}" for name, cell in zip(row, cells, strict=True))
        return f'{{"inputs": [{{{named}}}]}}'
    return f'{{"inputs": [[{", ".join(cells)}]]}}'


def _made_up(target: Target, draw: random.Random) -> list[str]:
    assert target.signature is not None  # A target without one comes with a row.
    if target.signature.get("layout") == _TEXT:
        words = " ".join(draw.choice(("alpha", "beta", "gamma", "delta")) for _ in range(6))
        return [f'"{words} {_COUNTER}"']
    dtypes = [column["dtype"] for column in target.signature["inputs"]]
    return _counted([_MADE_UP[dtype](draw) for dtype in dtypes], [dtype == "float64" for dtype in dtypes])


def _varied(target: Target, row: Any, draw: random.Random) -> list[str]:
    """Return a given row's cells, of which the numbers with a fraction are moved by up to a hundredth."""
    values = list(row.values() if isinstance(row, dict) else row)
    names = list(row) if isinstance(row, dict) else None
    continuous = [isinstance(value, float) for value in values]
    if target.signature is not None:
        columns = {column["name"]: column["dtype"] for column in target.signature["inputs"]}
        if len(columns) != len(values):
            raise Failure(f"The row has {len(values)} cells, and {target.model} takes {len(columns)}.")
        dtypes = [columns.get(name) for name in names or columns]
        numbers = (type(value) in {int, float} for value in values)
        continuous = [dtype == "float64" and number for dtype, number in zip(dtypes, numbers, strict=True)]
    cells = [
        f"{value * draw.uniform(0.99, 1.01):.3f}" if moves else json.dumps(value)
        for value, moves in zip(values, continuous, strict=True)
    ]
    return _counted(cells, continuous)


def _counted(cells: list[str], continuous: list[bool]) -> list[str]:
    """Put the counter behind the decimals of the first number that has them."""
    if True in continuous:
        cells[continuous.index(True)] += _COUNTER
    return cells

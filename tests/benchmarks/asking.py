"""How each system is asked for the same predictions, and whether they are right."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np

from service.cli.bench.load import Request
from tests.benchmarks.estimators import MODELS, rows
from tests.benchmarks.load import request

VARIETY = 500
REPEATED = 16
CHECKED = 20

FRESH, FIRST, CACHED = "not cached", "first time", "cached"
MODES = (FRESH, FIRST, CACHED)
"""``no-store``; every answer computed and kept, because no request comes twice; every answer a kept one."""

Labels = Callable[[dict[str, Any]], Sequence[Any]]
"""Returns the predicted labels of an answer's JSON document."""


@dataclass(frozen=True)
class Case:
    """One row of the comparison: a system, a model and a mode, and the requests that measure them.

    ``check`` asks for some predictions and returns how many of them were wrong.
    """

    system: str
    model: str
    mode: str
    workers: int
    url: str
    requests: Sequence[Request]
    check: Callable[[], int] = field(compare=False)

    @property
    def name(self) -> str:
        """What people call it."""
        return ", ".join(filter(None, (self.system, self.model and MODELS[self.model].name, self.mode)))


def bodies(form: Callable[[str], str], *, repeated: bool = False) -> list[tuple[str, ...]]:
    """Return bodies of one row each, in two parts around a number; repeated ones are few, and without it.

    :param form: makes a body of the text of a row's cells.
    """
    texts = [form(", ".join(map(str, row)) + "\0") for row in rows(REPEATED if repeated else VARIETY)]
    return [(text.replace("\0", ""),) if repeated else tuple(text.split("\0")) for text in texts]


def inputs(cells: str) -> str:
    """Return the body that Modelward, the Flask applications and MLflow take."""
    return f'{{"inputs": [[{cells}]]}}'


@dataclass(frozen=True)
class Asked:
    """How a model is asked: where, with which headers, for which form of body, and where its labels are."""

    url: str
    path: str
    labels: Labels
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Callable[[str], str] = inputs

    def requests(self, *, repeated: bool = False, headers: Mapping[str, str] | None = None) -> list[Request]:
        """Return requests of one row each."""
        named = {**self.headers, **(headers or {})}
        return [request(self.url, self.path, *body, headers=named) for body in bodies(self.form, repeated=repeated)]

    def wrong(self, expected: Any) -> int:
        """Ask for the labels of some rows, and return how many differ from those of a fitted estimator."""
        X = rows(CHECKED)
        with httpx2.Client(base_url=self.url, timeout=60) as client:
            given = [self._label(client, row) for row in X]
        return int(np.sum(np.asarray(given) != expected.predict(X)))

    def _label(self, client: httpx2.Client, row: np.ndarray) -> Any:
        headers = {"Content-Type": "application/json", **self.headers}
        answer = client.post(self.path, content=self.form(", ".join(map(str, row))), headers=headers)
        if answer.status_code != 200:
            raise RuntimeError(f"{self.path}: {answer.status_code} {answer.text[:500]}")
        return np.ravel(self.labels(answer.json()))[0]


def label_of_list(answer: dict[str, Any]) -> Sequence[Any]:
    """Return the labels of a Flask application's answer."""
    return list(answer["predict"])


def checking(asked: Asked, fitted: Any) -> Callable[[], int]:
    """Return a case's check."""
    return lambda: asked.wrong(fitted)

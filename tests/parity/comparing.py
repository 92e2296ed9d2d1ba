"""Uploads an estimator, asks for a thousand rows, and holds each answer against scikit-learn here."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import sklearn
import skops.io
from sklearn.base import is_classifier

from service.artifacts.features import METHODS
from tests.parity.estimators import Case

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Answered:
    """Status and body of an answer, and what it says computed it."""

    status: int
    body: Any
    runtime: str


class Service(Protocol):
    """A running service and a caller of it."""

    def upload(self, model: str, artifact: bytes, metadata: dict[str, Any]) -> Answered:
        """Upload a version."""
        ...

    def predict(self, model: str, body: dict[str, Any]) -> Answered:
        """Ask for a prediction."""
        ...


@dataclass
class Line:
    """A line of the list.

    :param served: ``alone``, ``in a pipeline`` or, where ``why`` says why, ``not at all``.
    :param runs: what computed the answers to a thousand rows.
    :param difference: the largest between two floats, relative to the expected one where that is above one.
    :param wrong: each answer that is another than scikit-learn's.
    """

    estimator: str
    served: str = "not at all"
    runs: str = ""
    why: str = ""
    outputs: tuple[str, ...] = ()
    difference: float = 0.0
    wrong: tuple[str, ...] = ()


def line(case: Case, service: Service) -> Line:
    """Return the line of one estimator."""
    try:
        artifact = skops.io.dumps(case.estimator)
    except TypeError as error:
        return Line(case.of, why=f"skops cannot write it: {error}")
    model = case.of.lower()
    uploaded = service.upload(model, artifact, case.metadata)
    if uploaded.status == 422:
        return Line(case.of, why="; ".join(each["message"] for each in uploaded.body["errors"]))
    assert uploaded.status == 201, uploaded.body
    found = Line(case.of, "alone" if type(case.estimator).__name__ == case.of else "in a pipeline")
    found.outputs = tuple(uploaded.body["methods"])
    answer = service.predict(model, {"inputs": case.rows, "outputs": list(found.outputs)})
    found.runs = answer.runtime.replace("native", "isolated")
    found.wrong = (*_misdescribed(case, uploaded.body), *_wrong(found, dict(_expected(case)), answer))
    return found


def _misdescribed(case: Case, version: dict[str, Any]) -> Iterator[str]:
    """Yield what the version says of itself and is not so."""
    signature = version["signature"]
    facts = {
        "estimator": (version["estimator"], type(case.estimator).__name__),
        "task": (version["task"] == "classification", is_classifier(case.estimator)),
        "first method": (version["methods"][0], "predict"),
        "outputs": ([output["name"] for output in signature["outputs"]], version["methods"]),
        "number of inputs": (len(signature["inputs"]), len(case.rows[0])),
        "scikit-learn": (version["sklearn_version"], sklearn.__version__),
    }
    for name, (said, true) in facts.items():
        if said != true:
            yield f"its {name} is said to be {said}, and is {true}"


def _expected(case: Case) -> Iterator[tuple[str, Any]]:
    """Yield what scikit-learn answers here, by method."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for method in METHODS:
            if hasattr(case.estimator, method):
                try:
                    yield method, getattr(case.estimator, method)(case.X.copy())
                except (AttributeError, NotImplementedError, TypeError, ValueError):
                    continue


def _wrong(found: Line, expected: dict[str, Any], answer: Answered) -> Iterator[str]:
    if answer.status != 200:
        yield f"{answer.status}: {answer.body}"
        return
    for name, value in expected.items():
        if isinstance(value, np.ndarray) and name not in found.outputs:
            yield f"{name} is not served"
    for name in found.outputs:
        yield from _different(found, name, np.asarray(expected[name]), answer.body["outputs"][name])


def _different(found: Line, name: str, expected: Any, given: list[Any]) -> Iterator[str]:
    if expected.dtype.kind != "f":
        others = sum(mine != theirs for mine, theirs in zip(expected.tolist(), given, strict=True))
        if others:
            yield f"{others} of {len(given)} answers of {name} are others"
        return
    theirs = np.array(given, dtype=float)
    if theirs.shape != expected.shape:
        yield f"{name} has the shape {theirs.shape} instead of {expected.shape}"
        return
    away = np.abs(theirs - expected) / np.maximum(1.0, np.abs(expected))
    found.difference = max(found.difference, float(np.nanmax(away, initial=0.0)))
    if np.nanmax(away, initial=0.0) > TOLERANCE or (np.isnan(theirs) != np.isnan(expected)).any():
        yield f"{name} is off by {np.nanmax(away):.1e}"


def table(lines: list[Line]) -> str:
    """Return the list as text, with its totals."""
    rows = [f"{'estimator':31} {'served':14} {'runs':16} {'difference':>10}  outputs, or why not"]
    for each in sorted(lines, key=lambda found: found.estimator):
        rest = ", ".join(each.outputs) or each.why
        rows.append(f"{each.estimator:31} {each.served:14} {each.runs:16} {each.difference:10.1e}  {rest}"[:160])
        rows += [f"    WRONG: {wrong}" for wrong in each.wrong]
    served = [each for each in lines if each.outputs]
    isolated = sum("isolated" in each.runs for each in served)
    rows.append(
        f"{len(lines)} estimators: {len(served)} served, {len(served) - isolated} of them compiled and {isolated} with "
        f"something isolated; {len(lines) - len(served)} not served; {sum(bool(each.wrong) for each in lines)} wrong; "
        f"largest difference {max((each.difference for each in lines), default=0.0):.1e}"
    )
    return "\n".join(rows)

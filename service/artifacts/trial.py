"""A first prediction: on the uploader's sample, or on rows that were made up."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer

from service.artifacts import declaration, features
from service.artifacts.features import METHODS
from service.artifacts.outputs import rendered
from service.artifacts.signature_rules import FLOAT, STRING, TEXT
from service.artifacts.validation.contents import contents
from service.errors import Finding, Rejected

MADE_UP: Final = ((0.5, 1.0, 2.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
"""Numbers of three rows each, tried in turn: not every estimator takes a zero or a fraction."""

SEED: Final = 0
MANY_COLUMNS: Final = 256


@dataclass(frozen=True, slots=True)
class Trial:
    """What was asked and answered.

    ``inputs`` says ``nullable`` where a gap was understood; ``outputs`` describes the
    methods that answered.
    """

    rows: Any
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    answers: dict[str, Any]

    def repeats_with(self, estimator: BaseEstimator) -> bool:
        """Whether another estimator gives the same answers to the same rows."""
        return all(
            np.array_equal(np.asarray(_ask(estimator, name, self.rows)), answer, equal_nan=answer.dtype.kind == "f")
            for name, answer in self.answers.items()
        )


def run(estimator: BaseEstimator, inputs: list[dict[str, Any]], layout: str, sample: Any) -> Trial:
    """Ask the estimator for each of its methods.

    :param sample: rows as the estimator takes them, or ``None`` to make some up.
    :raises Rejected: it does not predict, or answers what cannot be served.
    """
    given = [sample] if sample is not None else made_up(estimator, inputs, layout)
    rows = _first_understood(estimator, given, sample is not None)
    answers = dict(_answers(estimator, rows))
    described = ((features.describe_output(name, answer, len(rows)), answer) for name, answer in answers.items())
    outputs = [output for output, answer in described if output is not None and _renders(answer)]
    if not outputs or outputs[0]["name"] != "predict":
        raise Rejected(
            "The estimator cannot be served.",
            findings=[Finding("estimator.predict", "does not answer one number, string or boolean for each row")],
        )
    served = {output["name"]: answers[output["name"]] for output in outputs}
    return Trial(rows, with_gaps(estimator, inputs, rows), outputs, served)


def _renders(answer: Any) -> bool:
    try:
        rendered(answer)
    except (TypeError, ValueError):
        return False
    return True


def _first_understood(estimator: BaseEstimator, candidates: list[Any], given: bool) -> Any:
    for rows in candidates:
        try:
            _ask(estimator, "predict", rows)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - an estimator may raise anything at rows it does not like.
            reason = f"{type(error).__name__}: {error}"[:300]
        else:
            return rows
    what = "the given sample" if given else "made-up rows; give a sample in the metadata"
    raise Rejected(
        "The estimator cannot be served.",
        findings=[Finding("estimator.predict", f"fails on {what}: {reason}")],
    )


def _answers(estimator: BaseEstimator, rows: Any) -> Iterator[tuple[str, Any]]:
    """Yield each method's name and answer; a method that only some configurations have may refuse."""
    for name in METHODS:
        if name == "predict" or hasattr(estimator, name):
            try:
                yield name, _ask(estimator, name, rows)
            except (AttributeError, NotImplementedError, TypeError, ValueError):
                continue


def _ask(estimator: Any, method: str, rows: Any) -> Any:
    """Ask with a fixed seed, because some estimators draw their answers, and for a copy, because some write into it."""
    np.random.seed(SEED)
    return getattr(estimator, method)(rows.copy())


def made_up(estimator: BaseEstimator, inputs: list[dict[str, Any]], layout: str) -> list[Any]:
    """Return tables of three rows to try in turn; the rows that a neighbours estimator keeps come first."""
    if layout == TEXT:
        return [np.array(["a made-up text", "another one", ""], dtype=object)]
    kept = getattr(features.entrance(estimator), "_fit_X", None)
    own = [kept[:3]] if isinstance(kept, np.ndarray) and kept.ndim == 2 and kept.shape[1] == len(inputs) else []  # noqa: PLR2004
    words = known_words(estimator, len(inputs))
    tables = []
    for numbers in MADE_UP:
        table = [
            [words[position] if column["dtype"] == STRING else number for position, column in enumerate(inputs)]
            for number in numbers
        ]
        tables.append(declaration.array(table, inputs, layout))
    return own + tables


def known_words(estimator: Any, count: int) -> list[str]:
    """Return, for each column, a string that an encoder was fitted with, or an empty one."""
    first = features.entrance(estimator)
    words = [""] * count
    if isinstance(first, ColumnTransformer):
        places = first._transformer_to_input_indices  # noqa: SLF001 - kept nowhere else.
        for name, inner, _ in first.transformers_:
            if isinstance(inner, BaseEstimator):
                columns = np.atleast_1d(np.arange(count)[places[name]])
                for column, word in zip(columns, known_words(inner, len(columns)), strict=True):
                    words[column] = word or words[column]
        return words
    kept = (held.value for held in contents(estimator) if held.attribute == "categories_")
    fitting = next((value for value in kept if isinstance(value, list) and len(value) == count), [])
    for position, known in enumerate(fitting):
        words[position] = next((category for category in known if isinstance(category, str)), "")
    return words


def with_gaps(estimator: BaseEstimator, inputs: list[dict[str, Any]], rows: Any) -> list[dict[str, Any]]:
    """Return the inputs, each number marked ``nullable`` where a gap in it is understood.

    One question is enough where all are; only columns that go different ways are asked
    for one by one, and not where there are very many.
    """
    numbers = [position for position, column in enumerate(inputs) if column["dtype"] == FLOAT]
    if not numbers or not features.allows_gaps(estimator):
        return inputs
    understood = set(numbers) if _understands(estimator, rows, numbers) else set()
    if not understood and 1 < len(numbers) <= MANY_COLUMNS:
        understood = {position for position in numbers if _understands(estimator, rows, [position])}
    return [column | {"nullable": True} if position in understood else column for position, column in enumerate(inputs)]


def _understands(estimator: BaseEstimator, rows: Any, positions: list[int]) -> bool:
    with_gap = rows.copy()
    with_gap[:, positions] = np.nan
    try:
        _ask(estimator, "predict", with_gap)
    except (TypeError, ValueError):
        return False
    return True

"""Holds every form against scikit-learn, and throws out each that differs once."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np

from service.errors import printable
from service.runtimes.forms import Array, DeclinedError, Form
from service.runtimes.policy import Policy, differing

LEAST_ROWS: Final = 1000
"""A form that could be compared on fewer is out."""

_ALONE: Final = 8
"""So many rows are asked for one by one: a form may be right for many and wrong for one."""

_MOST_AT_ONCE: Final = 256
_MOST_REFUSED: Final = 64
"""So many rows that scikit-learn refuses are found out one by one; the rest of them is left out."""

Ask: TypeAlias = Callable[[Array], Any]


class TooSlowError(Exception):
    """scikit-learn takes longer than the measurement may."""


@dataclass(slots=True)
class Asked:
    """scikit-learn's own answers to one method.

    ``parts`` are rows and their answers; ``refused`` are rows, each (1, n_features), that it
    raised an error for; ``left_out`` counts rows whose neighbours it raised one for.
    """

    parts: list[tuple[Array, Array]] = field(default_factory=list)
    refused: list[Array] = field(default_factory=list)
    left_out: int = 0

    @property
    def rows(self) -> Array:
        """The rows that were answered, (n_samples, n_features)."""
        return np.concatenate([rows for rows, _ in self.parts])

    @property
    def count(self) -> int:
        """How many rows were answered."""
        return sum(len(rows) for rows, _ in self.parts)


@dataclass(frozen=True, slots=True)
class Parity:
    """How one form's answers to one method compare with scikit-learn's.

    ``max_abs_diff`` and ``max_rel_diff`` are over floats, ``label_flips`` counts rows whose
    label differs; ``dropped`` says why the form is out, and is ``None`` where it holds.
    """

    rows: int
    max_abs_diff: float
    max_rel_diff: float
    label_flips: int
    dropped: str | None

    @property
    def holds(self) -> bool:
        """Whether the form may answer."""
        return self.dropped is None


def ask(call: Ask, X: Array, seconds: float) -> Asked:
    """Return what scikit-learn answers to every row.

    :param call: one of the estimator's methods.
    :param X: (n_samples, n_features) float64.
    :param seconds: of processor time that it may take; how busy the machine is decides nothing.
    :raises TooSlowError: it would take longer.
    """
    asked, end, expected = Asked(), time.process_time() + seconds, 0.0
    with _quiet():
        for rows in _portions(X):
            begun = time.process_time()
            if begun + expected > end:
                raise TooSlowError
            _ask_some(call, rows, asked)
            # The next portion is at most twice as large.
            expected = 2 * (time.process_time() - begun)
    return asked


def _portions(X: Array) -> Iterator[Array]:
    for position in range(min(_ALONE, len(X))):
        yield X[position : position + 1]
    start, size = _ALONE, _ALONE
    while start < len(X):
        yield X[start : start + size]
        start, size = start + size, min(2 * size, _MOST_AT_ONCE)


def _ask_some(call: Ask, rows: Array, asked: Asked) -> None:
    try:
        # An estimator with copy=False writes into its input.
        answer = np.asarray(call(rows.copy()))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - an estimator may raise anything at rows it does not like.
        if len(asked.refused) >= _MOST_REFUSED:
            asked.left_out += len(rows)
        elif len(rows) == 1:
            asked.refused.append(rows)
        else:
            _ask_some(call, rows[: len(rows) // 2], asked)
            _ask_some(call, rows[len(rows) // 2 :], asked)
    else:
        asked.parts.append((rows, answer))


def compare(form: Form, method: str, asked: Asked, policy: Policy) -> Parity:
    """Compare a form's answers with scikit-learn's, and its refusals as well."""
    found = _Comparison(form, method, policy)
    with _quiet():
        for rows, expected in asked.parts:
            found.add(rows, expected)
        for row in asked.refused:
            found.add_refused(row)
    return found.parity(asked)


class _Comparison:
    """Adds up how a form compares, portion by portion."""

    def __init__(self, form: Form, method: str, policy: Policy) -> None:
        self._form = form
        self._method = method
        self._policy = policy
        self._rows = 0
        self._declined = 0
        self._max_abs_diff = 0.0
        self._max_rel_diff = 0.0
        self._label_flips = 0
        self._dropped: str | None = None

    def add(self, rows: Array, expected: Array) -> None:
        try:
            given = np.atleast_1d(self._form.run(rows.copy(), self._method))
        except DeclinedError:
            self._add_halves(rows, expected)
        except Exception as error:  # noqa: BLE001 - a form that fails where scikit-learn answers is out.
            self._drop(f"fails after {self._rows} rows: {type(error).__name__}: {error}")
        else:
            self._compare(expected, given)

    def _add_halves(self, rows: Array, expected: Array) -> None:
        """Leave out the rows that the form leaves to scikit-learn, and no others."""
        if len(rows) == 1:
            self._declined += 1
            return
        middle = len(rows) // 2
        self.add(rows[:middle], expected[:middle])
        self.add(rows[middle:], expected[middle:])

    def _compare(self, expected: Array, given: Array) -> None:
        different = differing(expected, given, self._policy)
        if expected.dtype.kind != "f":
            self._label_flips += int(different.sum())
        elif expected.shape == given.shape:
            self._measure(expected, given)
        if expected.shape != given.shape or expected.dtype.kind != given.dtype.kind:
            self._drop(f"gives {given.dtype} of shape {given.shape} for {expected.dtype} of {expected.shape}")
        elif different.any():
            first = int(np.argmax(different))
            self._drop(f"gives {_value(given[first])} for {_value(expected[first])} on row {self._rows + first}")
        self._rows += len(expected)

    def _measure(self, expected: Array, given: Array) -> None:
        both = np.isfinite(expected) & np.isfinite(given)
        away = np.abs(expected - given, where=both, out=np.zeros(expected.shape))
        scale = np.abs(expected, where=both, out=np.ones(expected.shape))
        relative = np.divide(away, scale, where=scale > 0, out=np.zeros(expected.shape))
        self._max_abs_diff = max(self._max_abs_diff, float(away.max(initial=0.0)))
        self._max_rel_diff = max(self._max_rel_diff, float(relative.max(initial=0.0)))

    def add_refused(self, row: Array) -> None:
        """A row that scikit-learn refuses must have no answer."""
        try:
            self._form.run(row.copy(), self._method)
        except Exception:  # noqa: BLE001 - however the form refuses, there is no answer.
            return
        self._drop("answers for a row that scikit-learn refuses")

    def _drop(self, reason: str) -> None:
        self._dropped = self._dropped or printable(reason[:500])

    def parity(self, asked: Asked) -> Parity:
        if self._rows < LEAST_ROWS:
            refused = len(asked.refused) + asked.left_out
            self._drop(
                f"could be compared on {self._rows} rows only; scikit-learn refused {refused} "
                f"and the form declined {self._declined}"
            )
        return Parity(self._rows, self._max_abs_diff, self._max_rel_diff, self._label_flips, self._dropped)


def _value(answer: Any) -> str:
    return np.array2string(np.asarray(answer), threshold=12, max_line_width=10_000, floatmode="unique")


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield

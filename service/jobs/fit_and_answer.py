"""The two fit-and-answer calls: an estimator is fitted to rows and answers for the same rows."""

from dataclasses import replace
from typing import Any, Final

import numpy as np
import orjson

from service.confinement import Confinement, Limits
from service.errors import Finding, Invalid, is_printable
from service.registry.rows import Column, RowReader
from service.registry.signature import Signature
from service.tenants.principal import Principal
from service.tenants.usage import Usage

MAXIMUM_ROWS: Final = 10_000
MAXIMUM_COLUMNS: Final = 1_000
MAXIMUM_CELLS: Final = 1_000_000
MAXIMUM_LABEL: Final = 1_000

_TARGET: Final = "service.jobs.fitting:fit_and_predict"
_LIMITS: Final = Limits(seconds=30, cpu_seconds=30, memory_bytes=1 << 30, answer_bytes=64 << 20)
_LABELS: Final = ({bool}, {int}, {str})


class FitAndAnswer:
    """Fits in a confined child: fitting runs for as long as its data makes it.

    Its rows count as those of predictions do, under a name that no model can have.
    """

    def __init__(self, confinement: Confinement, usage: Usage) -> None:
        self._confinement = confinement
        self._usage = usage

    def linear_regression(self, principal: Principal, X: object, y: object, seconds: float | None = None) -> list[Any]:
        """Return ``LinearRegression().fit(X, y).predict(X)``.

        :param X: at most 10,000 rows of at most 1,000 numbers, at most 1,000,000 in all.
        :param y: a number for each row.
        :param seconds: that the caller still waits; ``None`` is as long as the server allows.
        :raises Invalid: they are not that, or cannot be fitted.
        :raises QuotaExceeded: the plan's rows of the day are used up. A call that fails uses none.
        :raises DeadlineExceeded: the fit did not end in its time.
        :raises Unavailable: every place that the tenant may take is taken.
        """
        return self._fit(principal, "LinearRegression", *_numbers(X, y), seconds)

    def support_vector_machine(
        self, principal: Principal, X: object, y: object, seconds: float | None = None
    ) -> list[Any]:
        """Return ``SVC().fit(X, y).predict(X)``.

        :param X: at most 10,000 rows of at most 1,000 numbers, at most 1,000,000 in all.
        :param y: a label for each row, all strings, all integers or all booleans.
        :param seconds: that the caller still waits; ``None`` is as long as the server allows.
        :raises Invalid: they are not that, or cannot be fitted.
        :raises QuotaExceeded: the plan's rows of the day are used up. A call that fails uses none.
        :raises DeadlineExceeded: the fit did not end in its time.
        :raises Unavailable: every place that the tenant may take is taken.
        """
        return self._fit(principal, "SVC", *_labelled(X, y), seconds)

    def _fit(
        self, principal: Principal, estimator: str, X: np.ndarray[Any, Any], y: Any, seconds: float | None
    ) -> list[Any]:
        name = f"_{estimator}"
        day = self._usage.charge(principal, name, len(X))
        try:
            return self._answer(principal, {"estimator": estimator, "X": X, "y": y}, seconds)
        except BaseException:
            self._usage.refund(principal, name, len(X), day)
            raise

    def _answer(self, principal: Principal, asked: dict[str, Any], seconds: float | None) -> list[Any]:
        payload = orjson.dumps(asked, option=orjson.OPT_SERIALIZE_NUMPY)
        limits = _LIMITS if seconds is None else replace(_LIMITS, seconds=min(_LIMITS.seconds, seconds))
        fitted = self._confinement.call(_TARGET, payload, limits, owner=principal.tenant_id)
        answer: list[Any] = orjson.loads(fitted)
        return answer


def _numbers(X: object, y: object) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rows = _rows(X)
    targets = _as_long(y, len(rows))
    return rows, RowReader([Column("", "float64")]).read([[value] for value in targets], "y")[:, 0]


def _labelled(X: object, y: object) -> tuple[np.ndarray[Any, Any], list[Any]]:
    rows = _rows(X)
    labels = _as_long(y, len(rows))
    kinds = set(map(type, labels))
    if kinds not in _LABELS:
        raise _unfit("y", "must be all strings, all integers or all booleans")
    if kinds == {int} and any(abs(label) >= 1 << 63 for label in labels):
        raise _unfit("y", "must be integers of at most 64 bits")
    if kinds == {str} and any(len(label) > MAXIMUM_LABEL for label in labels):
        raise _unfit("y", f"must be strings of at most {MAXIMUM_LABEL} characters")
    if kinds == {str} and not all(map(is_printable, labels)):
        raise _unfit("y", "must be strings of printable characters")
    if len(set(labels)) == 1:
        raise _unfit("y", "must hold at least two different labels")
    return rows, labels


def _rows(X: object) -> np.ndarray[Any, Any]:
    if type(X) is not list or not 0 < len(X) <= MAXIMUM_ROWS:
        raise _unfit("X", f"must be a list of 1 to {MAXIMUM_ROWS} rows")
    if type(X[0]) is not list or not 0 < len(X[0]) <= MAXIMUM_COLUMNS:
        raise _unfit("X[0]", f"must be a list of 1 to {MAXIMUM_COLUMNS} numbers")
    if len(X) * len(X[0]) > MAXIMUM_CELLS:
        raise _unfit("X", f"must hold at most {MAXIMUM_CELLS} numbers")
    return Signature.of_numbers(len(X[0])).rows(X, "X")


def _as_long(y: object, rows: int) -> list[Any]:
    if type(y) is not list or len(y) != rows:
        raise _unfit("y", f"must be a list of {rows} values, one for each row of X")
    return y


def _unfit(at: str, message: str) -> Invalid:
    return Invalid("The data cannot be fitted as it is.", code="invalid_data", findings=[Finding(at, message)])

"""Which form answers which method, for one row and for many: measured, and written down with its reasons."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np

from service.runtimes.derivation.derive import TRIED, attempt, plain
from service.runtimes.derivation.parity import LEAST_ROWS, Asked, Parity, TooSlowError, ask, compare
from service.runtimes.derivation.rows import rows_for
from service.runtimes.forms import Array, Form
from service.runtimes.policy import EXACT, NATIVE, Policy

MANY: Final = 1000
METHODS: Final = ("predict", "predict_proba", "decision_function", "score_samples")
MOST_SECONDS: Final = 4.0

Call: TypeAlias = Callable[[Array], Any]

_SECONDS: Final = 0.005
_APART_US: Final = 100.0
"""What scikit-learn costs beside its own run, where it answers from a process that can die alone."""

_TOO_SLOW: Final = "scikit-learn takes too long for a thousand rows to be compared"
_REFUSED: Final = "scikit-learn refuses every row that was made to compare it"


def choose(
    estimator: Any,
    methods: tuple[str, ...],
    sample: Array,
    gaps: Sequence[int] = (),
    policy: Policy = EXACT,
    seconds: float = MOST_SECONDS,
) -> dict[str, Any]:
    """Derive, compare and time; return what a version's ``runtime`` shows.

    ``methods`` of it says for each method which form runs ``one`` row and ``many``, with
    parity and times of every form that there was; a parity that does not hold says in
    ``dropped`` why. ``dropped`` of the whole says why a form could not be made at all.

    :param methods: those of ``METHODS`` that the estimator has.
    :param sample: rows that it has answered for, (n_samples, n_features) float64.
    :param gaps: positions of the columns in which a gap is understood.
    :param seconds: that scikit-learn may take for the rows of one method; what is slower stays native.
    """
    forms, dropped = attempt(estimator, TRIED[policy])
    X, asked = _asked(estimator, rows_for(plain(estimator), sample, gaps), seconds)
    tried = {"predict": _try(estimator.predict, "predict", forms, policy, asked)}
    # Where there is no form, the times of ``predict`` are shown and nothing else is asked.
    for method in methods[1:] if forms else ():
        call = getattr(estimator, method)
        tried[method] = _try(call, method, forms, policy, _in_time(call, X, seconds))
    return _report(tried, dropped, policy)


@dataclass(frozen=True, slots=True)
class _Tried:
    """What became of every form for one method; times are in microseconds."""

    parity: dict[str, Parity]
    single_row_us: dict[str, float]
    thousand_rows_us: dict[str, float]
    reason: str | None = None

    @property
    def chosen(self) -> dict[str, str]:
        """The fastest for one row, and for many."""
        return {"one": _fastest(self.single_row_us), "many": _fastest(self.thousand_rows_us)}

    @property
    def shown(self) -> dict[str, Any]:
        """What stands in ``runtime``."""
        return self.chosen | {
            "parity": {name: _shown(found) for name, found in self.parity.items()},
            "single_row_us": self.single_row_us,
            "thousand_rows_us": self.thousand_rows_us,
        }


def _asked(estimator: Any, X: Array, seconds: float) -> tuple[Array, Asked | None]:
    """Return rows and what ``predict`` says to them, with others added where it refuses too many."""
    asked = _in_time(estimator.predict, X, seconds)
    if asked is None or asked.count >= LEAST_ROWS:
        return X, asked
    # Counts, frequencies and positive measures are what estimators that refuse rows ask for.
    X = np.concatenate((X, np.abs(X), np.abs(np.round(X))))
    return X, _in_time(estimator.predict, X, seconds)


def _in_time(call: Call, X: Array, seconds: float) -> Asked | None:
    try:
        return ask(call, X, seconds)
    except TooSlowError:
        return None


def _try(call: Call, method: str, forms: dict[str, Form], policy: Policy, asked: Asked | None) -> _Tried:
    """Compare and time every form for one method.

    :param asked: what scikit-learn says to the rows; ``None`` where it is too slow to say it.
    """
    if asked is None or not asked.parts:
        return _Tried({}, {}, {}, _TOO_SLOW if asked is None else _REFUSED)
    able = {name: form for name, form in forms.items() if method in form.methods}
    parity = {name: compare(form, method, asked, policy) for name, form in able.items()}
    runs: dict[str, Call] = {NATIVE: call}
    runs |= {name: partial(able[name].run, method=method) for name, found in parity.items() if found.holds}
    return _Tried(parity, *_times(runs, asked.rows))


def _times(runs: dict[str, Call], rows: Array) -> tuple[dict[str, float], dict[str, float]]:
    one, many = np.ascontiguousarray(rows[:1]), np.resize(rows, (MANY, rows.shape[1]))
    return (
        {name: _microseconds(run, one) for name, run in runs.items()},
        {name: _microseconds(run, many) for name, run in runs.items()},
    )


def _microseconds(run: Call, X: Array) -> float:
    """Return the least time of several calls, in microseconds; noise only ever adds."""
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while True:
        begun = time.perf_counter()
        run(X)
        now = time.perf_counter()
        best = min(best, now - begun)
        if now > end:
            return round(best * 1e6, 1)


def _fastest(times: dict[str, float]) -> str:
    costs = {name: value + (_APART_US if name == NATIVE else 0.0) for name, value in times.items()}
    return min(costs, key=costs.__getitem__, default=NATIVE)


def _report(tried: dict[str, _Tried], dropped: dict[str, str], policy: Policy) -> dict[str, Any]:
    predict = tried["predict"]
    backend = predict.chosen["one"]
    report: dict[str, Any] = {
        "backend": backend,
        "policy": policy,
        "parity": _shown(predict.parity[backend]) if backend in predict.parity else None,
        "single_row_us": predict.single_row_us,
        "thousand_rows_us": predict.thousand_rows_us,
        "dropped": dropped,
    }
    if any(one.parity for one in tried.values()):
        return report | {"methods": {method: one.shown for method, one in tried.items()}}
    return report | {"reason": predict.reason or "no compiled form fits this estimator"}


def _shown(parity: Parity) -> dict[str, Any]:
    return asdict(parity) | {"holds": parity.holds}

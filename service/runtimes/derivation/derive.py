"""Every form that fits an estimator, by the name that a version's ``runtime`` shows."""

from collections.abc import Callable, Set
from typing import Any, Final

from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline

from service.errors import printable
from service.runtimes.chain import Chain
from service.runtimes.derivation import chain, forests, graphs, isolation, kernels, linear, treelite
from service.runtimes.derivation.ensembles import TREES
from service.runtimes.forms import Form, UnfitError
from service.runtimes.graphs import Dtype
from service.runtimes.policy import EXACT, TOLERANCE, Policy

NUMPY: Final = "numpy"
TREELITE: Final = "treelite"
ONNX: Final = "onnx"
ONNX_FLOAT32: Final = "onnx-float32"

NAMES: Final = frozenset({NUMPY, TREELITE, ONNX, ONNX_FLOAT32})

TRIED: Final[dict[Policy, Set[str]]] = {EXACT: frozenset({NUMPY, TREELITE, ONNX}), TOLERANCE: NAMES}
"""The forms that may hold under a policy; what computes in float32 is never within 1e-9 but by chance."""

_GRAPHS: Final[dict[str, Dtype]] = {ONNX: "float64", ONNX_FLOAT32: "float32"}
_SIMPLE: Final[dict[str, tuple[Callable[[Any], Form | None], ...]]] = {
    NUMPY: (linear.derive, kernels.derive),
    TREELITE: (treelite.derive,),
}


def derive(estimator: Any, names: Set[str] = NAMES) -> dict[str, Form]:
    """Return those forms of a fitted estimator that there are, and that have one of the names."""
    return attempt(estimator, names)[0]


def attempt(estimator: Any, names: Set[str]) -> tuple[dict[str, Form], dict[str, str]]:
    """Return the forms that there are, and why there is none of a kind that fits such estimators, by name."""
    forms: dict[str, Form] = {}
    reasons: dict[str, str] = {}
    inner = plain(estimator)
    for name in sorted(names):
        try:
            form = _form(inner, name)
        except UnfitError as reason:
            reasons[name] = printable(str(reason)[:500])
        except MemoryError:
            reasons[name] = "it takes more memory to make than there is"
        else:
            if form is not None:
                forms[name] = form
    return forms, reasons


def plain(estimator: Any) -> Any:
    """Return what answers: the estimator itself, or the one that a search found or a frozen one holds."""
    while isinstance(estimator, GridSearchCV | RandomizedSearchCV | FrozenEstimator):
        estimator = estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator.best_estimator_
    return estimator


def _form(estimator: Any, name: str) -> Form | None:
    if name == ONNX and type(_last(estimator)) in TREES | {IsolationForest}:
        if isinstance(estimator, Pipeline):
            return _chain(estimator, name)
        return forests.derive(estimator) or isolation.derive(estimator)
    if name in _GRAPHS:
        return graphs.derive(estimator, _GRAPHS[name])
    if isinstance(estimator, Pipeline):
        return _chain(estimator, name)
    return next((form for form in (derive(estimator) for derive in _SIMPLE[name]) if form is not None), None)


def _last(estimator: Any) -> Any:
    return plain(estimator.steps[-1][1]) if isinstance(estimator, Pipeline) else estimator


def _chain(pipeline: Pipeline, name: str) -> Form | None:
    last = _form(_last(pipeline), name)
    transformers = [step for _, step in pipeline.steps[:-1] if step is not None and step != "passthrough"]
    steps = [step for step in map(chain.step_of, transformers) if step is not None]
    return Chain(tuple(steps), last) if last is not None and len(steps) == len(transformers) else None

"""What has to be reached, and how the figures stand to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.benchmarks.asking import CACHED, FRESH
from tests.benchmarks.comparison import Result
from tests.benchmarks.estimators import MODELS

MEMORY, REDIS = "Modelward, SQLite and memory", "Modelward, PostgreSQL and Redis"
BARE = "bare Flask"
HELLO = "Flask hello"


@dataclass(frozen=True)
class Goal:
    """Ratios to reach, and never to fall below."""

    goal: float
    floor: float


SMALL, TREES, ISOLATED = ("logistic", "svc"), ("forest", "boosting"), ("neighbours",)
COMPUTED = {MEMORY: (Goal(0.60, 0.35), Goal(0.55, 0.35)), REDIS: (Goal(0.50, 0.28), Goal(0.45, 0.28))}
"""Beside the bare framework: small models, and ensembles of trees."""

KEPT = {MEMORY: Goal(0.70, 0.40), REDIS: Goal(0.45, 0.28)}
IN_A_CHILD = Goal(0.8, 0.8)
"""Beside the bare application, for a model that only scikit-learn itself can run."""

FASTER = Goal(1.0, 1.0)
TIMES = {"MLServer": 3.0, "BentoML": 5.0, "MLflow": 10.0}
TIMES_ON_A_FOREST = 15.0


@dataclass(frozen=True)
class Comparison:
    """A case of Modelward beside something else, with the ratio that it has to reach."""

    what: str
    than: str
    ratio: float
    goal: Goal
    faults: int

    @property
    def verdict(self) -> str:
        """``pass``, ``between`` goal and floor, ``below`` the floor, or ``faulty`` where an answer was."""
        if self.faults:
            return "faulty"
        return "pass" if self.ratio >= self.goal.goal else "between" if self.ratio >= self.goal.floor else "below"


def comparisons(results: Sequence[Result]) -> Iterator[Comparison]:
    """Yield everything that has a goal."""
    for result in results:
        case = result.case
        if case.system not in COMPUTED:
            continue
        if (goal := _beside_hello(result)) is not None:
            yield Comparison(case.name, HELLO, result.ratio, goal, result.faults)
        if case.mode == FRESH:
            yield from _beside_others(result, [other for other in results if other.case.model == case.model])


def _beside_hello(result: Result) -> Goal | None:
    case = result.case
    if case.mode == CACHED:
        return KEPT[case.system]
    small, trees = COMPUTED[case.system]
    return small if case.model in SMALL else trees if case.model in TREES else None


def _beside_others(result: Result, others: Sequence[Result]) -> Iterator[Comparison]:
    case = result.case
    for other in others:
        goal = None
        if other.case.system == BARE and other.case.workers == case.workers:
            goal = IN_A_CHILD if case.model in ISOLATED else FASTER
        elif other.case.system in TIMES and case.system == MEMORY and case.model not in ISOLATED:
            times = TIMES_ON_A_FOREST if case.model == "forest" else TIMES[other.case.system]
            goal = Goal(times, times)
        if goal is not None:
            # Each was measured beside the bare framework, at its own time.
            ratio = result.ratio / other.ratio
            yield Comparison(case.name, f"{other.case.system}, {MODELS[case.model].name}", ratio, goal, result.faults)

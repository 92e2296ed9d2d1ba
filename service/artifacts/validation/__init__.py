"""What must hold inside an estimator that was loaded: one rule a module, run in order.

A rule takes everything that the estimator holds and yields a finding for each thing that
is wrong. To add a rule, write a module with such a function and name it in ``RULES``;
inspection runs it in the confined child, on every upload.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from sklearn.base import BaseEstimator

from service.artifacts.container import MAX_FINDINGS
from service.artifacts.validation.arrays import unsound_numbers
from service.artifacts.validation.callables import misplaced_callables
from service.artifacts.validation.contents import Held, contents
from service.artifacts.validation.hyperparameters import forbidden_hyperparameters
from service.artifacts.validation.trees import broken_trees
from service.errors import Finding

Rule = Callable[[Sequence[Held]], Iterator[Finding]]

RULES: Final[tuple[Rule, ...]] = (
    misplaced_callables,
    forbidden_hyperparameters,
    unsound_numbers,
    broken_trees,
)


def check(estimator: BaseEstimator) -> list[Finding]:
    """Return what is wrong with a loaded estimator, the first twenty findings."""
    held = contents(estimator)
    return list(itertools.islice(itertools.chain.from_iterable(rule(held) for rule in RULES), MAX_FINDINGS))


__all__ = ["RULES", "Rule", "check"]

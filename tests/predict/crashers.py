"""Versions that admission would refuse: trees whose nodes lead C code out of its arrays, or in a circle.

Rows up to 0.5 are answered with 0. What lies above is a crash, or never answered.
"""

from dataclasses import replace
from typing import Final

from sklearn.tree import DecisionTreeClassifier

from service.artifacts import serialization
from service.registry.resolution import DefaultRef, ResolvedVersion
from service.tenants.principal import Principal
from tests.predict.workers import PredictWorker

NOWHERE: Final = 1 << 40
ROOT: Final = 0

HARMLESS: Final = [[0.0]]
HARMFUL: Final = [[1.0]]


def tampered(right: int, serial: int = 0) -> bytes:
    """The file of a tree whose root has ``right`` as its right child.

    :param serial: makes bytes that no other number makes.
    """
    estimator = DecisionTreeClassifier(random_state=serial).fit([[0.0], [1.0]], [0, 1])
    state = estimator.tree_.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"]["right_child"][ROOT] = right
    estimator.tree_.__setstate__(state)
    return serialization.dump(estimator)


def crasher() -> bytes:
    """The file of a version that crashes."""
    return tampered(NOWHERE)


def hanger() -> bytes:
    """The file of a version that goes on for ever."""
    return tampered(ROOT)


def smuggled(worker: PredictWorker, principal: Principal, data: bytes, model: str = "m") -> ResolvedVersion:
    """A version with that file, which no admission has seen."""
    worker.upload(principal, model)
    version = worker.resolution.resolve(principal, model, DefaultRef())
    return replace(version, digest=worker.store.put(principal.tenant_id, data), plan={})

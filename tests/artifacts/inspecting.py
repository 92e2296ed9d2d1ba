"""Admission of an estimator in this process, for what it says and what it refuses."""

from typing import Any

import pytest
import skops.io

from service.artifacts.inspection import inspect
from service.confinement import wire
from service.errors import Finding, Rejected
from service.runtimes.policy import EXACT


def inspected(estimator: Any, signature: Any = None, sample: Any = None) -> dict[str, Any]:
    payload = wire.pack({"signature": signature, "sample": sample, "policy": EXACT}, skops.io.dumps(estimator))
    facts, _ = wire.unpack(inspect(payload))
    return facts


def refused(estimator: Any, signature: Any = None, sample: Any = None) -> list[Finding]:
    with pytest.raises(Rejected) as refusal:
        inspected(estimator, signature, sample)
    return list(refusal.value.findings)


def columns(*names: str, dtype: str = "float64") -> dict[str, Any]:
    return {"inputs": [{"name": name, "dtype": dtype} for name in names]}

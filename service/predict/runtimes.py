"""What runs a loaded version."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np

from service.predict.anatomy import footprint
from service.predict.runners import Runner
from service.registry.resolution import Plan
from service.runtimes.forms import DeclinedError, Form
from service.runtimes.policy import NATIVE

FEW_ROWS: Final = 64
"""Up to this many rows, what is fastest for one row is taken."""

CONNECTION_BYTES: Final = 64 << 10
"""What the connections to a child are taken to hold here, their buffers included."""


class Runtime(Protocol):
    """Runs one version; safe to use from several threads."""

    @property
    def size_bytes(self) -> int:
        """The bytes of memory that the runtime holds in this process."""
        ...

    def run(self, X: np.ndarray[Any, Any], method: str, seconds: float | None = None) -> tuple[Any, str]:
        """Return what the version's ``method`` gives for the rows of ``X``, and the name of what computed it.

        :param X: what ``Signature.rows`` returned.
        :param seconds: that the caller still waits; ``None`` is as long as the server allows.
        :raises ModelwardError: ``Runner.run`` says which.
        """
        ...

    def run_native(self, X: np.ndarray[Any, Any], method: str, seconds: float | None = None) -> Any:
        """Return the same from scikit-learn itself, whatever else could answer."""
        ...

    def take_out(self, form: str) -> None:
        """Have scikit-learn itself answer from now on what the form answered."""
        ...

    def close(self) -> None:
        """Let go of what the runtime holds beside memory."""
        ...


class IsolatedRuntime:
    """Runs a version as its plan says: forms that are held here run here, everything else in the version's child.

    Forms are code of ours over arrays that admission has validated. scikit-learn runs where
    it can crash alone. A version too large to be held by each worker has its forms there, too.

    :param forms: by name; those of the plan that are not among them run in the child.
    """

    def __init__(self, plan: Plan, forms: Mapping[str, Form], runner: Runner) -> None:
        self._plan = plan
        self._forms = forms
        self._runner = runner
        self.size_bytes = CONNECTION_BYTES + sum(held_bytes(form) for form in forms.values())

    def run(self, X: np.ndarray[Any, Any], method: str, seconds: float | None = None) -> tuple[Any, str]:
        """Return what the version's ``method`` gives for the rows of ``X``, and the name of what computed it."""
        sizes = self._plan.get(method)
        name = NATIVE if sizes is None else sizes["one" if len(X) <= FEW_ROWS else "many"]
        if name == NATIVE or X.dtype != np.float64:
            return self.run_native(X, method, seconds), NATIVE
        form = self._forms.get(name)
        if form is None:
            return self._runner.run(X, method, name, seconds), name
        try:
            return form.run(X, method), name
        except DeclinedError:
            return self.run_native(X, method, seconds), NATIVE

    def run_native(self, X: np.ndarray[Any, Any], method: str, seconds: float | None = None) -> Any:
        """Return what the estimator itself gives."""
        return self._runner.run(X, method, None, seconds)

    def take_out(self, form: str) -> None:
        """Have scikit-learn itself answer from now on what the form answered."""
        self._plan = {
            method: {size: NATIVE if name == form else name for size, name in sizes.items()}
            for method, sizes in self._plan.items()
        }

    def close(self) -> None:
        """Let go of the connections to the child."""
        self._runner.close()


def names_of(plan: Plan) -> set[str]:
    """Return the names of the forms that a plan asks for."""
    return {name for sizes in plan.values() for name in sizes.values()} - {NATIVE}


def held_bytes(form: Form) -> int:
    """Return the bytes that a form holds: its arrays, and what lies outside of Python."""
    return footprint(form) + form.size_bytes

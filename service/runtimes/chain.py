"""Pipelines: scalers and the like in numpy, in front of the form of the last step."""

from dataclasses import dataclass, field

import numpy as np

from service.runtimes.forms import Array, Form, Step, agree


@dataclass(eq=False)
class Chain:
    """Transformations, one after the other, and the form that answers."""

    steps: tuple[Step, ...]
    last: Form
    methods: tuple[str, ...] = field(init=False)
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.methods = self.last.methods
        self.size_bytes = self.last.size_bytes

    def run(self, X: Array, method: str) -> Array:
        """Return the method's answer for each row."""
        for step in self.steps:
            X = step(X)
        return self.last.run(X, method)


@dataclass(eq=False)
class Standardise:
    """``(X - centre) / scale``, each (n_features,) and left out where it is ``None``."""

    centre: Array | None
    scale: Array | None

    def __post_init__(self) -> None:
        _agree_on_columns(self.centre, self.scale)

    def __call__(self, X: Array) -> Array:
        """Return the rows around the centre, in units of the scale."""
        if self.centre is not None:
            X = X - self.centre
        return X if self.scale is None else X / self.scale


@dataclass(eq=False)
class Stretch:
    """``X * scale + offset``, each (n_features,), cut off outside of ``bounds`` where there are some."""

    scale: Array
    offset: Array
    bounds: tuple[float, float] | None

    def __post_init__(self) -> None:
        _agree_on_columns(self.scale, self.offset)

    def __call__(self, X: Array) -> Array:
        """Return the rows in the new range."""
        X = X * self.scale
        X += self.offset
        return X if self.bounds is None else np.clip(X, *self.bounds, out=X)


@dataclass(eq=False)
class Impute:
    """``statistics``, (n_features,), in place of gaps."""

    statistics: Array

    def __post_init__(self) -> None:
        _agree_on_columns(self.statistics)

    def __call__(self, X: Array) -> Array:
        """Return the rows without gaps."""
        return np.where(np.isnan(X), self.statistics, X)


@dataclass(eq=False)
class Project:
    """``X @ components.T - offset``.

    :param components: (n_components, n_features).
    :param offset: (1, n_components).
    """

    components: Array
    offset: Array

    def __post_init__(self) -> None:
        agree(self.components.ndim == 2, "components are rows")  # noqa: PLR2004
        agree(self.offset.shape == (1, len(self.components)), "an offset for each component")

    def __call__(self, X: Array) -> Array:
        """Return the rows in the space of the components."""
        X = np.dot(X, self.components.T)
        X -= self.offset
        return X


def _agree_on_columns(*parts: Array | None) -> None:
    shapes = {part.shape for part in parts if part is not None}
    agree(len(shapes) <= 1 and all(len(shape) == 1 for shape in shapes), "a number for each feature")

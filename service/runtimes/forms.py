"""What every form is, and what forms are made of."""

from typing import Any, Protocol, TypeAlias, runtime_checkable

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


class DeclinedError(Exception):
    """A form does not answer for these rows; scikit-learn itself has to."""


class UnfitError(Exception):
    """An estimator has no form of a kind, for the reason that stands in the message."""


@runtime_checkable
class Form(Protocol):
    """Computes some methods of one estimator; safe to use from several threads.

    ``size_bytes`` is what it holds outside of Python's own objects and arrays.
    """

    methods: tuple[str, ...]
    size_bytes: int

    def run(self, X: Array, method: str) -> Array:
        """Return what the estimator's method of that name returns.

        :param X: (n_samples, n_features), float64, C order.
        :raises DeclinedError: the rows need scikit-learn's own treatment.
        """
        ...


@runtime_checkable
class Step(Protocol):
    """A transformation in front of a form."""

    def __call__(self, X: Array) -> Array:
        """Return (n_samples, n_features) float64; what it was given is left as it was."""
        ...


@runtime_checkable
class Sums(Protocol):
    """The sums over the leaves that rows come to in an ensemble of trees; ``size_bytes`` as in a form."""

    size_bytes: int

    def __call__(self, X: Array) -> Array:
        """Return (n_samples, n_sums) in float64."""
        ...


def agree(holds: bool, what: str) -> None:
    """Refuse parts that do not belong together.

    :raises UnfitError: it does not hold.
    """
    if not holds:
        raise UnfitError(f"its parts do not agree: {what}")


def agree_on_labels(classes: Array | None) -> None:
    """Refuse labels that are no list.

    :param classes: an estimator's labels, ``None`` for a regressor.
    """
    agree(classes is None or classes.ndim == 1, "labels are one list")

"""Names, types and layout of what a version takes and gives.

A signature is made at admission, kept with the version as a JSON object, and read back
once for every snapshot. ``Signature.rows`` is the gate of the hot path: what passes it is
an array that means exactly what the caller wrote.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from service.artifacts.outputs import typed
from service.artifacts.signature_rules import complaints
from service.errors import Invalid
from service.registry.rows import AT, Column, RowReader


@dataclass(frozen=True, slots=True)
class Signature:
    """What a version takes, column by column, and the names of what it can give.

    :param layout: ``matrix`` is one row of columns per sample; ``text`` is one string per
        sample, which scikit-learn's text vectorisers take as a one-dimensional array.
    """

    inputs: tuple[Column, ...]
    outputs: tuple[Mapping[str, Any], ...] = ()
    layout: str = "matrix"
    _reader: RowReader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_reader", RowReader(self.inputs, text=self.layout == "text"))

    @classmethod
    def parse(cls, document: object) -> Self:
        """Return the signature that a JSON object describes.

        :param document: ``{"inputs": [{"name", "dtype", "nullable"?}], "outputs"?, "layout"?}``.
        :raises Invalid: it is none; the findings name each place.
        """
        findings = complaints(document)
        if findings:
            raise Invalid(
                "The signature is not one; each place is named under errors.",
                code="invalid_signature",
                findings=findings[:20],
            )
        assert isinstance(document, dict)
        columns = (Column(each["name"], each["dtype"], each.get("nullable", False)) for each in document["inputs"])
        return cls(tuple(columns), tuple(document.get("outputs", ())), document.get("layout", "matrix"))

    @classmethod
    def of_numbers(cls, width: int) -> Self:
        """Return the signature of ``width`` float64 columns ``x0``, ``x1`` and so on."""
        return cls(tuple(Column(f"x{index}", "float64") for index in range(width)))

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs' names, in the order of the columns."""
        return tuple(column.name for column in self.inputs)

    def rows(self, inputs: object, at: str = AT, first: int = 0) -> np.ndarray[Any, Any]:
        """Return the rows as the array that the estimator takes.

        :param inputs: a list of lists in the order of the columns, or of objects by name.
        :param at: what the rows are called in findings, and ``first`` which number the first of them has there.
        :return: float64 ``(n, columns)`` in C order where every column is a number or a
            boolean, else object ``(n, columns)``; object ``(n,)`` for text.
        :raises Invalid: with the first 20 cells that do not fit, by row and column.
        """
        return self._reader.read(inputs, at, first)

    def typed(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the estimator gave as JSON's own types; labels stay as they were trained."""
        return {name: typed(values) for name, values in outputs.items()}

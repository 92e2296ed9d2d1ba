"""What the uploader says about an estimator, held against what the estimator says itself."""

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from service.artifacts import signature_rules
from service.artifacts.signature_rules import STRING, TEXT
from service.errors import Finding

MAX_SAMPLE: Final = 1000

_CELL: Final[dict[str, tuple[type, ...]]] = {"string": (str,), "bool": (bool,)}


def declared_width(signature: Any, sample: Any) -> int | None:
    """Return the number of columns that signature or sample speak of, if they do."""
    if isinstance(signature, dict) and isinstance(signature.get("inputs"), list):
        return len(signature["inputs"])
    return len(sample[0]) if isinstance(sample, list) and sample and isinstance(sample[0], list | dict) else None


def disagreements(declared: Any, layout: str, inputs: list[dict[str, Any]]) -> Iterator[Finding]:
    """Yield each point in which a declared signature is none, or contradicts the derived inputs.

    What was derived may be declared as it stands, and a part of it may be left out.
    """
    if not isinstance(declared, dict) or not isinstance(declared.get("inputs"), list):
        yield Finding("signature.inputs", "must be a list of {name, dtype}")
        return
    if len(declared["inputs"]) != len(inputs):
        yield Finding("signature.inputs", f"has {len(declared['inputs'])} columns; the estimator takes {len(inputs)}")
        return
    broken = signature_rules.complaints(_completed(declared, layout, inputs))
    yield from broken
    if broken:
        return
    if declared.get("layout", layout) != layout:
        yield Finding("signature.layout", f"is {declared['layout']}; the estimator takes {layout}")
    yield from _inputs(merged(declared, inputs), inputs)


def _completed(declared: dict[str, Any], layout: str, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the declaration with what it left out, and whatever is malformed in it as it is."""
    columns = [
        {"dtype": own["dtype"]} | column if isinstance(column, dict) else column
        for column, own in zip(declared["inputs"], inputs, strict=True)
    ]
    return {"layout": layout} | declared | {"inputs": columns}


def _inputs(given: list[dict[str, Any]], inputs: list[dict[str, Any]]) -> Iterator[Finding]:
    named = [column["name"] for column in given]
    fitted = [column["name"] for column in inputs]
    if named != fitted and sorted(named) == sorted(fitted):
        yield Finding("signature.inputs", f"are in another order than the estimator was fitted with: {fitted}"[:500])
    for position, (column, own) in enumerate(zip(given, inputs, strict=True)):
        at = f"signature.inputs[{position}]"
        if (column["dtype"] == STRING) != (own["dtype"] == STRING):
            yield Finding(f"{at}.dtype", f"is {column['dtype']}; the estimator takes {own['dtype']}")


def broken_promises(
    declared: dict[str, Any], inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> Iterator[Finding]:
    """Yield each gap and each output that was declared, after ``disagreements`` found none, and that no trial showed.

    :param inputs: those derived, with ``nullable`` where a gap was understood.
    """
    for position, (column, own) in enumerate(zip(declared["inputs"], inputs, strict=True)):
        if column.get("nullable") and not own.get("nullable"):
            at = f"signature.inputs[{position}].nullable"
            yield Finding(at, "is true; the estimator does not understand a gap there")
    known = {output["name"]: output for output in outputs}
    for position, column in enumerate(declared.get("outputs", [])):
        at = f"signature.outputs[{position}]"
        if column["name"] not in known:
            yield Finding(at, f"names none of {', '.join(known)}")
            continue
        own = known[column["name"]]
        for key in ("dtype", "shape"):
            if key in column and column[key] != own.get(key):
                yield Finding(f"{at}.{key}", f"is not {own.get(key)}, which the estimator answers")


def merged(declared: Any, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the inputs as they are declared; what the declaration leaves out is as it was derived."""
    return (
        inputs if declared is None else [own | column for column, own in zip(declared["inputs"], inputs, strict=True)]
    )


def rows(sample: Any, inputs: list[dict[str, Any]], layout: str) -> tuple[Any, list[Finding]]:
    """Return a sample as the array that the estimator takes, and what is wrong with it.

    :param sample: a list of rows, each a list of cells or an object by input name.
    :returns: float64 of shape (rows, inputs), objects where a column holds strings, or a
        one-dimensional array of strings for text; and the findings, first of all.
    """
    names = [column["name"] for column in inputs]
    if not isinstance(sample, list) or not 0 < len(sample) <= MAX_SAMPLE:
        return None, [Finding("sample.inputs", f"must be a list of 1 to {MAX_SAMPLE} rows")]
    table, findings = [], []
    for position, row in enumerate(sample):
        cells = [row.get(name) for name in names] if isinstance(row, dict) else row
        if isinstance(row, dict) and set(row) != set(names):
            findings.append(Finding(f"sample.inputs[{position}]", "has other names than the inputs"))
        elif not isinstance(cells, list) or len(cells) != len(names):
            findings.append(Finding(f"sample.inputs[{position}]", f"must have {len(names)} cells"))
        else:
            findings.extend(_cells(cells, inputs, position))
            # A gap is NaN for an estimator, as it is when the version is served.
            table.append([math.nan if cell is None else cell for cell in cells])
    return (None if findings else array(table, inputs, layout)), findings


def _cells(cells: list[Any], inputs: list[dict[str, Any]], position: int) -> Iterator[Finding]:
    for cell, column in zip(cells, inputs, strict=True):
        kinds = _CELL.get(column["dtype"], (int, float))
        number = kinds == (int, float)
        if cell is None and column.get("nullable"):
            continue
        if not isinstance(cell, kinds) or (number and isinstance(cell, bool)):
            yield Finding(f"sample.inputs[{position}].{column['name']}", f"must be {column['dtype']}")


def array(table: list[list[Any]], inputs: list[dict[str, Any]], layout: str) -> Any:
    """Return rows of checked cells as the array that the estimator takes."""
    if layout == TEXT:
        return np.array([row[0] for row in table], dtype=object)
    if all(column["dtype"] != STRING for column in inputs):
        return np.array(table, dtype=np.float64)
    return np.array(table, dtype=object)

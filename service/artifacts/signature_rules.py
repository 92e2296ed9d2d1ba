"""What a signature may be: the one set of rules that admission and the predict path both hold to.

A name has a bounded length and no control characters, so that it can stand in any database,
in a finding and in a log.
"""

from collections.abc import Iterator
from typing import Any, Final

from service.errors import Finding, is_printable

FLOAT, INT, BOOL, STRING = "float64", "int64", "bool", "string"
DTYPES: Final = (FLOAT, INT, BOOL, STRING)
MATRIX, TEXT = "matrix", "text"
LAYOUTS: Final = (MATRIX, TEXT)
MAXIMUM_COLUMNS: Final = 100_000
MAXIMUM_NAME: Final = 1000
"""Characters of a name, and of a label that is a string."""


def is_name(name: object) -> bool:
    """Whether an input can have that name."""
    return isinstance(name, str) and 0 < len(name) <= MAXIMUM_NAME and is_printable(name)


def complaints(document: object) -> list[Finding]:
    """Return each place at which a JSON object is no signature; none where it is one.

    :param document: ``{"inputs": [{"name", "dtype", "nullable"?}], "outputs"?, "layout"?}``.
    """
    if not isinstance(document, dict):
        return [Finding("signature", "must be an object")]
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not 0 < len(inputs) <= MAXIMUM_COLUMNS:
        return [Finding("signature.inputs", f"must list 1 to {MAXIMUM_COLUMNS} inputs")]
    findings = [
        *_unknown("signature", document, {"inputs", "outputs", "layout"}),
        *(found for index, each in enumerate(inputs) for found in _input(f"signature.inputs[{index}]", each)),
        *_outputs(document.get("outputs", [])),
    ]
    layout = document.get("layout", MATRIX)
    if layout not in LAYOUTS:
        findings.append(Finding("signature.layout", "must be matrix or text"))
    return findings or list(_together(inputs, layout))


def _together(inputs: list[dict[str, Any]], layout: str) -> Iterator[Finding]:
    """Yield what is wrong with inputs each of which is sound."""
    seen: set[str] = set()
    for each in inputs:
        if each["name"] in seen:
            yield Finding("signature.inputs", f'name "{each["name"][:100]}" twice; an input needs a name of its own')
        seen.add(each["name"])
    if layout == TEXT and [each["dtype"] for each in inputs] != [STRING]:
        yield Finding("signature.inputs", "must be one input of dtype string for the layout text")


def _input(at: str, each: object) -> Iterator[Finding]:
    if not isinstance(each, dict):
        yield Finding(at, "must be an object with name and dtype")
        return
    if not is_name(each.get("name")):
        rule = f"must be a string of 1 to {MAXIMUM_NAME} characters, none of them a control character"
        yield Finding(f"{at}.name", rule)
    if each.get("dtype") not in DTYPES:
        yield Finding(f"{at}.dtype", f"must be one of {', '.join(DTYPES)}")
    if not isinstance(each.get("nullable", False), bool):
        yield Finding(f"{at}.nullable", "must be true or false")
    yield from _unknown(at, each, {"name", "dtype", "nullable"})


def _outputs(outputs: object) -> Iterator[Finding]:
    if not isinstance(outputs, list):
        yield Finding("signature.outputs", "must be a list")
        return
    for index, each in enumerate(outputs):
        at = f"signature.outputs[{index}]"
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            yield Finding(at, "must be an object with a name")
        else:
            yield from _unknown(at, each, {"name", "dtype", "shape"})


def _unknown(at: str, each: dict[str, Any], known: set[str]) -> Iterator[Finding]:
    for key in sorted(each.keys() - known):
        yield Finding(f"{at}.{key[:100]}", "is not known")

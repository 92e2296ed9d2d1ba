"""``schema.json``, skops' description of an estimator, examined before anything is made of it.

It is a tree of nodes; each names the way it is loaded, the type it becomes and where its
content is. The walk is over every node there is, not over those that a loader would
reach, and does not recurse.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any, Final

import sklearn

from service.artifacts.allow_list import LOADERS
from service.artifacts.container import MAX_FINDINGS, SCHEMA
from service.errors import Finding, Rejected, printable

PROTOCOL: Final = 2
MAX_NODES: Final = 2_000_000
MAX_DEPTH: Final = 400
"""Deeper than any estimator; skops recurses a few Python frames for each level."""

LEAVES: Final = frozenset({"JsonNode", "SliceNode"})


def parse(text: bytes) -> dict[str, Any]:
    """Return the description as JSON.

    :raises Rejected: it is not what skops writes.
    """
    try:
        # Bytes would be taken in any encoding, and the child that reads them can load none.
        schema = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise _rejected(SCHEMA, "is not JSON that skops writes") from None
    if not isinstance(schema, dict) or "__loader__" not in schema:
        raise _rejected(SCHEMA, "describes no object")
    if schema.get("protocol") != PROTOCOL or isinstance(schema["protocol"], bool):
        raise _rejected("protocol", f"must be {PROTOCOL}, which skops 0.16 writes; write the file again with it")
    return schema


def examine(schema: dict[str, Any]) -> None:
    """Check the version of scikit-learn, then every type.

    :raises Rejected: ``sklearn_version_mismatch`` where it was fitted with another
        version, ``type_not_allowed`` where a node may not become what it says.
    """
    nodes_ = list(itertools.islice(nodes(schema), MAX_NODES + 1))
    if len(nodes_) > MAX_NODES:
        raise _rejected(SCHEMA, f"has more than {MAX_NODES:,} nodes")
    _require_this_version(nodes_)
    findings = list(itertools.islice(_unknown_types(nodes_), MAX_FINDINGS))
    if findings:
        raise Rejected(
            "The file holds types that are not allowed; only scikit-learn's own estimators are.",
            code="type_not_allowed",
            findings=findings,
        )


def nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every node, each before those below it.

    :raises Rejected: nodes are nested deeper than in any estimator.
    """
    pending: list[tuple[Any, int]] = [(schema, 0)]
    while pending:
        value, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise _rejected(SCHEMA, "is nested deeper than any estimator")
        if isinstance(value, dict):
            if "__loader__" in value:
                yield value
            pending.extend((below, depth + 1) for below in reversed(value.values()) if isinstance(below, dict | list))
        else:
            pending.extend((below, depth + 1) for below in reversed(value) if isinstance(below, dict | list))


def _unknown_types(nodes_: list[dict[str, Any]]) -> Iterator[Finding]:
    seen = set()
    for node in nodes_:
        loader, name = str(node["__loader__"]), f"{node.get('__module__')}.{node.get('__class__')}"
        if name in LOADERS.get(loader, ()) or (loader, name) in seen:
            continue
        seen.add((loader, name))
        yield Finding(name[:200], f"is not allowed as {loader[:50]}")


def _require_this_version(nodes_: list[dict[str, Any]]) -> None:
    versions = {version for node in nodes_ if (version := _version(node)) is not None}
    others = versions - {sklearn.__version__}
    if versions and not others:
        return
    found = ", ".join(sorted(others)[:5]) or "an unknown version"
    raise Rejected(
        f"It was fitted with scikit-learn {found}, and this service runs {sklearn.__version__}. "
        f"Fit it again with `pip install scikit-learn=={sklearn.__version__}` and upload the new file.",
        code="sklearn_version_mismatch",
        findings=[Finding("sklearn_version", f"is {found}, must be {sklearn.__version__}")],
    )


def _version(node: dict[str, Any]) -> str | None:
    """Return the version that scikit-learn wrote into an estimator's state, where this node is one."""
    content = node.get("content")
    kept = content.get("_sklearn_version") if isinstance(content, dict) else None
    if not isinstance(kept, dict):
        return None
    return printable(str(kept.get("content")).strip('"')[:50])


def _rejected(at: str, message: str) -> Rejected:
    return Rejected("The file's description is not one that skops writes.", findings=[Finding(at, message)])

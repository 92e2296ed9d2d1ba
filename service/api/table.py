"""The table of URLs as data: what the document, the page and the structural tests go through."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from flask import Flask

from service.api.contract import MARK, Operation
from service.gateway.guards import is_idempotent, is_public, required_scope
from service.tenants.scopes import Scope

_IMPLICIT: Final = frozenset({"HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the table of URLs."""

    path: str
    method: str
    endpoint: str
    contract: Operation
    scope: Scope | None
    public: bool
    idempotent: bool
    description: str

    @property
    def tag(self) -> str:
        """The blueprint that the view lies in, which is its file."""
        return self.endpoint.partition(".")[0]


def table(app: Flask) -> Iterator[Route]:
    """Return every operation of ``app``, by path."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        view = app.view_functions[rule.endpoint]
        for method in sorted((rule.methods or set()) - _IMPLICIT):
            yield Route(
                path=rule.rule.replace("<", "{").replace(">", "}"),
                method=method,
                endpoint=rule.endpoint,
                contract=getattr(view, MARK),
                scope=required_scope(view),
                public=is_public(view),
                idempotent=is_idempotent(view),
                description=(view.__doc__ or "").strip(),
            )

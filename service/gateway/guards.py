"""What a route asks of its caller, stated at the route: ``@requires(Scope.X)`` or ``@public``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from flask import Flask

from service.gateway.idempotency import idempotent, is_idempotent
from service.tenants.scopes import Scope

__all__ = ["Guard", "guard_of", "idempotent", "is_idempotent", "is_public", "public", "required_scope", "requires"]

View = TypeVar("View", bound=Callable[..., Any])

_MARK: Final = "__modelward_guard__"


@dataclass(frozen=True, slots=True)
class Guard:
    """What a route asks for: nothing, a credential, or a credential with a scope.

    ``unless`` is asked first, and lets a request in that proves itself in another way.
    """

    public: bool = False
    scope: Scope | None = None
    unless: Callable[[], bool] | None = None


def public(view: View) -> View:
    """Let everybody in."""
    return _marked(view, Guard(public=True))


def requires(scope: Scope | None = None, *, unless: Callable[[], bool] | None = None) -> Callable[[View], View]:
    """Let in who holds ``scope``; ``None`` is any credential that holds.

    :param unless: lets a request in without a credential when it returns ``True``.
    """
    return lambda view: _marked(view, Guard(scope=scope, unless=unless))


def guard_of(view: Callable[..., Any]) -> Guard | None:
    """Return what a view states, ``None`` where it states nothing."""
    guard: Guard | None = getattr(view, _MARK, None)
    return guard


def required_scope(view: Callable[..., Any]) -> Scope | None:
    """Return the scope that a view asks for, where it asks for one."""
    guard = guard_of(view)
    return guard.scope if guard else None


def is_public(view: Callable[..., Any]) -> bool:
    """Whether a view lets everybody in."""
    guard = guard_of(view)
    return guard is not None and guard.public


def verify(app: Flask) -> None:
    """Refuse an application with a route that states nothing.

    :raises RuntimeError: with the endpoints that do not.
    """
    silent = sorted(endpoint for endpoint, view in app.view_functions.items() if guard_of(view) is None)
    if silent:
        raise RuntimeError(f"neither @requires nor @public is stated at: {', '.join(silent)}")


def _marked(view: View, guard: Guard) -> View:
    setattr(view, _MARK, guard)
    return view

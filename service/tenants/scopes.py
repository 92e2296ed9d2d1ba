"""Permissions, each ``resource:action``, and the roles that are named bundles of them."""

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """One permission. The list is kept in alphabetical order."""

    AUDIT_READ = "audit:read"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    KEYS_MANAGE = "keys:manage"
    METRICS_READ = "metrics:read"
    MODELS_PREDICT = "models:predict"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    PLATFORM_ADMIN = "platform:admin"
    USAGE_READ = "usage:read"
    VERSIONS_PROMOTE = "versions:promote"


OPERATOR_SCOPES: Final = frozenset({Scope.METRICS_READ, Scope.PLATFORM_ADMIN})
"""What reaches across tenants: the series of ``/metrics`` name every tenant and model."""

_READ = frozenset({Scope.MODELS_READ, Scope.JOBS_READ, Scope.USAGE_READ})
_PREDICT = frozenset({Scope.MODELS_READ, Scope.MODELS_PREDICT})
_PUBLISH = _READ | _PREDICT | {Scope.MODELS_WRITE, Scope.VERSIONS_PROMOTE, Scope.JOBS_WRITE}
_ADMINISTER = frozenset(Scope) - OPERATOR_SCOPES

ROLES: Final[dict[str, frozenset[Scope]]] = {
    "viewer": _READ,
    "predictor": _PREDICT,
    "publisher": _PUBLISH,
    "tenant-admin": _ADMINISTER,
    "platform-admin": frozenset(Scope),
}
"""A role is a name for scopes at the moment a key is made; nothing looks it up later."""

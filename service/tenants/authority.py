"""Nobody grants what they do not have: the one rule by which a principal makes, changes or ends keys."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from service.errors import Forbidden
from service.tenants.principal import PLATFORM_TENANT_ID, Principal
from service.tenants.scopes import OPERATOR_SCOPES, Scope
from service.tenants.standing import known_scopes


def reach_of(principal: Principal, tenant_id: str | None) -> str:
    """Return the tenant whose keys are meant: the principal's own, or the one that an operator names.

    :raises Forbidden: it is another tenant's, and the principal is no operator.
    """
    if tenant_id is not None and tenant_id != principal.tenant_id:
        principal.require(Scope.PLATFORM_ADMIN)
    return tenant_id or principal.tenant_id


def require_authority(principal: Principal, columns: Mapping[str, Any], owner: str) -> None:
    """Refuse a key that would reach further, or hold longer, than the principal's own.

    :param columns: the key's scopes, models, allowed_cidrs and expires_at.
    :param owner: the id of the tenant that the key belongs to.
    :raises Forbidden: in its scopes, its models, its networks or its end, or by a scope that only operators hold.
    """
    require_reach(principal, columns)
    own, end = principal.key_expires_at, columns["expires_at"]
    if own is not None and (end is None or end.timestamp() > own):
        raise _escalation("Your own key ends; name an expires_at that is no later.")
    reserved = known_scopes(columns["scopes"]) & OPERATOR_SCOPES
    if reserved and owner != PLATFORM_TENANT_ID:
        raise _escalation(f"Only operators hold {min(reserved)}.")


def require_reach(principal: Principal, columns: Mapping[str, Any]) -> None:
    """Refuse to touch a key that reaches further than the principal does.

    :param columns: the key's scopes, models and allowed_cidrs.
    :raises Forbidden: in its scopes, its models or its networks.
    """
    beyond = known_scopes(columns["scopes"]) - principal.scopes
    if beyond:
        raise _escalation(f"You do not hold the scope {min(beyond)}.")
    models = columns["models"]
    if principal.models is not None and (models is None or not principal.models.issuperset(models)):
        raise _escalation("Your own key is bound to models; name some of those.")
    networks = columns["allowed_cidrs"]
    if principal.networks is not None and (networks is None or not all(_inside(n, principal) for n in networks)):
        raise _escalation("Your own key is bound to networks; name some within those.")


def _inside(cidr: str, principal: Principal) -> bool:
    inner = ip_network(cidr)
    return any(_contains(outer, inner) for outer in principal.networks or ())


def _contains(outer: IPv4Network | IPv6Network, inner: IPv4Network | IPv6Network) -> bool:
    if isinstance(outer, IPv4Network):
        return isinstance(inner, IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and inner.subnet_of(outer)


def _escalation(detail: str) -> Forbidden:
    return Forbidden(
        f"Nobody makes, changes or ends a key that reaches further than their own. {detail}", code="scope_escalation"
    )

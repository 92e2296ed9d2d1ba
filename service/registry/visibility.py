"""What a caller may know of: the one place that decides whether a name exists for it."""

import sqlalchemy as sa
from sqlalchemy import orm

from service.errors import Finding, Invalid, NotFound
from service.ids import is_name
from service.registry.tables import Alias, Model, Version
from service.tenants.principal import Principal


def not_found() -> NotFound:
    """Return the one answer for what is unknown, another tenant's, or out of the credential's reach."""
    return NotFound("No model, version or alias of that name is within reach of this credential.")


def require_reach(principal: Principal, model: str) -> None:
    """Refuse a model that the credential does not reach, as if it did not exist.

    :raises NotFound: the credential is restricted to other models.
    """
    if not principal.reaches(model):
        raise not_found()


def visible_model(session: orm.Session, principal: Principal, name: str) -> Model:
    """Return the model's row.

    :raises NotFound: it does not exist for this caller.
    """
    require_reach(principal, name)
    row = session.get(Model, (principal.tenant_id, name))
    if row is None or row.deleted_at is not None:
        raise not_found()
    return row


def visible_version(session: orm.Session, principal: Principal, model: str, number: int) -> Version:
    """Return the version's row, of whatever status.

    :raises NotFound: it does not exist for this caller.
    """
    visible_model(session, principal, model)
    row = session.get(Version, (principal.tenant_id, model, number))
    if row is None:
        raise not_found()
    return row


def visible_alias(session: orm.Session, principal: Principal, model: str, name: str) -> Alias:
    """Return the alias's row.

    :raises NotFound: it does not exist for this caller.
    """
    visible_model(session, principal, model)
    row = session.get(Alias, (principal.tenant_id, model, name))
    if row is None:
        raise not_found()
    return row


def only_reached(statement: sa.Select[Model], principal: Principal) -> sa.Select[Model]:
    """Narrow a list of models to those that the credential reaches."""
    return statement if principal.models is None else statement.where(Model.name.in_(principal.models))


def require_name(name: str, at: str) -> None:
    """Refuse a name that no model or alias can have.

    :raises Invalid: with the rule.
    """
    if not is_name(name):
        message = (
            "must be 1 to 64 lower-case letters, digits, dots, underscores and dashes, letters or digits at both ends"
        )
        raise Invalid(f"The name {message}.", code="invalid_name", findings=[Finding(at, message)])

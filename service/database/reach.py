"""Whose rows a transaction reaches: one tenant's, or, for the platform, everybody's.

On PostgreSQL the reach becomes a role and a transaction-local setting that row-level
security reads; on every database the session adds ``tenant_id = …`` to each ORM statement
over a tenant-owned table and refuses to write a row of another tenant. A forgotten filter
in a feature therefore finds nothing instead of too much.
"""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import event, orm

from service.database.tables import TenantOwned

PLATFORM: Final = "*"
"""The reach of operators and of authentication: every tenant's rows."""

TENANT_ROLE: Final = "modelward_app"
PLATFORM_ROLE: Final = "modelward_platform"
TENANT_SETTING: Final = "modelward.tenant"


def bound(sessions: "orm.sessionmaker[orm.Session]") -> None:
    """Hold every session that is made to the reach in its ``info``."""
    event.listen(sessions, "after_begin", _enter_reach)
    event.listen(sessions, "do_orm_execute", _only_own_rows)
    event.listen(sessions, "before_flush", _refuse_foreign_rows)


def change_reach(session: orm.Session, reach: str) -> None:
    """Give a session another reach, in the midst of its transaction too."""
    session.info["reach"] = reach
    if session.in_transaction():
        _enter_reach(session, None, session.connection())


def _enter_reach(session: orm.Session, _transaction: object, connection: sa.Connection) -> None:
    """Give the transaction its reach, for itself alone: a pooled connection keeps nothing of it."""
    if connection.dialect.name == "postgresql":
        reach = session.info["reach"]
        role, tenant = (PLATFORM_ROLE, "") if reach == PLATFORM else (TENANT_ROLE, reach)
        connection.execute(
            sa.text("SELECT set_config('role', :role, true), set_config(:setting, :tenant, true)"),
            {"role": role, "setting": TENANT_SETTING, "tenant": tenant},
        )


def _only_own_rows(state: orm.ORMExecuteState) -> None:
    reach = state.session.info.get("reach")
    if reach == PLATFORM or state.is_column_load or state.is_relationship_load:
        return
    if reach is None:
        raise RuntimeError("a session was used before it had a reach")
    state.statement = state.statement.options(
        orm.with_loader_criteria(
            TenantOwned,
            lambda table: table.tenant_id == reach,
            include_aliases=True,
        )
    )


def _refuse_foreign_rows(session: orm.Session, _context: object, _instances: object) -> None:
    reach = session.info.get("reach")
    if reach == PLATFORM:
        return
    for row in (*session.new, *session.dirty, *session.deleted):
        if isinstance(row, TenantOwned) and row.tenant_id != reach:
            raise RuntimeError("a row of another tenant was about to be written")

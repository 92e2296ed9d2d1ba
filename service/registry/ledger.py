"""The append-only ledger of what each alias named, and when. Whoever appends to it holds the tenant's lock."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy import orm

from service.database import now
from service.paging import Page, paginate
from service.registry.tables import AliasMove
from service.tenants.principal import Principal

ROLLED_BACK: Final = "rolled back"

_FIRST: Final = 1
_BEFORE_THE_PRESENT: Final = 2
_MOVES_AT_ONCE: Final = 50


def exists(session: orm.Session, principal: Principal, model: str, alias: str) -> bool:
    """Whether there ever was such an alias."""
    return session.get(AliasMove, (principal.tenant_id, model, alias, _FIRST)) is not None


def page(
    session: orm.Session, model: str, alias: str, *, as_of: datetime | None, limit: int, cursor: str | None
) -> Page[AliasMove]:
    """Return a page of an alias's moves, the newest first, without those after ``as_of``."""
    statement = sa.select(AliasMove).where(AliasMove.model == model, AliasMove.alias == alias)
    if as_of is not None:
        statement = statement.where(AliasMove.at <= as_of)
    return paginate(session, statement, [AliasMove.sequence], limit=limit, cursor=cursor, descending=True)


def append(
    session: orm.Session,
    principal: Principal,
    model: str,
    alias: str,
    before: int | None,
    after: int | None,
    action: str,
    reason: str,
) -> AliasMove:
    """Write that an alias names another version, ``None`` being none."""
    newest = session.scalar(
        sa.select(AliasMove)
        .where(AliasMove.model == model, AliasMove.alias == alias)
        .order_by(AliasMove.sequence.desc())
        .limit(1)
    )
    line = AliasMove(
        tenant_id=principal.tenant_id,
        model=model,
        alias=alias,
        sequence=newest.sequence + 1 if newest else _FIRST,
        from_version=before,
        to_version=after,
        action=action,
        reason=reason,
        actor=principal.subject,
        # Servers' clocks differ; the ledger's moments never go back all the same.
        at=max(now(), newest.at) if newest else now(),
    )
    session.add(line)
    session.flush()
    return line


def way_back(session: orm.Session, principal: Principal, model: str, alias: str) -> int | None:
    """Return the version that a rollback leads to, ``None`` where it leads nowhere.

    Each move lays a version upon those before, a rollback takes one off, and a removal
    takes them all. Read from the newest move on, so that a ledger of years costs no more
    than what was moved lately: a rollback there takes back the next move that still stands.
    """
    taken_back = standing = 0
    for action, version in _newest_first(session, principal, model, alias):
        if version is None:
            return None
        if action == ROLLED_BACK:
            taken_back += 1
        elif taken_back:
            taken_back -= 1
        else:
            standing += 1
            if standing == _BEFORE_THE_PRESENT:
                return version
    return None


def _newest_first(
    session: orm.Session, principal: Principal, model: str, alias: str
) -> Iterator[tuple[str, int | None]]:
    """Yield action and target of each move, fetched by the page."""
    own = (AliasMove.tenant_id == principal.tenant_id, AliasMove.model == model, AliasMove.alias == alias)
    page = sa.select(AliasMove.action, AliasMove.to_version, AliasMove.sequence).where(*own)
    page = page.order_by(AliasMove.sequence.desc()).limit(_MOVES_AT_ONCE)
    moves = session.execute(page).all()
    while moves:
        yield from ((action, version) for action, version, _ in moves)
        moves = session.execute(page.where(AliasMove.sequence < moves[-1].sequence)).all()

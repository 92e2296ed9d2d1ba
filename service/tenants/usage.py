"""What each tenant used: rows taken from the daily quota, and counted by model for the report.

A warm call touches no SQL: counts gather in memory, and a thread writes them.
"""

import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Final

import sqlalchemy as sa
from redis import Redis

from service.database import PLATFORM, Database, insert
from service.errors import QuotaExceeded, Unavailable
from service.paging import Page, paginate
from service.tenants.background import Background
from service.tenants.principal import Principal
from service.tenants.quota import DAY_SECONDS, RowQuota, day_number
from service.tenants.tables import Tenant, UsageCounter

FLUSH_SECONDS: Final = 5

_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()

logger = logging.getLogger(__name__)

Counts = dict[tuple[str, int, str], tuple[int, int]]
"""By tenant id, day number and model: requests and rows."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What a tenant used of one model in a day (UTC, ``YYYY-MM-DD``)."""

    day: str
    model: str
    requests: int
    rows: int


@dataclass(frozen=True, slots=True)
class TenantUsage:
    """What one tenant used of all its models in a span of days."""

    tenant: str
    requests: int
    rows: int


class Usage:
    """Counts rows, refuses those over the quota, and reports.

    :param redis: shared counts for the quota, with short time limits; ``None`` counts in this process alone.
    :param workers: processes of this server.
    """

    def __init__(self, database: Database, redis: Redis | None = None, *, workers: int = 1) -> None:
        self._database = database
        self._quota = RowQuota(redis, self._recorded, workers=workers)
        self._unwritten: Counts = {}
        self._writing: Counts = {}
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._flusher = Background("usage", FLUSH_SECONDS, self.flush)

    def charge(self, principal: Principal, model: str, rows: int, *, requests: int = 1) -> int:
        """Count rows that are about to be predicted, and return the number of the day that they count on.

        :param requests: how many requests they count as; none, where they are further rows of one.
        :raises QuotaExceeded: today's rows would be more than the plan's; nothing is counted then.
        """
        limit = principal.plan.rows_per_day
        if not self._quota.take(principal.tenant_id, rows, limit):
            raise QuotaExceeded(
                f"The plan {principal.plan.slug} has {limit} rows a day; they count again from midnight UTC.",
                code="rows_quota_exceeded",
                retry_after=_seconds_to_midnight(),
            )
        day = day_number()
        with self._lock:
            _add(self._unwritten, (principal.tenant_id, day, model), requests, rows)
        return day

    def refund(self, principal: Principal, model: str, rows: int, day: int, *, requests: int = 1) -> None:
        """Take back what ``charge`` counted on ``day``, because nothing was predicted."""
        self._quota.give_back(principal.tenant_id, rows, day)
        with self._lock:
            _add(self._unwritten, (principal.tenant_id, day, model), -requests, -rows)

    def rows_today(self, principal: Principal) -> int:
        """Return the rows that the tenant had predicted since midnight UTC, as far as this process can tell."""
        return self._quota.used(principal.tenant_id)

    def report(
        self,
        tenant_id: str,
        since: date,
        until: date,
        *,
        models: Collection[str] | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[UsageRow]:
        """Return a page of what the tenant used from ``since`` to ``until``, both days among it, by day and model.

        :param models: the only models that are reported; ``None`` reports all.
        :raises Malformed: the cursor is not one that this list gave out.
        """
        self.flush()
        statement = sa.select(UsageCounter).where(_within(since, until))
        if models is not None:
            statement = statement.where(UsageCounter.model.in_(models))
        order = [UsageCounter.day, UsageCounter.model]
        with self._database.read(tenant_id) as session:
            page = paginate(session, statement, order, limit=limit, cursor=cursor)
        return Page([UsageRow(row.day, row.model, row.requests, row.rows) for row in page.data], page.next_cursor)

    def report_all(self, since: date, until: date, *, limit: int = 50, cursor: str | None = None) -> Page[TenantUsage]:
        """Return a page of what each tenant used in those days, by slug; one that used nothing is not there.

        :raises Malformed: the cursor is not one that this list gave out.
        """
        self.flush()
        within = _within(since, until)
        used = sa.select(Tenant).where(sa.exists().where(UsageCounter.tenant_id == Tenant.id, within).correlate(Tenant))
        with self._database.read(PLATFORM) as session:
            page = paginate(session, used, [Tenant.slug], limit=limit, cursor=cursor)
            sums = (
                sa.select(UsageCounter.tenant_id, sa.func.sum(UsageCounter.requests), sa.func.sum(UsageCounter.rows))
                .where(UsageCounter.tenant_id.in_([tenant.id for tenant in page.data]), within)
                .group_by(UsageCounter.tenant_id)
            )
            counts = {tenant_id: (int(requests), int(rows)) for tenant_id, requests, rows in session.execute(sums)}
        return Page([TenantUsage(tenant.slug, *counts[tenant.id]) for tenant in page.data], page.next_cursor)

    def flush(self) -> None:
        """Write the counts that are still in memory; they stay there when that fails.

        :raises Unavailable: the database does not answer.
        """
        with self._flushing:
            with self._lock:
                batch, self._unwritten = self._unwritten, {}
                self._writing = batch
            try:
                self._write(batch)
            except BaseException:
                with self._lock:
                    for key, (requests, rows) in batch.items():
                        _add(self._unwritten, key, requests, rows)
                raise
            finally:
                with self._lock:
                    self._writing = {}

    def start(self) -> None:
        """Start writing in the background."""
        self._flusher.start()
        self._quota.start()

    def close(self) -> None:
        """Write what is left, and stop."""
        self._flusher.close()
        self._quota.close()
        try:
            self.flush()
        except Unavailable:
            logger.warning("The last counts of usage could not be written")

    def _write(self, batch: Counts) -> None:
        if not batch:
            return
        with self._database.write(PLATFORM) as session:
            # Tenants deleted since are left out, and the others stay until this is committed.
            ids = {tenant_id for tenant_id, _, _ in batch}
            living = sa.select(Tenant.id).where(Tenant.id.in_(ids)).with_for_update(read=True, key_share=True)
            present = set(session.scalars(living))
            # In order, because two workers that lock the same rows in different orders wait for each other.
            rows = [
                {"tenant_id": tenant_id, "day": _iso(day), "model": model, "requests": requests, "rows": rows}
                for (tenant_id, day, model), (requests, rows) in sorted(batch.items())
                if tenant_id in present
            ]
            if rows:
                add = insert(session, UsageCounter)
                sums = {name: UsageCounter.__table__.c[name] + add.excluded[name] for name in ("requests", "rows")}
                session.execute(
                    add.on_conflict_do_update(index_elements=["tenant_id", "day", "model"], set_=sums), rows
                )

    def _recorded(self, tenant_id: str, day: int) -> tuple[int, int]:
        """Return the tenant's rows of a day that are on record, and those that this process has yet to write."""
        with self._lock:
            idle = not _rows_of(self._unwritten, tenant_id, day) and not _rows_of(self._writing, tenant_id, day)
        if idle:
            # The first call of a tenant waits for its own look into the record, and for nobody else's.
            return self._written(tenant_id, day), 0
        # While a batch is being written its rows are in neither place, or in both.
        with self._flushing:
            written = self._written(tenant_id, day)
            with self._lock:
                return written, _rows_of(self._unwritten, tenant_id, day)

    def _written(self, tenant_id: str, day: int) -> int:
        statement = sa.select(sa.func.sum(UsageCounter.rows)).where(UsageCounter.day == _iso(day))
        try:
            with self._database.read(tenant_id) as session:
                return int(session.scalar(statement) or 0)
        except Unavailable:
            # A tenant is served while the database is away, on what else is known.
            return 0


def _rows_of(counts: Counts, tenant_id: str, day: int) -> int:
    return sum(rows for (owner, when, _), (_, rows) in counts.items() if (owner, when) == (tenant_id, day))


def _add(counts: Counts, key: tuple[str, int, str], requests: int, rows: int) -> None:
    present = counts.get(key, (0, 0))
    counts[key] = (present[0] + requests, present[1] + rows)


def _within(since: date, until: date) -> sa.ColumnElement[bool]:
    return UsageCounter.day.between(since.isoformat(), until.isoformat())


def _iso(day: int) -> str:
    return date.fromordinal(_EPOCH_ORDINAL + day).isoformat()


def _seconds_to_midnight() -> float:
    return DAY_SECONDS - time.time() % DAY_SECONDS

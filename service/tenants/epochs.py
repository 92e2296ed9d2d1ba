"""Small copies of SQL rows in memory, and how every worker learns that they changed.

Each tenant has an epoch, a number that grows inside the transaction of every change
that matters to a warm worker. One thread per worker looks at the epochs of the tenants
it has copies of; a copy holds only while its tenant's epoch is the one it was read at.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import orm

from service.database import PLATFORM, Database, after_commit
from service.errors import Unauthenticated
from service.tenants.background import Background
from service.tenants.principal import PLATFORM_TENANT_ID
from service.tenants.tables import Tenant

_IDS_PER_LOOK: Final = 1000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class _Watched:
    """An epoch, and the moments (monotonic seconds) at which it was last seen and last used."""

    epoch: int
    seen: float
    used: float


class Epochs:
    """What this process knows of every watched tenant's epoch.

    :param interval: seconds between two looks.
    :param stale_seconds: seconds for which a known epoch is believed while looks fail.
    :param unused_seconds: seconds after which a tenant that nobody asks about is no longer watched.
    """

    def __init__(
        self, database: Database, interval: float, stale_seconds: float, *, unused_seconds: float = 600
    ) -> None:
        self._database = database
        self._stale_seconds = stale_seconds
        self._unused_seconds = unused_seconds
        self._watched: dict[str, _Watched] = {}
        self._lock = threading.Lock()
        self._thread = Background("epochs", interval, self.refresh)
        self.healthy = True
        """Whether the last look succeeded."""

    def known(self, tenant_id: str) -> int | None:
        """Return the tenant's epoch, or ``None`` where it is not watched or known for too long."""
        watched = self._watched.get(tenant_id)
        if watched is None:
            return None
        watched.used = moment = time.monotonic()
        return watched.epoch if moment - watched.seen <= self._stale_seconds else None

    def watch(self, tenant_id: str, epoch: int) -> None:
        """Watch a tenant, whose epoch was just read."""
        self._learn([(tenant_id, epoch)], time.monotonic(), used=True)

    def forget(self, tenant_id: str) -> None:
        """Drop a tenant and with it every copy of its rows."""
        with self._lock:
            self._watched.pop(tenant_id, None)

    @staticmethod
    def read(session: orm.Session, tenant_id: str) -> int:
        """Return the epoch as the transaction sees it, 0 for an unknown tenant.

        Call it before the statements that read what is to be copied: PostgreSQL shows each
        statement the newest rows, so an epoch read after them could be newer than they are.
        """
        return session.scalar(sa.select(Tenant.epoch).where(Tenant.id == tenant_id)) or 0

    def bump(self, session: orm.Session, tenant_id: str) -> None:
        """Have every worker drop its copies of the tenant's rows once the transaction is committed.

        The row stays locked until then, so bumps of one tenant follow each other.

        :raises Unauthenticated: the tenant was deleted, which this worker has yet to hear of.
        """
        if not self._bump(session, Tenant.id == tenant_id):
            raise tenant_gone()

    def bump_plan(self, session: orm.Session, plan: str) -> None:
        """Bump every tenant on the plan."""
        self._bump(session, Tenant.plan == plan)

    def _bump(self, session: orm.Session, which: sa.ColumnElement[bool]) -> int:
        statement = sa.update(Tenant).where(which).values(epoch=Tenant.epoch + 1).returning(Tenant.id, Tenant.epoch)
        bumped = [
            (tenant_id, epoch)
            for tenant_id, epoch in session.execute(statement, execution_options={"synchronize_session": False})
        ]
        after_commit(session, lambda: self._learn(bumped, time.monotonic(), used=True))
        return len(bumped)

    def refresh(self) -> None:
        """Look once at the epochs of the watched tenants.

        :raises Unavailable: the database does not answer.
        """
        begun = time.monotonic()
        with self._lock:
            for tenant_id in [key for key, entry in self._watched.items() if begun - entry.used > self._unused_seconds]:
                del self._watched[tenant_id]
            ids = list({*self._watched, PLATFORM_TENANT_ID})
        try:
            found = self._look(ids)
        except Exception:
            self.healthy = False
            raise
        self._learn(found.items(), begun, used=False)
        for tenant_id in set(ids) - found.keys():
            self.forget(tenant_id)
        self.healthy = True

    def _look(self, ids: list[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        with self._database.read(PLATFORM) as session:
            for start in range(0, len(ids), _IDS_PER_LOOK):
                some = ids[start : start + _IDS_PER_LOOK]
                rows = session.execute(sa.select(Tenant.id, Tenant.epoch).where(Tenant.id.in_(some)))
                found.update((tenant_id, epoch) for tenant_id, epoch in rows)
        return found

    def _learn(self, found: Iterable[tuple[str, int]], seen: float, *, used: bool) -> None:
        with self._lock:
            for tenant_id, epoch in found:
                watched = self._watched.get(tenant_id)
                if watched is None:
                    self._watched[tenant_id] = _Watched(epoch, seen, time.monotonic())
                    continue
                # A look that began before a change may end after it: an epoch never goes back.
                watched.epoch = max(watched.epoch, epoch)
                watched.seen = max(watched.seen, seen)
                watched.used = time.monotonic() if used else watched.used

    def start(self) -> None:
        """Start looking in the background."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._thread.close()


def tenant_gone() -> Unauthenticated:
    """Return the answer to a credential whose tenant was deleted: the same as that of every other worker."""
    return Unauthenticated("The API key is not valid.", code="invalid_api_key")


class Snapshots(Generic[K, V]):
    """Values read from SQL, each held while its tenant's epoch stays what it was when it was read.

    :param capacity: values kept; the least recently used one goes first.
    """

    def __init__(self, epochs: Epochs, capacity: int) -> None:
        self._epochs = epochs
        self._capacity = capacity
        self._entries: OrderedDict[K, tuple[V, str, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """Return the value, or ``None`` where there is none that still holds."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, tenant_id, epoch = entry
        if self._epochs.known(tenant_id) != epoch:
            with self._lock:
                self._entries.pop(key, None)
            return None
        # While there is room enough, it does not matter which was used last.
        if len(self._entries) * 2 > self._capacity:
            with self._lock:
                if key in self._entries:
                    self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V, tenant_id: str, epoch: int) -> None:
        """Keep a value.

        :param epoch: the tenant's epoch, read in the value's own transaction and not after it.
        """
        self._epochs.watch(tenant_id, epoch)
        with self._lock:
            self._entries[key] = (value, tenant_id, epoch)
            self._entries.move_to_end(key)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)

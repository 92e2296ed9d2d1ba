"""Idempotency keys: a repeated request gets the first one's response, and its work is done once.

A request claims its key before it works, in a transaction of its own, so that others see
it under way. What it does and the response that it gives are committed together; a
request that fails leaves no claim. One whose process died holds its claim until the
lease ends, and whoever takes over then is the only one that can still commit.
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy import orm

from service.database import Database, insert, now
from service.errors import Conflict, Invalid, Malformed, Unavailable
from service.ids import new_id
from service.tenants.tables import IdempotencyRecord
from service.tenants.vault import Vault

KEPT_SECONDS: Final = 24 * 3600
KEY: Final = r"^[\x21-\x7e]{1,255}$"
RETRY_SECONDS: Final = 1

_PURPOSE: Final = "idempotency"

logger = logging.getLogger(__name__)

Finish = Callable[[bytes], None]
"""Stores the response of an execution, in the transaction of its work."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do the work of a key, and nobody else has it while the lease lasts."""

    tenant_id: str
    key: str
    lease: str


@dataclass(frozen=True, slots=True)
class Replay:
    """The work was done before; ``response`` is what ``finish`` was given then."""

    response: bytes


class Idempotency:
    """Claims keys and keeps responses, sealed, for a day.

    :param lease_seconds: how long a claim holds when its process died; longer than the longest request.
    """

    def __init__(self, database: Database, vault: Vault, *, lease_seconds: float = 120) -> None:
        self._database = database
        self._vault = vault
        self._lease = timedelta(seconds=lease_seconds)

    def claim(self, tenant_id: str, key: str, fingerprint: bytes) -> Claim | Replay:
        """Claim a key, or find the response that was given to it.

        :param key: the caller's, 1 to 255 visible ASCII characters.
        :param fingerprint: a digest of everything that makes it the same request: who asks,
            the method, the address and the body.
        :raises Malformed: the key is no such text.
        :raises Invalid: the key was used for another request.
        :raises Conflict: the first request is still under way.
        """
        if not re.fullmatch(KEY, key):
            raise Malformed("Idempotency-Key takes 1 to 255 visible ASCII characters.", code="invalid_idempotency_key")
        claim = Claim(tenant_id, key, new_id("lse"))
        with self._database.write(tenant_id, independent=True) as session:
            record = self._insert(session, claim, fingerprint)
            if record is None:
                return claim
            return self._look(record, claim, fingerprint)

    @contextmanager
    def execution(self, claim: Claim) -> Iterator[Finish]:
        """Do the work of a claim: every transaction inside the block is one, with the response.

        ``finish(response)`` stores the response; without it, or with an exception, the
        claim is given up, so that the request can be sent again.

        :raises Conflict: the lease ended meanwhile and another request took over; nothing is committed.
        """
        finished = False
        try:
            with self._database.joined(claim.tenant_id) as session:

                def finish(response: bytes) -> None:
                    nonlocal finished
                    self._store(session, claim, response)
                    finished = True

                yield finish
        except BaseException:
            self._release(claim)
            raise
        if not finished:
            self._release(claim)

    def _insert(self, session: orm.Session, claim: Claim, fingerprint: bytes) -> IdempotencyRecord | None:
        """Insert the claim, or return the record that stands in its way."""
        moment = now()
        values = {
            "tenant_id": claim.tenant_id,
            "key": claim.key,
            "fingerprint": fingerprint,
            "lease": claim.lease,
            "leased_until": moment + self._lease,
            "expires_at": moment + timedelta(seconds=KEPT_SECONDS),
        }
        add = insert(session, IdempotencyRecord).values(values).on_conflict_do_nothing()
        standing = sa.select(IdempotencyRecord).where(IdempotencyRecord.key == claim.key).with_for_update()
        while session.scalar(add.returning(IdempotencyRecord.__table__.c.lease)) is None:
            record = session.scalar(standing)
            # It may have been given up between the two statements.
            if record is not None:
                return record
        return None

    def _look(self, record: IdempotencyRecord, claim: Claim, fingerprint: bytes) -> Claim | Replay:
        moment = now()
        if record.expires_at <= moment:
            return self._take_over(record, claim, fingerprint, moment)
        if record.fingerprint != fingerprint:
            raise Invalid("This idempotency key was used for another request.", code="idempotency_key_reused")
        if record.sealed_response is not None:
            return Replay(self._vault.open(_PURPOSE, record.sealed_response, _bound_to(claim)))
        if record.leased_until > moment:
            raise Conflict(
                "The first request with this idempotency key is still under way.",
                code="idempotency_in_flight",
                retry_after=RETRY_SECONDS,
            )
        return self._take_over(record, claim, fingerprint, moment)

    def _take_over(self, record: IdempotencyRecord, claim: Claim, fingerprint: bytes, moment: datetime) -> Claim:
        record.lease, record.leased_until = claim.lease, moment + self._lease
        record.fingerprint, record.sealed_response = fingerprint, None
        record.expires_at = moment + timedelta(seconds=KEPT_SECONDS)
        return claim

    def _store(self, session: orm.Session, claim: Claim, response: bytes) -> None:
        keep = (
            sa.update(IdempotencyRecord)
            .where(IdempotencyRecord.key == claim.key, IdempotencyRecord.lease == claim.lease)
            .values(sealed_response=self._vault.seal(_PURPOSE, response, _bound_to(claim)))
            .returning(IdempotencyRecord.key)
        )
        if session.scalar(keep, execution_options={"synchronize_session": False}) is None:
            raise Conflict("Another request with this idempotency key took over.", code="idempotency_lease_lost")

    def _release(self, claim: Claim) -> None:
        # A response that is stored after all, by a commit whose answer was lost, stays.
        give_up = sa.delete(IdempotencyRecord).where(
            IdempotencyRecord.key == claim.key,
            IdempotencyRecord.lease == claim.lease,
            IdempotencyRecord.sealed_response.is_(None),
        )
        try:
            with self._database.write(claim.tenant_id, independent=True) as session:
                session.execute(give_up)
        except Unavailable:
            logger.warning("An idempotency key stays claimed until its lease ends")


def _bound_to(claim: Claim) -> bytes:
    return f"{claim.tenant_id}/{claim.key}".encode()

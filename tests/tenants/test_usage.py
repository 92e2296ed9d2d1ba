import threading
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import redis as redis_client
import sqlalchemy as sa
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.bootstrap import REDIS_TIMEOUT_SECONDS
from service.database import PLATFORM
from service.errors import QuotaExceeded
from service.tenants.principal import Principal
from service.tenants.tables import UsageCounter
from service.tenants.usage import TenantUsage, Usage, UsageRow
from tests.servers.redis import StoppableRedis
from tests.servers.subprocesses import wait_until
from tests.tenants.workers import OPERATOR, Statements, Worker


def connect_redis(url: str) -> redis_client.Redis:
    """Return a client that gives up at once, as that of the service does."""
    return redis_client.Redis.from_url(url, socket_timeout=0.2, socket_connect_timeout=0.2, retry=Retry(NoBackoff(), 0))


TODAY = datetime.now(UTC).date()


def limited(worker: Worker, rows: int | None, slug: str = "acme") -> Principal:
    principal = worker.principal(slug)
    return replace(principal, plan=replace(principal.plan, rows_per_day=rows))


def refused(usage: Usage, principal: Principal, rows: int) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as error:
        usage.charge(principal, "iris", rows)
    return error.value


def used(worker: Worker) -> int:
    with worker.database.read(PLATFORM) as session:
        return int(session.scalar(sa.select(sa.func.sum(UsageCounter.rows))) or 0)


def test_rows_are_counted_by_model_and_day(worker: Worker) -> None:
    usage, acme = Usage(worker.database), worker.principal()
    for model, rows in (("iris", 3), ("wine", 1), ("iris", 4)):
        usage.charge(acme, model, rows)
    today = datetime.now(UTC).date()
    assert usage.report(acme.tenant_id, today, today).data == [
        UsageRow(today.isoformat(), "iris", 2, 7),
        UsageRow(today.isoformat(), "wine", 1, 1),
    ]
    assert usage.report(acme.tenant_id, date(2020, 1, 1), date(2020, 12, 31)).data == []


def test_a_report_is_the_tenants_own_and_operators_see_all(worker: Worker) -> None:
    usage = Usage(worker.database)
    acme, other = worker.principal(), worker.principal("other")
    usage.charge(acme, "iris", 3)
    usage.charge(other, "iris", 4)
    usage.charge(other, "wine", 5)
    span = (TODAY - timedelta(days=1), TODAY + timedelta(days=1))
    assert [row.rows for row in usage.report(acme.tenant_id, *span).data] == [3]
    assert usage.report_all(*span).data == [TenantUsage("acme", 1, 3), TenantUsage("other", 2, 9)]


def test_reports_come_by_the_page_and_of_the_models_that_are_asked_for(worker: Worker) -> None:
    usage = Usage(worker.database)
    acme, other = worker.principal(), worker.principal("other")
    for model in ("iris", "wine", "digits"):
        usage.charge(acme, model, 1)
    usage.charge(other, "iris", 1)
    span = (TODAY - timedelta(days=1), TODAY + timedelta(days=1))
    first = usage.report(acme.tenant_id, *span, limit=2)
    rest = usage.report(acme.tenant_id, *span, limit=2, cursor=first.next_cursor)
    assert [row.model for row in first.data + rest.data] == ["digits", "iris", "wine"]
    assert rest.next_cursor is None
    assert [row.model for row in usage.report(acme.tenant_id, *span, models=["wine", "none"]).data] == ["wine"]
    one = usage.report_all(*span, limit=1)
    assert [each.tenant for each in one.data] == ["acme"]
    assert [each.tenant for each in usage.report_all(*span, limit=1, cursor=one.next_cursor).data] == ["other"]


def test_a_warm_charge_costs_no_statement(worker: Worker, statements: Statements) -> None:
    usage, acme = Usage(worker.database), worker.principal()
    usage.charge(acme, "iris", 1)
    assert statements.during(lambda: usage.charge(acme, "iris", 1)) == 0
    assert usage.rows_today(acme) == 2


def test_rows_given_back_can_be_used_again_and_are_not_reported(worker: Worker) -> None:
    usage, acme = Usage(worker.database), limited(worker, 10)
    usage.charge(acme, "iris", 2)
    day = usage.charge(acme, "iris", 8)
    usage.flush()
    usage.refund(acme, "iris", 8, day)
    assert usage.rows_today(acme) == 2
    assert used(worker) == 10
    assert [(row.requests, row.rows) for row in usage.report(acme.tenant_id, TODAY, TODAY).data] == [(1, 2)]
    usage.charge(acme, "iris", 8)
    refused(usage, acme, 1)


def test_a_call_over_the_quota_is_refused_and_not_counted(worker: Worker) -> None:
    usage, acme = Usage(worker.database), limited(worker, 10)
    usage.charge(acme, "iris", 8)
    error = refused(usage, acme, 3)
    assert error.reason == "rows_quota_exceeded"
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 24 * 3600
    usage.charge(acme, "iris", 2)
    refused(usage, acme, 1)
    assert usage.rows_today(acme) == 10


def test_a_plan_without_a_quota_is_counted_only(worker: Worker) -> None:
    usage, acme = Usage(worker.database), limited(worker, None)
    usage.charge(acme, "iris", 1 << 40)
    assert usage.rows_today(acme) == 1 << 40
    usage.flush()
    assert used(worker) == 1 << 40


def test_a_new_process_goes_on_from_what_is_on_record(worker: Worker) -> None:
    acme = limited(worker, 10)
    first = Usage(worker.database)
    first.charge(acme, "iris", 6)
    first.close()
    second = Usage(worker.database)
    refused(second, acme, 5)
    second.charge(acme, "wine", 4)
    assert second.rows_today(acme) == 10


def test_rows_of_other_days_do_not_count(worker: Worker) -> None:
    acme = limited(worker, 10)
    with worker.database.write(acme.tenant_id) as session:
        session.add(UsageCounter(tenant_id=acme.tenant_id, day="2020-02-29", model="iris", requests=1, rows=10))
    Usage(worker.database).charge(acme, "iris", 10)


def test_threads_that_charge_at_once_count_exactly(worker: Worker) -> None:
    usage, acme = Usage(worker.database), limited(worker, 300)
    outcomes: list[bool] = []

    def run() -> None:
        for _ in range(100):
            try:
                usage.charge(acme, "iris", 1)
            except QuotaExceeded:
                outcomes.append(False)
            else:
                outcomes.append(True)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    usage.flush()
    for thread in threads:
        thread.join()
    usage.flush()
    assert (outcomes.count(True), outcomes.count(False)) == (300, 100)
    assert usage.rows_today(acme) == used(worker) == 300


def test_processes_that_flush_at_once_lose_nothing(worker: Worker) -> None:
    tenants = [worker.principal(f"tenant-{number}") for number in range(3)]
    processes = [Usage(worker.database) for _ in range(3)]

    def run(usage: Usage) -> None:
        for number in range(10):
            for tenant in tenants[::-1] if number % 2 else tenants:
                usage.charge(tenant, "iris", 1)
            usage.flush()

    threads = [threading.Thread(target=run, args=(usage,)) for usage in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert used(worker) == 90


def test_the_thread_writes_and_close_writes_the_rest(worker: Worker) -> None:
    usage, acme = Usage(worker.database), worker.principal()
    usage.start()
    usage.charge(acme, "iris", 3)
    usage.close()
    assert used(worker) == 3


def test_a_charge_after_the_tenants_end_is_not_written(worker: Worker) -> None:
    usage, acme = Usage(worker.database), worker.principal()
    usage.charge(acme, "iris", 3)
    worker.tenants.delete(OPERATOR, "acme")
    usage.flush()
    assert used(worker) == 0


class TestOverRedis:
    """Several processes share the count of the day."""

    def test_processes_share_the_quota_exactly(self, worker: Worker, redis_url: str) -> None:
        acme = limited(worker, 100)
        processes = [Usage(worker.database, connect_redis(redis_url)) for _ in range(2)]
        outcomes: list[bool] = []

        def run(usage: Usage) -> None:
            for _ in range(40):
                try:
                    usage.charge(acme, "iris", 2)
                except QuotaExceeded:
                    outcomes.append(False)
                else:
                    outcomes.append(True)

        threads = [threading.Thread(target=run, args=(usage,)) for usage in processes * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes.count(True) == 50
        assert [usage.rows_today(acme) for usage in processes] == [100, 100]

    def test_a_charge_is_one_round_trip_and_no_statement(
        self, worker: Worker, redis_url: str, statements: Statements
    ) -> None:
        client = connect_redis(redis_url)
        usage, acme = Usage(worker.database, client), limited(worker, 100)
        usage.charge(acme, "iris", 1)
        usage.charge(acme, "iris", 1)

        def commands() -> int:
            stats: Any = client.info("commandstats")
            return int(stats["cmdstat_evalsha"]["calls"])

        before = commands()
        assert statements.during(lambda: usage.charge(acme, "iris", 1)) == 0
        assert commands() - before == 1

    def test_a_lost_count_begins_again_from_the_record(self, worker: Worker, redis_url: str) -> None:
        client = connect_redis(redis_url)
        first, second = Usage(worker.database, client), Usage(worker.database, client)
        acme = limited(worker, 10)
        first.charge(acme, "iris", 6)
        first.flush()
        client.flushdb()
        refused(second, acme, 5)
        second.charge(acme, "iris", 4)
        refused(first, acme, 1)

    def test_a_stopped_redis_leaves_each_process_with_the_last_count(
        self, worker: Worker, stoppable_redis: StoppableRedis
    ) -> None:
        usage = Usage(worker.database, connect_redis(stoppable_redis.url))
        acme = limited(worker, 10)
        usage.charge(acme, "iris", 6)
        stoppable_redis.kill()
        usage.charge(acme, "iris", 3)
        refused(usage, acme, 2)
        assert usage.rows_today(acme) == 9
        begun = time.monotonic()
        for _ in range(100):
            refused(usage, acme, 2)
        assert time.monotonic() - begun < 100 * REDIS_TIMEOUT_SECONDS

    def test_what_redis_missed_is_added_when_it_is_back(self, worker: Worker, stoppable_redis: StoppableRedis) -> None:
        client = connect_redis(stoppable_redis.url)
        usage = Usage(worker.database, client)
        acme = limited(worker, 100)
        usage.charge(acme, "iris", 6)
        stoppable_redis.kill()
        usage.charge(acme, "iris", 3)
        stoppable_redis.start()
        usage.start()
        wait_until(lambda: usage.rows_today(acme) == 9 and _shared(client) in {0, 9}, "the counts agree")
        wait_until(lambda: _charged_shared(usage, acme, client), "Redis is used again")
        usage.close()
        assert _shared(client) == usage.rows_today(acme)

    def test_who_only_reads_notices_that_redis_is_away(self, worker: Worker, stoppable_redis: StoppableRedis) -> None:
        usage = Usage(worker.database, connect_redis(stoppable_redis.url))
        acme = limited(worker, 10)
        usage.charge(acme, "iris", 6)
        stoppable_redis.kill()
        assert usage.rows_today(acme) == 6
        usage.charge(acme, "iris", 4)
        refused(usage, acme, 1)

    def test_a_redis_that_was_never_there_is_no_obstacle(self, worker: Worker) -> None:
        usage = Usage(worker.database, connect_redis("redis://127.0.0.1:1/0"))
        acme = limited(worker, 2)
        assert usage.rows_today(acme) == 0
        usage.charge(acme, "iris", 2)
        refused(usage, acme, 1)


def _shared(client: redis_client.Redis) -> int:
    try:
        counts: Any = [client.hget(key, "rows") for key in client.scan_iter("modelward:rows:*")]
        return sum(int(count or 0) for count in counts)
    except redis_client.RedisError:
        return 0


def _charged_shared(usage: Usage, principal: Principal, client: redis_client.Redis) -> bool:
    usage.charge(principal, "iris", 1)
    return _shared(client) > 0

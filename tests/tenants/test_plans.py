from dataclasses import replace

import pytest

from service.errors import Conflict, Invalid, NotFound, PreconditionFailed
from service.tenants.plans import PlanSpec
from service.tenants.principal import PLATFORM_TENANT_ID
from tests.tenants.workers import OPERATOR, Worker

SPEC = PlanSpec("gold", "Gold", 500, 1 << 40, 1 << 25, 64, rows_per_day=1_000_000)


def test_the_first_migration_brings_three_plans(worker: Worker) -> None:
    assert [plan.slug for plan in worker.plans.list().data] == ["free", "standard", "unlimited"]
    first = worker.plans.list(limit=2)
    assert [plan.slug for plan in first.data] == ["free", "standard"]
    assert [plan.slug for plan in worker.plans.list(cursor=first.next_cursor).data] == ["unlimited"]
    assert worker.plans.get("free").key_requests_per_minute == 60
    assert worker.plans.get("unlimited").rows_per_day is None


def test_a_plan_is_made_as_it_was_specified(worker: Worker) -> None:
    plan = worker.plans.create(OPERATOR, SPEC)
    assert plan == worker.plans.get("gold")
    assert (plan.max_models, plan.rows_per_day, plan.key_requests_per_minute, plan.revision) == (
        500,
        1_000_000,
        None,
        1,
    )


def test_a_taken_slug_is_a_conflict(worker: Worker) -> None:
    with pytest.raises(Conflict) as refused:
        worker.plans.create(OPERATOR, replace(SPEC, slug="free"))
    assert refused.value.reason == "plan_exists"


def test_wrong_fields_are_all_named(worker: Worker) -> None:
    wrong = replace(SPEC, slug="Gold!", name=" ", max_models=0, rows_per_day=-1, max_bytes=1 << 62)
    with pytest.raises(Invalid) as refused:
        worker.plans.create(OPERATOR, wrong)
    assert {finding.at for finding in refused.value.findings} == {
        "slug",
        "name",
        "max_models",
        "rows_per_day",
        "max_bytes",
    }


def test_a_change_leaves_what_it_does_not_name(worker: Worker) -> None:
    before = worker.plans.create(OPERATOR, SPEC)
    after = worker.plans.change(OPERATOR, "gold", {"rows_per_day": None, "name": "Pure gold"}, expected_revision=1)
    assert after == replace(before, rows_per_day=None, name="Pure gold", revision=2)


def test_a_change_is_refused_for_an_unknown_field_plan_or_revision(worker: Worker) -> None:
    with pytest.raises(Invalid):
        worker.plans.change(OPERATOR, "free", {"slug": "freer"})
    for slug in ("copper", "Not a slug", "\0"):
        with pytest.raises(NotFound):
            worker.plans.change(OPERATOR, slug, {"max_models": 5})
        with pytest.raises(NotFound):
            worker.plans.get(slug)
    with pytest.raises(PreconditionFailed):
        worker.plans.change(OPERATOR, "free", {"max_models": 5}, expected_revision=2)
    assert worker.plans.get("free").max_models == 10


def test_acts_on_plans_are_in_the_operators_trail(worker: Worker) -> None:
    worker.plans.create(OPERATOR, SPEC)
    worker.plans.change(OPERATOR, "gold", {"max_models": 5})
    events = [(e.action, e.target, e.actor) for e in worker.audit.list(PLATFORM_TENANT_ID).data]
    assert sorted(events) == [("plan.change", "gold", "cli"), ("plan.create", "gold", "cli")]

"""Aliases: moved with and without an expectation, rolled back, removed, and remembered."""

import random
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest
import sqlalchemy as sa

from service.database import now
from service.errors import Conflict, Invalid, NotFound, PreconditionFailed
from service.registry.tables import AliasMove
from service.registry.views import AliasView
from service.tenants.principal import Principal
from tests.registry.workers import Worker, at_once, regression


@pytest.fixture
def three(worker: Worker, acme: Principal) -> Worker:
    """A worker whose tenant has three versions of the model ``m``."""
    for slope in (1.0, 2.0, 3.0):
        worker.upload(acme, data=regression(slope))
    return worker


def moved(worker: Worker, acme: Principal, *versions: int) -> None:
    for version in versions:
        worker.aliases.move(acme, "m", "production", version)


def ledger(worker: Worker, acme: Principal) -> list[tuple[str, int | None, int | None]]:
    moves = worker.aliases.history(acme, "m", "production").data
    return [(move.action, move.from_version, move.to_version) for move in reversed(moves)]


def refused(call: partial[object]) -> str:
    with pytest.raises(Conflict) as caught:
        call()
    return caught.value.reason


def test_an_alias_is_set_moved_and_read(three: Worker, acme: Principal) -> None:
    made = three.aliases.move(acme, "m", "production", 1, reason="first")
    assert (made.model, made.alias, made.version, made.revision) == ("m", "production", 1, 1)
    after = three.aliases.move(acme, "m", "production", 2)
    assert three.aliases.get(acme, "m", "production") == after
    assert (after.version, after.revision, after.updated_by) == (2, 2, acme.subject)
    three.aliases.move(acme, "m", "candidate", 3)
    assert [alias.alias for alias in three.aliases.list(acme, "m").data] == ["candidate", "production"]
    assert ledger(three, acme) == [("set", None, 1), ("moved", 1, 2)]


def test_a_move_to_where_it_is_leaves_no_line(three: Worker, acme: Principal) -> None:
    moved(three, acme, 1, 1)
    assert ledger(three, acme) == [("set", None, 1)]


def test_a_move_holds_only_where_the_expectation_does(three: Worker, acme: Principal) -> None:
    move = partial(three.aliases.move, acme, "m", "production")
    assert refused(partial(move, 1, expected=1)) == "alias_moved"
    assert move(1, expected=None).version == 1
    assert refused(partial(move, 2, expected=None)) == "alias_moved"
    assert refused(partial(move, 2, expected=3)) == "alias_moved"
    assert move(2, expected=1).version == 2
    assert ledger(three, acme) == [("set", None, 1), ("moved", 1, 2)]


def test_a_move_of_an_old_revision_is_refused(three: Worker, acme: Principal) -> None:
    moved(three, acme, 1, 2)
    with pytest.raises(PreconditionFailed):
        three.aliases.move(acme, "m", "production", 3, expected_revision=1)
    with pytest.raises(PreconditionFailed):
        three.aliases.move(acme, "m", "new", 3, expected_revision=1)
    with pytest.raises(PreconditionFailed):
        three.aliases.delete(acme, "m", "production", expected_revision=1)
    assert three.aliases.move(acme, "m", "production", 3, expected_revision=2).version == 3


def test_only_a_version_that_is_served_can_be_named(three: Worker, acme: Principal) -> None:
    three.versions.archive(acme, "m", 2)
    assert refused(partial(three.aliases.move, acme, "m", "production", 2)) == "version_archived"
    with pytest.raises(NotFound):
        three.aliases.move(acme, "m", "production", 9)
    with pytest.raises(NotFound):
        three.aliases.get(acme, "m", "production")


def test_a_name_that_breaks_the_rule_is_refused(three: Worker, acme: Principal) -> None:
    with pytest.raises(Invalid):
        three.aliases.move(acme, "m", "Production!", 1)


def test_each_rollback_goes_one_step_further_back(three: Worker, acme: Principal) -> None:
    moved(three, acme, 1, 2, 3)
    assert three.aliases.rollback(acme, "m", "production", reason="slow").version == 2
    assert three.aliases.rollback(acme, "m", "production").version == 1
    assert refused(partial(three.aliases.rollback, acme, "m", "production")) == "nothing_to_roll_back"
    assert ledger(three, acme)[3:] == [("rolled back", 3, 2), ("rolled back", 2, 1)]


def test_rollbacks_after_a_move_there_and_back_come_to_an_end(three: Worker, acme: Principal) -> None:
    moved(three, acme, 1, 2, 3, 2)
    for version in (3, 2, 1):
        assert three.aliases.rollback(acme, "m", "production").version == version
    assert refused(partial(three.aliases.rollback, acme, "m", "production")) == "nothing_to_roll_back"


def test_nothing_is_rolled_back_to_before_a_removal(three: Worker, acme: Principal) -> None:
    moved(three, acme, 1, 2)
    three.aliases.delete(acme, "m", "production")
    moved(three, acme, 3)
    assert refused(partial(three.aliases.rollback, acme, "m", "production")) == "nothing_to_roll_back"


def test_after_a_rollback_and_a_new_move_the_way_back_is_the_new_one(three: Worker, acme: Principal) -> None:
    moved(three, acme, 1, 2)
    three.aliases.rollback(acme, "m", "production")
    moved(three, acme, 3)
    assert three.aliases.rollback(acme, "m", "production").version == 1


def test_rollbacks_lead_where_a_replay_of_every_move_leads(three: Worker, acme: Principal) -> None:
    draw = random.Random(11)
    way: list[int] = []
    for _ in range(300):
        if way and draw.random() < 0.02:
            three.aliases.delete(acme, "m", "busy")
            way = []
        elif len(way) > 1 and draw.random() < 0.5:
            way.pop()
            assert three.aliases.rollback(acme, "m", "busy").version == way[-1]
        else:
            way.append(draw.choice([version for version in (1, 2, 3) if version != (way or [0])[-1]]))
            three.aliases.move(acme, "m", "busy", way[-1])
    while len(way) > 1:
        way.pop()
        assert three.aliases.rollback(acme, "m", "busy").version == way[-1]
    assert refused(partial(three.aliases.rollback, acme, "m", "busy")) == "nothing_to_roll_back"


def test_nothing_is_rolled_back_to_a_version_that_is_not_served(three: Worker, acme: Principal) -> None:
    moved(three, acme, 1, 2)
    three.versions.archive(acme, "m", 1)
    assert refused(partial(three.aliases.rollback, acme, "m", "production")) == "version_archived"
    with pytest.raises(NotFound):
        three.aliases.rollback(acme, "m", "unknown")


def test_the_ledger_outlives_the_alias_and_goes_on(three: Worker, acme: Principal) -> None:
    moved(three, acme, 1)
    three.aliases.delete(acme, "m", "production", reason="done")
    with pytest.raises(NotFound):
        three.aliases.get(acme, "m", "production")
    with pytest.raises(NotFound):
        three.aliases.delete(acme, "m", "production")
    assert three.aliases.move(acme, "m", "production", 2).revision == 3
    assert ledger(three, acme) == [("set", None, 1), ("removed", 1, None), ("set", None, 2)]


def test_the_history_tells_what_was_named_at_a_moment(three: Worker, acme: Principal) -> None:
    before = now()
    moments = []
    for version in (1, 2, 3):
        moved(three, acme, version)
        moments.append(now())
    assert three.aliases.history(acme, "m", "production", as_of=before).data == []
    for version, moment in zip((1, 2, 3), moments, strict=True):
        page = three.aliases.history(acme, "m", "production", as_of=moment)
        assert page.data[0].to_version == version
    first = three.aliases.history(acme, "m", "production", limit=2)
    rest = three.aliases.history(acme, "m", "production", limit=2, cursor=first.next_cursor)
    assert [move.sequence for move in first.data + rest.data] == [3, 2, 1]
    with pytest.raises(NotFound):
        three.aliases.history(acme, "m", "unknown")


def test_the_ledger_s_moments_never_go_back(three: Worker, acme: Principal) -> None:
    ahead = now() + timedelta(hours=1)
    moved(three, acme, 1)
    with three.database.write(acme.tenant_id) as session:
        session.execute(sa.update(AliasMove).values(at=ahead))
    moved(three, acme, 2)
    assert three.aliases.history(acme, "m", "production").data[0].at == ahead


def test_of_callers_who_expect_the_same_exactly_one_wins(either_worker: Worker, another_worker: Worker) -> None:
    acme = either_worker.principal()
    for slope in (1.0, 2.0, 3.0):
        either_worker.upload(acme, data=regression(slope))
    workers = [either_worker, another_worker] * 4
    for expected, version in ((None, 1), (1, 2), (2, 3), (3, 1)):
        answers = at_once(
            [partial(each.aliases.move, acme, "m", "production", version, expected=expected) for each in workers]
        )
        won = [answer for answer in answers if isinstance(answer, AliasView)]
        assert len(won) == 1
        assert {answer.reason for answer in answers if isinstance(answer, Conflict)} == {"alias_moved"}
    assert ledger(either_worker, acme) == [("set", None, 1), ("moved", 1, 2), ("moved", 2, 3), ("moved", 3, 1)]


def test_parallel_moves_leave_one_unbroken_ledger(either_worker: Worker, another_worker: Worker) -> None:
    acme = either_worker.principal()
    for slope in (1.0, 2.0, 3.0):
        either_worker.upload(acme, data=regression(slope))
    workers = [either_worker, another_worker] * 4
    chosen = random.Random(7)

    def wander(worker: Worker, versions: list[int]) -> None:
        for version in versions:
            worker.aliases.move(acme, "m", "production", version)

    at_once([partial(wander, each, chosen.choices((1, 2, 3), k=5)) for each in workers])
    moves = list(reversed(either_worker.aliases.history(acme, "m", "production", limit=200).data))
    assert [move.sequence for move in moves] == list(range(1, len(moves) + 1))
    assert [move.from_version for move in moves] == [None, *(move.to_version for move in moves[:-1])]
    assert all(earlier.at <= later.at for earlier, later in pairwise(moves))
    assert either_worker.aliases.get(acme, "m", "production").version == moves[-1].to_version

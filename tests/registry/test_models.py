"""Models: made, listed, changed, deleted, and out of reach for whom they do not concern."""

from dataclasses import replace
from functools import partial

import pytest

from service.errors import Conflict, Forbidden, Invalid, NotFound, PreconditionFailed
from service.registry.resolution import VersionRef
from service.registry.views import ModelView
from service.tenants.principal import Principal
from tests.registry.workers import Worker, at_once, regression


def test_a_model_is_made_read_and_listed(worker: Worker, acme: Principal) -> None:
    made = worker.models.create(acme, "iris", description="flowers", tags={"team": "bio"})
    assert worker.models.get(acme, "iris") == made
    assert (made.name, made.description, made.tags, made.revision) == ("iris", "flowers", {"team": "bio"}, 1)
    assert worker.models.list(acme).data == [made]
    assert worker.actions(acme) == [("model.create", "ok")]


def test_a_list_goes_on_where_it_stopped(worker: Worker, acme: Principal) -> None:
    for name in ("c", "a", "b"):
        worker.models.create(acme, name)
    first = worker.models.list(acme, limit=2)
    second = worker.models.list(acme, limit=2, cursor=first.next_cursor)
    assert [model.name for model in first.data] == ["a", "b"]
    assert [model.name for model in second.data] == ["c"]
    assert second.next_cursor is None


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a" * 65, "a/b", "a\n"])
def test_a_name_that_breaks_the_rule_is_refused(worker: Worker, acme: Principal, name: str) -> None:
    with pytest.raises(Invalid):
        worker.models.create(acme, name)


def test_a_second_model_of_a_name_is_refused(worker: Worker, acme: Principal) -> None:
    worker.models.create(acme, "iris")
    with pytest.raises(Conflict) as caught:
        worker.models.create(acme, "iris")
    assert caught.value.reason == "model_exists"


def test_a_change_replaces_what_it_names_and_leaves_the_rest(worker: Worker, acme: Principal) -> None:
    worker.models.create(acme, "iris", description="old", tags={"a": "1"})
    changed = worker.models.change(acme, "iris", {"description": "new"}, 1)
    assert (changed.description, changed.tags, changed.revision) == ("new", {"a": "1"}, 2)
    assert worker.models.change(acme, "iris", {"tags": {}}).tags == {}
    assert worker.models.get(acme, "iris").description == "new"


def test_a_change_of_an_old_revision_is_refused(worker: Worker, acme: Principal) -> None:
    worker.models.create(acme, "iris")
    worker.models.change(acme, "iris", {"description": "mine"})
    with pytest.raises(PreconditionFailed):
        worker.models.change(acme, "iris", {"description": "yours"}, 1)
    with pytest.raises(PreconditionFailed):
        worker.models.delete(acme, "iris", 1)
    assert worker.models.get(acme, "iris").description == "mine"


def test_the_plan_s_number_of_models_holds_under_parallel_calls(either_worker: Worker) -> None:
    acme = either_worker.principal(max_models=3)
    answers = at_once([lambda name=f"m{index}": either_worker.models.create(acme, name) for index in range(8)])
    refused = [answer for answer in answers if isinstance(answer, Forbidden)]
    assert len(refused) == 5
    assert {error.reason for error in refused} == {"models_quota_exceeded"}
    assert len(either_worker.models.list(acme).data) == 3


def test_of_two_who_ask_for_the_last_place_one_gets_it(either_worker: Worker, another_worker: Worker) -> None:
    acme = either_worker.principal(max_models=1)
    for _ in range(10):
        calls = [
            partial(worker.models.create, acme, name) for worker in (either_worker, another_worker) for name in "ab"
        ]
        made = [answer for answer in at_once(calls) if isinstance(answer, ModelView)]
        assert [model.name for model in either_worker.models.list(acme).data] == [model.name for model in made]
        assert len(made) == 1
        either_worker.models.delete(acme, made[0].name)


def test_a_deleted_model_makes_room_for_another(worker: Worker) -> None:
    acme = worker.principal(max_models=1)
    worker.models.create(acme, "a")
    worker.models.delete(acme, "a")
    assert worker.models.create(acme, "b").name == "b"


def test_a_deleted_model_is_gone_with_aliases_and_bytes(worker: Worker, acme: Principal) -> None:
    version = worker.upload(acme, "iris", alias="production")
    assert version.digest is not None
    worker.models.delete(acme, "iris")
    for call in (
        lambda: worker.models.get(acme, "iris"),
        lambda: worker.versions.get(acme, "iris", 1),
        lambda: worker.aliases.get(acme, "iris", "production"),
        lambda: worker.models.delete(acme, "iris"),
    ):
        with pytest.raises(NotFound):
            call()
    assert worker.models.list(acme).data == []
    assert list(worker.store.list(acme.tenant_id)) == []


def test_version_numbers_go_on_after_a_model_is_deleted(worker: Worker, acme: Principal) -> None:
    worker.upload(acme, "iris")
    worker.models.delete(acme, "iris")
    made = worker.models.create(acme, "iris", description="again")
    assert (made.description, made.revision) == ("again", 3)
    assert worker.upload(acme, "iris").version == 2


def test_a_model_made_again_shows_nothing_of_the_one_before(either_worker: Worker) -> None:
    acme = either_worker.principal()
    either_worker.upload(acme, "iris", alias="production")
    either_worker.models.delete(acme, "iris")
    either_worker.upload(acme, "iris", regression(2.0))
    assert [version.version for version in either_worker.versions.list(acme, "iris").data] == [2]
    for call in (
        lambda: either_worker.versions.get(acme, "iris", 1),
        lambda: either_worker.aliases.move(acme, "iris", "production", 1),
        lambda: either_worker.resolution.resolve(acme, "iris", VersionRef(1)),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_model_with_a_quarantined_version_is_not_deleted(worker: Worker, acme: Principal) -> None:
    worker.upload(acme)
    worker.upload(acme, data=regression(2.0), alias="production")
    slug = worker.versions.list_all().data[0].tenant
    assert slug is not None
    worker.versions.quarantine(Principal.operator(), slug, "m", 1)
    with pytest.raises(Conflict) as caught:
        worker.models.delete(acme, "m")
    assert caught.value.reason == "version_quarantined"
    assert len(worker.store.list(acme.tenant_id)) == 2
    assert worker.aliases.get(acme, "m", "production").version == 2
    worker.versions.release(Principal.operator(), slug, "m", 1)
    worker.models.delete(acme, "m")
    assert worker.store.list(acme.tenant_id) == []


def test_a_change_of_nothing_changes_nothing(worker: Worker, acme: Principal) -> None:
    made, version = worker.models.create(acme, "m"), worker.upload(acme)
    before = worker.actions(acme)
    assert worker.models.change(acme, "m", {}) == made
    assert worker.versions.change(acme, "m", 1, {}) == version
    assert worker.actions(acme) == before
    with pytest.raises(PreconditionFailed):
        worker.models.change(acme, "m", {}, 9)


def test_a_restricted_key_sees_its_models_alone(worker: Worker, acme: Principal) -> None:
    worker.models.create(acme, "mine")
    worker.models.create(acme, "other")
    restricted = replace(acme, models=frozenset({"mine"}))
    assert [model.name for model in worker.models.list(restricted).data] == ["mine"]
    for call in (
        lambda: worker.models.get(restricted, "other"),
        lambda: worker.models.create(restricted, "third"),
        lambda: worker.models.change(restricted, "other", {}),
        lambda: worker.models.delete(restricted, "other"),
        lambda: worker.versions.list(restricted, "other"),
        lambda: worker.upload(restricted, "other"),
        lambda: worker.aliases.move(restricted, "other", "production", 1),
        lambda: worker.aliases.history(restricted, "other", "production"),
    ):
        with pytest.raises(NotFound):
            call()


def test_another_tenant_s_model_answers_as_an_unknown_one(worker: Worker, acme: Principal) -> None:
    worker.models.create(acme, "iris")
    stranger = worker.principal("other")
    restricted = replace(acme, models=frozenset({"mine"}))
    details = set()
    for principal, name in ((stranger, "iris"), (stranger, "unknown"), (restricted, "iris")):
        with pytest.raises(NotFound) as caught:
            worker.models.get(principal, name)
        details.add((caught.value.detail, caught.value.reason, caught.value.findings))
    assert len(details) == 1

"""Versions: uploaded, numbered, described, archived, purged and held back."""

import os
import threading
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from service.artifacts.file_store import FileStore
from service.artifacts.fsspec_store import FsspecStore
from service.database import now
from service.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Rejected,
    Unsupported,
)
from service.registry.kept_bytes import keep
from service.registry.versions import VersionFilter
from service.registry.views import VersionView
from service.tenants.principal import Principal
from service.tenants.scopes import Scope
from tests.artifacts.hostile import edited
from tests.registry.workers import Worker, artifact, at_once, classifier, regression

OPERATOR = Principal.operator()


def refused(call: partial[object]) -> str:
    with pytest.raises(Conflict) as caught:
        call()
    return caught.value.reason


def test_an_upload_becomes_the_first_version_of_a_new_model(worker: Worker, acme: Principal) -> None:
    version = worker.upload(
        acme, "iris", classifier(), description="first", tags={"git": "abc"}, metrics={"accuracy": 0.9}
    )
    assert worker.versions.get(acme, "iris", 1) == version
    assert (version.model, version.version, version.status, version.format) == ("iris", 1, "ready", "skops")
    assert (version.estimator, version.task, version.classes) == ("LogisticRegression", "classification", ["no", "yes"])
    assert {"predict", "predict_proba"} <= set(version.methods)
    assert (version.description, version.tags, version.metrics) == ("first", {"git": "abc"}, {"accuracy": 0.9})
    assert version.digest is not None
    assert version.digest.startswith("sha256:")
    assert worker.models.get(acme, "iris").created_by == acme.subject
    assert worker.actions(acme) == [("version.upload", "ok")]


def test_the_bytes_that_are_kept_are_those_of_the_digest(worker: Worker, acme: Principal) -> None:
    version = worker.upload(acme)
    assert version.digest is not None
    data = worker.versions.artifact(acme, "m", 1)
    assert worker.store.put(acme.tenant_id, data) == version.digest
    assert len(data) == version.size_bytes


def test_versions_are_listed_from_the_newest(worker: Worker, acme: Principal) -> None:
    for slope in (1.0, 2.0, 3.0):
        worker.upload(acme, data=regression(slope))
    first = worker.versions.list(acme, "m", limit=2)
    second = worker.versions.list(acme, "m", limit=2, cursor=first.next_cursor)
    assert [version.version for version in first.data + second.data] == [3, 2, 1]


def test_numbers_are_given_once_under_parallel_uploads(either_worker: Worker, another_worker: Worker) -> None:
    acme = either_worker.principal()
    workers = [either_worker, another_worker] * 3
    answers = at_once([partial(each.upload, acme, "m", regression(float(i))) for i, each in enumerate(workers)])
    assert sorted(answer.version for answer in answers if isinstance(answer, VersionView)) == [1, 2, 3, 4, 5, 6]


def test_equal_bytes_are_kept_once_in_a_tenant_and_never_across(worker: Worker, acme: Principal) -> None:
    other = worker.principal("other")
    first, second = worker.upload(acme, "a"), worker.upload(acme, "b")
    assert first.digest == second.digest
    assert len(list(worker.store.list(acme.tenant_id))) == 1
    worker.upload(other, "a")
    worker.versions.purge(acme, "a", 1)
    worker.versions.purge(acme, "b", 1)
    assert list(worker.store.list(acme.tenant_id)) == []
    assert len(list(worker.store.list(other.tenant_id))) == 1


def test_an_upload_may_set_an_alias_in_the_same_breath(worker: Worker, acme: Principal) -> None:
    worker.upload(acme, alias="production")
    worker.upload(acme, data=regression(2.0), alias="production")
    assert worker.aliases.get(acme, "m", "production").version == 2
    assert worker.actions(acme) == [("version.upload", "ok"), ("alias.move", "ok")] * 2


def test_who_may_publish_may_not_thereby_promote(worker: Worker, acme: Principal) -> None:
    publisher = replace(acme, scopes=frozenset({Scope.MODELS_WRITE}))
    with pytest.raises(Forbidden):
        worker.upload(publisher, alias="production")
    event = worker.audit.list(acme.tenant_id).data[0]
    assert (event.action, event.outcome, event.target) == ("scope.require", "refused", "models/m/versions")
    assert event.details["scope"] == Scope.VERSIONS_PROMOTE
    assert worker.upload(publisher).version == 1


def test_what_a_hostile_file_calls_itself_is_refused_and_recorded(either_worker: Worker) -> None:
    acme = either_worker.principal()
    data = edited(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), rename)
    with pytest.raises(Rejected):
        either_worker.upload(acme, data=data)
    findings = either_worker.audit.list(acme.tenant_id).data[0].details["findings"]
    assert "Evil\ufffdX" in findings[0]


def rename(schema: dict[str, Any], members: dict[str, bytes]) -> None:
    schema["__class__"] = "Evil\0X"


def test_a_name_with_a_control_character_is_refused_and_recorded(either_worker: Worker) -> None:
    acme = either_worker.principal()
    named = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    named.feature_names_in_ = np.array(["a\0"], dtype=object)
    with pytest.raises(Rejected) as caught:
        either_worker.upload(acme, data=artifact(named))
    assert caught.value.findings[0].at == "signature.inputs[0].name"
    assert either_worker.actions(acme) == [("version.upload", "refused")]


def test_bytes_are_written_once_for_an_upload(worker: Worker, acme: Principal, tmp_path: Path) -> None:
    store = FsspecStore(f"local://{tmp_path}/kept")
    digest = store.put(acme.tenant_id, b"bytes")
    (path,) = (tmp_path / "kept").rglob("*.skops")
    os.utime(path, (0, 0))
    with worker.database.write(acme.tenant_id) as session:
        keep(session, store, acme, digest, b"bytes")
    assert path.stat().st_mtime == 0
    path.unlink()
    with worker.database.write(acme.tenant_id) as session:
        keep(session, store, acme, digest, b"bytes")
    assert path.read_bytes() == b"bytes"


@pytest.mark.parametrize(
    ("data", "family"), [(b"\x80\x04K\x01.", Unsupported), (b"PK\x03\x04 nothing", Rejected), (b"", Unsupported)]
)
def test_nothing_of_a_refused_upload_is_kept_but_the_audit_record(
    worker: Worker, acme: Principal, data: bytes, family: type[Exception]
) -> None:
    with pytest.raises(family):
        worker.versions.upload(acme, "m", data)
    assert worker.models.list(acme).data == []
    assert list(worker.store.list(acme.tenant_id)) == []
    event = worker.audit.list(acme.tenant_id).data[0]
    assert (event.action, event.outcome, event.target) == ("version.upload", "refused", "models/m")
    assert event.details["code"]


def test_a_sample_that_does_not_fit_is_refused_with_its_place(worker: Worker, acme: Principal) -> None:
    with pytest.raises(Invalid) as caught:
        worker.upload(acme, sample=[["text"]])
    assert "sample" in caught.value.findings[0].at


def test_the_plan_s_bytes_hold_before_and_under_parallel_uploads(either_worker: Worker) -> None:
    roomy = either_worker.principal()
    size = either_worker.upload(roomy).size_bytes
    acme = either_worker.principal(max_bytes=size * 2 + size // 2)
    answers = at_once([partial(either_worker.upload, acme, "m", regression(float(i))) for i in range(1, 7)])
    kept = [answer for answer in answers if isinstance(answer, VersionView)]
    assert len(kept) == 2
    assert {answer.reason for answer in answers if isinstance(answer, Forbidden)} == {"bytes_quota_exceeded"}
    assert set(either_worker.store.list(acme.tenant_id)) == {answer.digest for answer in kept}
    assert either_worker.upload(acme, "again", regression(float(answers.index(kept[0]) + 1))).digest == kept[0].digest


def test_an_upload_over_the_plan_s_models_is_refused_before_admission(worker: Worker) -> None:
    acme = worker.principal(max_models=1)
    worker.models.create(acme, "a")
    with pytest.raises(Forbidden) as caught:
        worker.versions.upload(acme, "b", b"never looked at")
    assert caught.value.reason == "models_quota_exceeded"


def test_a_change_describes_and_never_touches_the_artifact(worker: Worker, acme: Principal) -> None:
    before = worker.upload(acme, description="old", tags={"a": "1"})
    after = worker.versions.change(acme, "m", 1, {"description": "new", "tags": {"b": "2"}}, 1)
    assert after == replace(before, description="new", tags={"b": "2"}, revision=2)
    with pytest.raises(PreconditionFailed):
        worker.versions.change(acme, "m", 1, {"description": "late"}, 1)
    assert worker.versions.get(acme, "m", 1) == after


def test_an_archived_version_keeps_its_bytes(worker: Worker, acme: Principal) -> None:
    worker.upload(acme)
    archived = worker.versions.archive(acme, "m", 1, 1)
    assert (archived.status, archived.revision) == ("archived", 2)
    assert worker.versions.artifact(acme, "m", 1)
    assert worker.versions.archive(acme, "m", 1).status == "archived"


def test_a_purged_version_has_no_bytes_and_stays_in_the_list(worker: Worker, acme: Principal) -> None:
    worker.upload(acme)
    assert worker.versions.purge(acme, "m", 1).digest is None
    assert refused(partial(worker.versions.artifact, acme, "m", 1)) == "version_purged"
    assert [version.status for version in worker.versions.list(acme, "m").data] == ["archived"]
    assert list(worker.store.list(acme.tenant_id)) == []


def test_purging_one_of_two_versions_of_equal_bytes_keeps_them(worker: Worker, acme: Principal) -> None:
    worker.upload(acme)
    worker.upload(acme)
    worker.versions.purge(acme, "m", 1)
    assert worker.versions.artifact(acme, "m", 2)


def test_a_purge_stands_even_where_the_bytes_resist(worker: Worker, acme: Principal) -> None:
    digest = worker.upload(acme).digest
    assert isinstance(worker.store, FileStore)
    assert digest is not None
    path = worker.store.path(acme.tenant_id, digest)
    path.unlink()
    path.mkdir()  # A directory is nothing that can be unlinked.
    assert worker.versions.purge(acme, "m", 1).digest is None
    path.rmdir()
    assert worker.sweep.run().missing == ()


def test_a_version_that_an_alias_names_cannot_be_retired(worker: Worker, acme: Principal) -> None:
    worker.upload(acme, alias="production")
    assert refused(partial(worker.versions.archive, acme, "m", 1)) == "version_in_use"
    assert refused(partial(worker.versions.purge, acme, "m", 1)) == "version_in_use"
    worker.aliases.delete(acme, "m", "production")
    assert worker.versions.purge(acme, "m", 1).status == "archived"


def test_a_purge_that_meets_uploads_of_the_same_bytes_loses_none(either_worker: Worker, another_worker: Worker) -> None:
    acme = either_worker.principal()
    data = regression(7.0)
    stop = threading.Event()

    def purge_all() -> None:
        while not stop.is_set():
            for version in another_worker.versions.list(acme, "m", limit=200).data:
                if version.digest is not None and version.version % 2:
                    another_worker.versions.purge(acme, "m", version.version)

    either_worker.upload(acme, "m", data)
    purger = threading.Thread(target=purge_all)
    purger.start()
    try:
        for _ in range(25):
            either_worker.upload(acme, "m", data)
    finally:
        stop.set()
        purger.join()
    kept = [version for version in either_worker.versions.list(acme, "m", limit=200).data if version.digest]
    assert kept
    for version in kept:
        assert either_worker.versions.artifact(acme, "m", version.version)
    assert either_worker.sweep.run(dry_run=True).missing == ()


def test_an_operator_quarantines_and_releases(worker: Worker, acme: Principal) -> None:
    worker.upload(acme)
    slug = worker.versions.list_all().data[0].tenant
    assert slug is not None
    held = worker.versions.quarantine(OPERATOR, slug, "m", 1, "looks odd")
    assert (held.status, held.tenant) == ("quarantined", slug)
    assert refused(partial(worker.versions.artifact, acme, "m", 1)) == "version_quarantined"
    assert refused(partial(worker.versions.archive, acme, "m", 1)) == "version_quarantined"
    assert refused(partial(worker.versions.purge, acme, "m", 1)) == "version_quarantined"
    assert worker.versions.release(OPERATOR, slug, "m", 1).status == "ready"
    assert refused(partial(worker.versions.release, OPERATOR, slug, "m", 1)) == "version_not_quarantined"
    events = worker.audit.list(acme.tenant_id).data
    assert [(event.action, event.actor) for event in events[:2]] == [
        ("version.release", "cli"),
        ("version.quarantine", "cli"),
    ]
    assert events[1].details == {"reason": "looks odd"}


def test_what_is_not_there_cannot_be_quarantined(worker: Worker, acme: Principal) -> None:
    worker.upload(acme)
    worker.versions.archive(acme, "m", 1)
    slug = worker.versions.list_all().data[0].tenant
    assert slug is not None
    assert refused(partial(worker.versions.quarantine, OPERATOR, slug, "m", 1)) == "version_archived"
    for tenant, number in (("unknown", 1), (slug, 2), ("platform", 1)):
        with pytest.raises(NotFound):
            worker.versions.quarantine(OPERATOR, tenant, "m", number)


def test_an_operator_lists_every_tenant_s_versions_by_filter(worker: Worker, acme: Principal) -> None:
    other = worker.principal("other")
    worker.upload(acme, "a", classifier())
    worker.upload(acme, "b")
    worker.upload(other, "c")
    worker.versions.archive(other, "c", 1)
    everything = worker.versions.list_all()
    assert {version.model for version in everything.data} == {"a", "b", "c"}
    largest = max(version.size_bytes for version in everything.data)
    slug = next(version.tenant for version in everything.data if version.model == "a")

    def models(**filters: object) -> set[str]:
        return {version.model for version in worker.versions.list_all(VersionFilter(**filters)).data}  # type: ignore[arg-type]

    assert models(status="archived") == {"c"}
    assert models(estimator="LogisticRegression") == {"a"}
    assert models(tenant=slug) == {"a", "b"}
    assert models(older_than=now() - timedelta(hours=1)) == set()
    assert models(older_than=now() + timedelta(hours=1)) == {"a", "b", "c"}
    assert models(larger_than=largest) == set()
    with pytest.raises(NotFound):
        models(tenant="unknown")
    first = worker.versions.list_all(limit=2)
    assert len(first.data + worker.versions.list_all(limit=2, cursor=first.next_cursor).data) == 3


def test_an_unknown_version_is_not_found(worker: Worker, acme: Principal) -> None:
    worker.models.create(acme, "m")
    for call in (worker.versions.get, worker.versions.archive, worker.versions.purge, worker.versions.artifact):
        with pytest.raises(NotFound):
            call(acme, "m", 1)


def test_an_estimator_that_is_not_fitted_is_refused(worker: Worker, acme: Principal) -> None:
    with pytest.raises(Rejected):
        worker.upload(acme, data=artifact(Ridge()))

"""Models, versions and aliases over HTTP."""

import io
import json
import pickle
from typing import Any

import pytest

from tests.api.callers import ROW, Caller, World, iris, unused


def test_a_model_is_made_read_changed_and_deleted(acme: Caller) -> None:
    name = unused("model")
    made = acme.post("/v1/models", {"name": name, "description": "Petals", "tags": {"team": "a"}})
    assert (made.status_code, made.headers["Location"]) == (201, f"/v1/models/{name}")
    read = acme.get(f"/v1/models/{name}")
    assert (read.json, read.headers["ETag"]) == (made.json, made.headers["ETag"])
    changed = acme.patch(f"/v1/models/{name}", {"tags": {}}, headers={"If-Match": read.headers["ETag"]})
    assert (changed.json["description"], changed.json["tags"]) == ("Petals", {})
    assert acme.delete(f"/v1/models/{name}").status_code == 204
    assert acme.get(f"/v1/models/{name}").status_code == 404


def test_a_models_parity_is_exact_unless_the_tenant_says_otherwise(acme: Caller) -> None:
    name = unused("model")
    assert acme.post("/v1/models", {"name": name}).json["parity"] == "exact"
    assert acme.patch(f"/v1/models/{name}", {"parity": "tolerance"}).json["parity"] == "tolerance"
    assert acme.patch(f"/v1/models/{name}", {"description": "Other"}).json["parity"] == "tolerance"
    refused = acme.patch(f"/v1/models/{name}", {"parity": "roughly"})
    assert (refused.status_code, refused.json["errors"][0]["at"]) == (422, "parity")


def test_a_version_is_measured_under_the_parity_that_its_model_has_then(acme: Caller) -> None:
    name = unused("model")
    assert acme.upload(name).json["runtime"]["policy"] == "exact"
    acme.patch(f"/v1/models/{name}", {"parity": "tolerance"})
    later = acme.upload(name).json
    assert later["runtime"]["policy"] == "tolerance"
    assert "onnx-float32" in later["runtime"]["methods"]["predict"]["parity"]
    assert acme.get(f"/v1/models/{name}/versions/1").json["runtime"]["policy"] == "exact"
    acme.delete(f"/v1/models/{name}")
    assert acme.post("/v1/models", {"name": name}).json["parity"] == "exact"


def test_a_second_model_of_a_name_is_a_conflict(acme: Caller) -> None:
    refused = acme.post("/v1/models", {"name": "iris"})
    assert (refused.status_code, refused.json["code"]) == (409, "model_exists")


def test_a_model_more_than_the_plan_allows_is_forbidden(world: World) -> None:
    small = world.tenant(unused("small"), plan="free")
    statuses = [small.post("/v1/models", {"name": unused("model")}).status_code for _ in range(10)]
    refused = small.post("/v1/models", {"name": unused("model")})
    assert statuses == [201] * 10
    assert (refused.status_code, refused.json["code"]) == (403, "models_quota_exceeded")
    assert "Retry-After" not in refused.headers


def test_a_change_of_what_was_changed_since_is_refused(acme: Caller) -> None:
    name = unused("model")
    tag = acme.post("/v1/models", {"name": name}).headers["ETag"]
    acme.patch(f"/v1/models/{name}", {"description": "Somebody was faster"})
    late = acme.patch(f"/v1/models/{name}", {"description": "Late"}, headers={"If-Match": tag})
    assert (late.status_code, late.json["code"]) == (412, "precondition_failed")


@pytest.mark.parametrize(
    ("header", "status"), [("*", 200), ('W/"1"', 412), ('"abc"', 412), ("1", 400), ('"1', 400), ('"1", "2"', 400)]
)
def test_if_match_is_read_strictly(acme: Caller, header: str, status: int) -> None:
    name = unused("model")
    acme.post("/v1/models", {"name": name})
    assert acme.patch(f"/v1/models/{name}", {"tags": {}}, headers={"If-Match": header}).status_code == status


def test_a_star_asks_for_an_alias_that_exists(acme: Caller) -> None:
    path = f"/v1/models/iris/aliases/{unused('alias')}"
    assert acme.put(path, {"version": 1}, headers={"If-Match": "*"}).status_code == 412
    assert acme.get(path).status_code == 404
    assert acme.put(path, {"version": 1}).status_code == 200
    assert acme.put(path, {"version": 1}, headers={"If-Match": "*"}).status_code == 200


def test_what_the_caller_has_already_is_not_sent_again(acme: Caller) -> None:
    tag = acme.get("/v1/models/iris").headers["ETag"]
    again = acme.get("/v1/models/iris", headers={"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)


def test_a_list_goes_on_page_by_page(world: World) -> None:
    lister = world.tenant(unused("lister"))
    names = [unused("page") for _ in range(5)]
    for name in names:
        lister.post("/v1/models", {"name": name})
    seen, cursor = [], ""
    while cursor is not None:
        page = lister.get(f"/v1/models?limit=2{cursor and '&cursor='}{cursor}").json
        seen += [each["name"] for each in page["data"]]
        cursor = page["next_cursor"]
    assert seen == sorted(names)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=ten", "limit=1.0", "limit=%2B1", "limit=1&limit=1", "cursor=!", "page=2"]
)
def test_a_query_that_does_not_fit_is_refused(acme: Caller, query: str) -> None:
    refused = acme.get(f"/v1/models?{query}")
    assert (refused.status_code, refused.json["code"]) == (422, "invalid_query")
    assert refused.json["errors"][0]["at"] == query.partition("=")[0]


def test_an_upload_answers_with_the_version(acme: Caller) -> None:
    name = unused("upload")
    made = acme.upload(
        name, description="First", tags={"a": "b"}, metrics={"accuracy": 0.97}, sample={"inputs": [ROW]}, alias="blue"
    )
    assert made.status_code == 201, made.text
    assert made.headers["Location"] == f"/v1/models/{name}/versions/1"
    expected = {
        "model": name,
        "version": 1,
        "status": "ready",
        "format": "skops",
        "estimator": "LogisticRegression",
        "task": "classification",
        "classes": [0, 1, 2],
        "description": "First",
        "tags": {"a": "b"},
        "metrics": {"accuracy": 0.97},
    }
    assert {key: made.json[key] for key in expected} == expected
    assert acme.get(made.headers["Location"]).json == made.json
    assert acme.get(f"/v1/models/{name}/aliases/blue").json["version"] == 1


def test_the_artifact_that_is_served_can_be_downloaded(acme: Caller) -> None:
    version = acme.get("/v1/models/iris/versions/1").json
    artifact = acme.get("/v1/models/iris/versions/1/artifact")
    assert (artifact.mimetype, len(artifact.data)) == ("application/octet-stream", version["size_bytes"])
    again = acme.upload(unused("again"), artifact.data)
    assert (again.status_code, again.json["digest"]) == (201, version["digest"])


def test_a_pickle_is_unsupported_and_told_how_to_convert(acme: Caller) -> None:
    refused = acme.upload(unused("pickle"), pickle.dumps(iris()[0]))
    assert refused.status_code == 415
    assert "skops" in refused.json["detail"]


def test_a_refused_artifact_leaves_no_model(acme: Caller) -> None:
    name = unused("refused")
    assert acme.upload(name, b"PK\x03\x04 no archive").status_code in {415, 422}
    assert acme.get(f"/v1/models/{name}").status_code == 404


@pytest.mark.parametrize(
    ("parts", "at"),
    [
        ({}, "artifact"),
        ({"artifact": "text"}, "artifact"),
        ({"artifact": (io.BytesIO(b"x"), "a"), "more": "x"}, "more"),
        ({"artifact": [(io.BytesIO(b"x"), "a"), (io.BytesIO(b"x"), "b")]}, "body"),
        ({"artifact": (io.BytesIO(b"x"), "a"), "metadata": ["{}", (io.BytesIO(b"{}"), "b")]}, "body"),
        ({"artifact": (io.BytesIO(b"x"), "a"), "metadata": '{"owner": "globex"}'}, "owner"),
        ({"artifact": (io.BytesIO(b"x"), "a"), "metadata": '{"tags": {"a": 1}}'}, "tags.a"),
        ({"artifact": (io.BytesIO(b"x"), "a"), "metadata": '{"alias": "Not A Name"}'}, "alias"),
    ],
)
def test_parts_that_do_not_fit_are_refused(acme: Caller, parts: dict[str, Any], at: str) -> None:
    refused = acme.call(
        "POST", "/v1/models/iris/versions", data=parts, content_type="multipart/form-data; boundary=between"
    )
    assert refused.status_code == 422, refused.text
    assert at in [each["at"] for each in refused.json["errors"]]


@pytest.mark.parametrize("disposition", ["form-data", 'form-data; filename="m.skops"'])
def test_a_part_without_a_name_is_refused(acme: Caller, disposition: str) -> None:
    body = f"--b\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n--b--\r\n"
    refused = acme.call(
        "POST", "/v1/models/iris/versions", data=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert refused.status_code == 422, refused.text
    assert [each["at"] for each in refused.json["errors"]] == ["body"]


@pytest.mark.parametrize(
    ("metadata", "at"),
    [
        ('{"sample": {"inputs": [[1, 9223372036854775808]]}}', "sample.inputs[0][1]"),
        ('{"sample": {"inputs": [{"a": [-9223372036854775809]}]}}', "sample.inputs[0].a[0]"),
        ('{"sample": {"inputs": [[%s]]}}' % ("9" * 30), "sample.inputs[0][0]"),
        ('{"signature": {"inputs": [{"name": "a"}], "outputs": [{"name": []}]}}', "signature.outputs[0].name"),
        ('{"signature": {"inputs": [{"name": "a", "unit": "cm"}]}}', "signature.inputs[0].unit"),
        ('{"signature": {"inputs": [{"name": "a\\n"}]}}', "signature.inputs[0].name"),
        ('{"signature": {"inputs": [{"name": "a", "nullable": "yes"}]}}', "signature.inputs[0].nullable"),
        ('{"signature": {"inputs": []}}', "signature.inputs"),
        ('{"signature": {"inputs": [{"name": "a"}], "rows": 1}}', "signature.rows"),
    ],
)
def test_metadata_that_do_not_fit_are_named_by_place(acme: Caller, metadata: str, at: str) -> None:
    parts = {"artifact": (io.BytesIO(b"x"), "a"), "metadata": metadata}
    refused = acme.call("POST", "/v1/models/iris/versions", data=parts)
    assert (refused.status_code, refused.json["code"]) == (422, "invalid_body"), refused.text
    assert at in [each["at"] for each in refused.json["errors"]]


def test_a_version_s_own_signature_may_be_declared_for_the_next(acme: Caller) -> None:
    name = unused("declared")
    signature = acme.upload(name).json["signature"]
    again = acme.upload(name, signature=signature)
    assert (again.status_code, again.json["signature"]) == (201, signature), again.text


def test_metadata_are_strict_json(acme: Caller) -> None:
    parts = {"artifact": (io.BytesIO(b"x"), "a"), "metadata": '{"tags": {}, "tags": {}}'}
    refused = acme.call("POST", "/v1/models/iris/versions", data=parts)
    assert (refused.status_code, refused.json["code"]) == (400, "duplicate_key")


def form(kind: bytes, metadata: bytes) -> dict[str, Any]:
    """An upload whose metadata are a field or, with ``kind``, a file."""
    artifact = b'--b\r\nContent-Disposition: form-data; name="artifact"; filename="a"\r\n\r\nx\r\n'
    part = b'--b\r\nContent-Disposition: form-data; name="metadata"' + kind + b"\r\n\r\n" + metadata + b"\r\n"
    return {"data": part + artifact + b"--b--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}


KINDS = pytest.mark.parametrize("kind", [b"", b'; filename="metadata.json"'], ids=["field", "file"])


@KINDS
def test_metadata_in_another_encoding_are_refused(acme: Caller, kind: bytes) -> None:
    refused = acme.call("POST", "/v1/models/iris/versions", **form(kind, b'{"description": "\xff"}'))
    assert (refused.status_code, refused.json["code"]) == (400, "invalid_encoding")


@KINDS
def test_metadata_have_one_bound_in_a_field_and_in_a_file(acme: Caller, kind: bytes) -> None:
    large = json.dumps({"description": "a" * (1 << 20)}).encode()
    refused = acme.call("POST", "/v1/models/iris/versions", **form(kind, large))
    assert (refused.status_code, refused.json["code"]) == (413, "body_too_large")


def test_an_upload_that_is_not_multipart_is_unsupported(acme: Caller) -> None:
    assert acme.post("/v1/models/iris/versions", {"artifact": "x"}).status_code == 415


def test_an_upload_sent_again_with_its_key_makes_one_version(acme: Caller) -> None:
    name, headers = unused("once"), {"Idempotency-Key": unused("key")}
    first, again = (acme.upload(name, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code, again.json) == (201, 201, first.json)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(acme.get(f"/v1/models/{name}/versions").json["data"]) == 1


def test_a_version_is_described_archived_and_purged(acme: Caller) -> None:
    name = unused("version")
    acme.upload(name)
    path = f"/v1/models/{name}/versions/1"
    assert acme.patch(path, {"description": "Better", "tags": {"a": "b"}}).json["description"] == "Better"
    assert acme.delete(path).status_code == 204
    assert acme.get(path).json["status"] == "archived"
    assert acme.post(f"{path}/predict", {"inputs": [ROW]}).json["code"] == "version_archived"
    assert acme.delete(f"{path}?purge=true").status_code == 204
    assert acme.get(path).json["digest"] is None
    assert acme.get(f"{path}/artifact").json["code"] == "version_purged"


def test_a_version_that_an_alias_names_stays(acme: Caller) -> None:
    refused = acme.delete("/v1/models/iris/versions/1?purge=true")
    assert (refused.status_code, refused.json["code"]) == (409, "version_in_use")


@pytest.mark.parametrize("flag", ["yes", "1", "TRUE", ""])
def test_purge_is_true_or_false(acme: Caller, flag: str) -> None:
    assert acme.delete(f"/v1/models/iris/versions/1?purge={flag}").status_code == 422


def test_an_alias_is_moved_by_compare_and_set_and_rolled_back(acme: Caller) -> None:
    name = unused("alias")
    for regularisation in (1.0, 2.0):
        assert acme.upload(name, iris(regularisation)[1]).status_code == 201
    path = f"/v1/models/{name}/aliases/production"
    assert acme.put(path, {"version": 1, "expected": None, "reason": "First"}).status_code == 200
    assert acme.put(path, {"version": 2, "expected": None}).json["code"] == "alias_moved"
    moved = acme.put(path, {"version": 2, "expected": 1})
    assert (moved.status_code, moved.json["version"]) == (200, 2)
    assert acme.post(f"/v1/models/{name}/predict", {"inputs": [ROW]}).json["version"] == 2
    assert acme.post(f"{path}/rollback").json["version"] == 1
    assert acme.post(f"/v1/models/{name}/predict", {"inputs": [ROW]}).json["version"] == 1
    moves = acme.get(f"{path}/history").json["data"]
    assert [(move["from_version"], move["to_version"]) for move in moves] == [(2, 1), (1, 2), (None, 1)]
    assert acme.get(f"/v1/models/{name}/aliases").json["data"][0]["alias"] == "production"
    as_of = moves[1]["at"]
    assert acme.get(f"{path}/history?as_of={as_of}").json["data"][0]["to_version"] == 2
    assert acme.delete(path).status_code == 204
    assert acme.get(path).status_code == 404


@pytest.mark.parametrize("version", [0, -1, "1", 1.5, None, 2**63])
def test_an_alias_names_a_version_by_its_number(acme: Caller, version: Any) -> None:
    refused = acme.put("/v1/models/iris/aliases/blue", {"version": version})
    assert refused.status_code in {400, 422}


def test_an_alias_of_a_version_that_is_not_there_is_not_found(acme: Caller) -> None:
    assert acme.put("/v1/models/iris/aliases/blue", {"version": 99}).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/Iris",
        "/v1/models/iris%00",
        "/v1/models/%2e%2e",
        "/v1/models/-",
        "/v1/models/" + "a" * 65,
        "/v1/models/iris/versions/0",
        "/v1/models/iris/versions/01",
        "/v1/models/iris/versions/+1",
        "/v1/models/iris/versions/99999999999999999999",
        "/v1/models/iris/aliases/A",
    ],
)
def test_a_path_that_can_name_nothing_is_answered_like_what_is_not_there(acme: Caller, path: str) -> None:
    impossible, missing = acme.get(path), acme.get("/v1/models/no-such-model")
    ignored = {"request_id"}
    assert impossible.status_code == 404
    assert {k: v for k, v in impossible.json.items() if k not in ignored} == {
        k: v for k, v in missing.json.items() if k not in ignored
    }


def test_an_upload_under_a_name_that_cannot_be_is_not_found(acme: Caller) -> None:
    assert acme.upload("Not-A-Name").status_code == 404


def test_metadata_may_come_as_a_file_or_as_a_field(acme: Caller) -> None:
    parts = {"artifact": (io.BytesIO(iris()[1]), "a"), "metadata": json.dumps({"description": "Field"})}
    made = acme.call("POST", f"/v1/models/{unused('field')}/versions", data=parts)
    assert made.json["description"] == "Field"

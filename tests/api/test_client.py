"""The Python client against the application, and against answers that come late or not at all."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import pyarrow as pa
import pytest
from sklearn.datasets import load_iris

from service.client import ApiError, Modelward
from tests.api.callers import ROW, World, iris, unused
from tests.api.tables import ARROW, PARQUET, written

URL = "http://modelward.test"


@pytest.fixture
def client(world: World) -> Modelward:
    """A client of the tenant ``acme``."""
    return Modelward(URL, world.acme.api_key or "", transport=httpx2.WSGITransport(app=world.app))


def client_of(answer: Callable[[httpx2.Request], httpx2.Response], waits: list[float]) -> Modelward:
    return Modelward(URL, "mw_key", attempts=3, transport=httpx2.MockTransport(answer), sleep=waits.append)


def test_a_model_goes_from_upload_to_rollback(client: Modelward, tmp_path: object) -> None:
    name = unused("client")
    first = client.upload(name, iris()[1], description="First", alias="production")
    second = client.upload(name, iris(2.0)[1])
    assert (first["version"], second["version"]) == (1, 2)
    assert client.promote(name, 2, expected=1, reason="Better")["version"] == 2
    assert client.predict(name, [ROW])["version"] == 2
    assert client.predict(name, [ROW], version=1, outputs=["predict_proba"])["outputs"].keys() == {"predict_proba"}
    assert client.rollback(name)["version"] == 1
    assert client.predict(name, [ROW], alias="production")["version"] == 1
    assert client.predict(name, [ROW], native=True)["outputs"] == client.predict(name, [ROW])["outputs"]
    assert [each["version"] for each in client.versions(name)] == [2, 1]
    assert [each["alias"] for each in client.aliases(name)] == ["production"]
    assert [each["to_version"] for each in client.history(name)] == [1, 2, 1]
    assert name in [each["name"] for each in client.models()]
    assert client.whoami()["tenant"] == "acme"


def test_a_table_is_answered_batch_by_batch_in_whatever_form_it_is_given(
    client: Modelward, world: World, tmp_path: Path
) -> None:
    names = [each["name"] for each in world.acme.get("/v1/models/iris/versions/1").json["signature"]["inputs"]]
    X = load_iris().data
    table = pa.table({name: X[:, index] for index, name in enumerate(names)})
    expected = {"predict": iris()[0].predict(X).tolist()}
    for media in (ARROW, PARQUET):
        (tmp_path / "table").write_bytes(written(table, media))
        assert client.predict_table("iris", tmp_path / "table").read_all().to_pydict() == expected
        assert client.predict_table("iris", str(tmp_path / "table"), version=1).read_all().to_pydict() == expected
    assert client.predict_table("iris", table, native=True).read_all().to_pydict() == expected
    assert client.predict_table("iris", table.to_reader(7), alias="production").read_all().to_pydict() == expected
    outputs = ["predict_proba", "predict"]
    assert [batch.schema.names for batch in client.predict_table("iris", table, outputs=outputs)] == [outputs]


def test_a_table_that_is_refused_says_where(client: Modelward) -> None:
    with pytest.raises(ApiError) as refusal:
        client.predict_table("iris", pa.table({"width": [1.0]}))
    assert (refusal.value.status, refusal.value.code) == (422, "signature_mismatch")
    assert "inputs.width: is not an input of this model" in str(refusal.value)


def test_a_table_is_sent_whole_again_after_a_refusal_for_now() -> None:
    table = pa.table({"x": [1.0, 2.0]})
    sent: list[bytes] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.read())
        assert request.headers["Content-Length"] == str(len(sent[-1]))
        if len(sent) == 1:
            return httpx2.Response(503, json={"code": "overloaded"}, headers={"Retry-After": "1"})
        return httpx2.Response(200, content=written(table, ARROW))

    waits: list[float] = []
    assert client_of(answer, waits).predict_table("m", table).read_all() == table
    assert waits == [1.0]
    assert sent[0] == sent[1] == written(table, ARROW)


def test_a_refusal_names_its_code_and_places(client: Modelward) -> None:
    with pytest.raises(ApiError) as refusal:
        client.predict("iris", [["a", "b", "c", "d"]])
    assert (refusal.value.status, refusal.value.code) == (422, "signature_mismatch")
    assert refusal.value.errors
    assert refusal.value.errors[0]["at"] in str(refusal.value)


def test_a_list_is_fetched_page_after_page() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        at = int(request.url.params.get("cursor", "0"))
        following = str(at + 1) if at < 2 else None
        return httpx2.Response(200, json={"data": [{"name": str(at)}], "next_cursor": following})

    assert [each["name"] for each in client_of(answer, []).models()] == ["0", "1", "2"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_for_now_is_tried_again_after_the_time_that_it_names(status: int) -> None:
    waits: list[float] = []
    keys = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) < 3:
            return httpx2.Response(
                status, headers={"Retry-After": "7"}, json={"code": "rate_limited", "detail": "Wait."}
            )
        return httpx2.Response(200, json={"version": 1})

    assert client_of(answer, waits).rollback("iris") == {"version": 1}
    assert waits == [7.0, 7.0]
    assert len(set(keys)) == 1


def test_a_wait_that_is_too_long_is_left_to_the_caller() -> None:
    waits: list[float] = []
    client = client_of(lambda _: httpx2.Response(429, headers={"Retry-After": "3600"}), waits)
    with pytest.raises(ApiError) as refusal:
        client.whoami()
    assert (refusal.value.status, refusal.value.code, waits) == (429, "unknown", [])


def test_what_is_refused_for_good_is_not_tried_again() -> None:
    waits: list[float] = []
    with pytest.raises(ApiError):
        client_of(lambda _: httpx2.Response(409, json={"code": "alias_moved", "detail": "No."}), waits).whoami()
    assert waits == []


def broken(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("no answer", request=request)


def test_a_broken_connection_is_tried_again_a_few_times() -> None:
    waits: list[float] = []
    with pytest.raises(httpx2.ConnectError):
        client_of(broken, waits).predict("iris", [ROW])
    assert len(waits) == 2


def test_a_move_with_an_expectation_is_not_made_twice() -> None:
    waits: list[float] = []
    with pytest.raises(httpx2.ConnectError):
        client_of(broken, waits).promote("iris", 2, expected=1)
    assert waits == []


@pytest.mark.parametrize(("status", "tries"), [(429, 3), (503, 3), (502, 1), (504, 1)])
def test_a_move_with_an_expectation_is_tried_again_only_where_it_was_surely_not_made(status: int, tries: int) -> None:
    waits: list[float] = []
    with pytest.raises(ApiError):
        client_of(lambda _: httpx2.Response(status), waits).promote("iris", 2, expected=1)
    assert len(waits) == tries - 1


def test_a_client_closes_with_its_block() -> None:
    with client_of(lambda _: httpx2.Response(200, json={}), []) as client:
        client.whoami()
    with pytest.raises(RuntimeError):
        client.whoami()

"""Predictions over Arrow streams and Parquet files."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skops.io import dumps

from service.artifacts.outputs import MOST_BYTES
from tests.api.callers import ROW, Caller, World, iris, unused
from tests.api.tables import ARROW, JSON, PARQUET, post, predict, read, written

MEDIA = pytest.mark.parametrize("media", [ARROW, PARQUET])
CSV = "text/csv"
NAMES = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]


@pytest.fixture(scope="module")
def names(world: World) -> list[str]:
    """The names of the model's inputs."""
    return [each["name"] for each in world.acme.get("/v1/models/iris/versions/1").json["signature"]["inputs"]]


@pytest.fixture(scope="module")
def table(names: list[str]) -> Callable[[np.ndarray], pa.Table]:
    """Makes a table of rows."""
    return lambda X: pa.table({name: X[:, index] for index, name in enumerate(names)})


Table = Callable[[np.ndarray], pa.Table]
X = load_iris().data


@MEDIA
@pytest.mark.parametrize("accept", [ARROW, PARQUET])
def test_a_file_is_answered_with_a_file_of_scikit_learns_own_answers(
    acme: Caller, table: Table, media: str, accept: str
) -> None:
    outputs = ["predict", "predict_proba", "decision_function"]
    response = predict(acme, table(X), media, accept=accept, at=f"iris/predict?outputs={','.join(outputs)}&id=call+7")
    answer = read(response)
    assert answer.column_names == outputs
    assert answer.schema.field("predict").type == pa.int64()
    assert answer.schema.field("predict_proba").type.list_size == 3
    for name in outputs:
        column = answer[name].combine_chunks()
        values = column.to_numpy() if name == "predict" else column.flatten().to_numpy().reshape(len(X), 3)
        np.testing.assert_allclose(values, getattr(iris()[0], name)(X), rtol=1e-9, atol=1e-9)
    assert {name: answer.schema.metadata[f"modelward.{name}".encode()].decode() for name in ("id", "model")} == {
        "id": "call 7",
        "model": "iris",
    }
    assert orjson.loads(answer.schema.metadata[b"modelward.classes"]) == [0, 1, 2]
    assert answer.schema.metadata[b"modelward.request_id"].decode() == response.headers["X-Request-Id"]
    told = [response.headers[f"Modelward-{name}"] for name in ("Model", "Version", "Alias")]
    assert told == ["iris", "1", "production"]
    chosen = acme.get("/v1/models/iris/versions/1").json["runtime"]["methods"]
    assert response.headers["Modelward-Runtime"].split(", ")[0] == chosen["predict"]["many"]
    assert response.headers["Cache-Status"] == "modelward; fwd=bypass"


def test_scikit_learn_itself_answers_whoever_asks_for_it(acme: Caller, table: Table) -> None:
    response = predict(acme, table(X), at="iris/predict?runtime=native")
    assert response.headers["Modelward-Runtime"] == "native"
    assert read(response)["predict"].to_pylist() == iris()[0].predict(X).tolist()


@MEDIA
@pytest.mark.parametrize("accept", [None, "*/*", JSON, f"{JSON};q=0.9, {ARROW};q=0.5", "application/*"])
def test_json_is_the_answer_unless_the_caller_likes_a_file_better(
    acme: Caller, table: Table, media: str, accept: str | None
) -> None:
    answer = predict(acme, table(X), media, accept=accept)
    assert (answer.status_code, answer.mimetype) == (200, JSON)
    assert answer.json["id"].startswith("prd_")
    assert (answer.json["version"], answer.json["alias"]) == (1, "production")
    assert answer.json["outputs"] == {"predict": iris()[0].predict(X).tolist()}


@pytest.mark.parametrize("accept", [ARROW, PARQUET])
def test_rows_in_json_can_be_answered_with_a_file(acme: Caller, accept: str) -> None:
    body = {"inputs": [ROW, ROW], "outputs": ["predict"], "id": "mine"}
    answer = read(post(acme, "iris/predict", json=body, headers={"Accept": accept}))
    assert answer["predict"].to_pylist() == [0, 0]
    assert answer.schema.metadata[b"modelward.id"] == b"mine"


def as_csv(names: list[str], rows: np.ndarray) -> bytes:
    lines = [",".join(f'"{name}"' for name in names), *(",".join(map(repr, row)) for row in rows.tolist())]
    return "\r\n".join([*lines, ""]).encode()


@pytest.mark.parametrize("accept", [None, ARROW])
def test_rows_in_csv_are_answered_as_in_json(acme: Caller, names: list[str], accept: str | None) -> None:
    sent = as_csv(names[::-1], X[:, ::-1])
    answer = post(
        acme, "iris/predict?outputs=predict", data=sent, headers={"Content-Type": CSV, "Accept": accept or "*/*"}
    )
    found = answer.json["outputs"]["predict"] if accept is None else read(answer)["predict"].to_pylist()
    assert found == iris()[0].predict(X).tolist()


def test_many_rows_in_csv_come_in_batches_and_a_bad_one_is_named_by_its_place(acme: Caller, names: list[str]) -> None:
    rows = np.tile(X, (600, 1))
    sent = as_csv(names, rows)
    assert (
        len(post(acme, "iris/predict", data=sent, headers={"Content-Type": CSV}).json["outputs"]["predict"]) == 90_000
    )
    spoilt = sent.rstrip(b"\r\n").rpartition(b",")[0] + b",wide\r\n"
    before = acme.get("/v1/usage").json
    refused = post(acme, "iris/predict", data=spoilt, headers={"Content-Type": CSV})
    assert (refused.status_code, refused.json["errors"][0]["at"]) == (422, f"inputs[{len(rows) - 1}].{names[-1]}")
    assert acme.get("/v1/usage").json == before


@pytest.mark.parametrize(
    ("sent", "kind", "status"),
    [
        (b"", CSV, 400),
        (b"a\xff", CSV, 400),
        (b"a,b\n1,2\n", CSV, 422),
        (b"a", "text/csv; charset=latin-1", 415),
        (b"a", "text/tab-separated-values", 415),
    ],
)
def test_csv_that_is_none_is_refused(acme: Caller, sent: bytes, kind: str, status: int) -> None:
    refused = post(acme, "iris/predict", data=sent, headers={"Content-Type": kind})
    assert refused.status_code == status
    assert refused.json["errors"] or len(refused.json["detail"]) > 20


@MEDIA
def test_the_version_s_address_tells_which_version_answers(acme: Caller, table: Table, media: str) -> None:
    answer = predict(acme, table(X), media, at="iris/versions/1/predict")
    assert answer.headers["Modelward-Version"] == "1"
    assert "Modelward-Alias" not in answer.headers
    assert b"modelward.alias" not in read(answer).schema.metadata
    assert predict(acme, table(X), media, at="iris/versions/9/predict").status_code == 404
    assert predict(acme, table(X), media, at="no-such/predict").status_code == 404


@MEDIA
def test_cells_and_columns_that_do_not_fit_are_named(acme: Caller, table: Table, media: str, names: list[str]) -> None:
    bad = X.copy()
    bad[140, 2] = np.inf
    refused = predict(acme, table(bad), media)
    assert (refused.status_code, refused.json["code"]) == (422, "signature_mismatch")
    assert refused.json["errors"] == [{"at": f"inputs[140].{names[2]}", "message": "must be finite"}]
    missing = predict(acme, table(X).drop_columns([names[1]]), media)
    assert missing.json["errors"] == [{"at": f"inputs.{names[1]}", "message": "is missing"}]
    assert predict(acme, table(X[:0]), media).status_code == 422


@pytest.mark.parametrize(
    "query", ["outputs=", "outputs=predict,", "outputs=classes", "outputs=transform", "id=", "id=a%00", "rows=3"]
)
def test_a_query_that_asks_for_what_there_is_not_is_refused(acme: Caller, table: Table, query: str) -> None:
    assert predict(acme, table(X), at=f"iris/predict?{query}").status_code == 422


def test_a_body_in_json_says_itself_what_it_asks_for(acme: Caller) -> None:
    refused = acme.post("/v1/models/iris/predict?outputs=predict", {"inputs": [ROW]})
    assert (refused.status_code, refused.json["code"]) == (422, "invalid_query")
    assert refused.json["errors"] == [{"at": "outputs", "message": "A body in JSON says this itself."}]


@MEDIA
@pytest.mark.parametrize("data", [b"nonsense", b"PAR1", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x80\x04\x95", b"{}"])
def test_what_is_no_file_of_that_form_is_malformed(acme: Caller, media: str, data: bytes) -> None:
    refused = predict(acme, data, media)
    assert (refused.status_code, refused.json["code"]) == (400, "invalid_body")


@MEDIA
def test_an_empty_body_is_malformed(acme: Caller, media: str) -> None:
    refused = predict(acme, b"", media)
    assert (refused.status_code, refused.json["code"]) == (400, "empty_body")


def test_a_caller_that_takes_none_of_the_forms_gets_no_answer(acme: Caller, table: Table) -> None:
    refused = predict(acme, table(X), accept="text/csv")
    assert (refused.status_code, refused.json["code"]) == (406, "not_acceptable")
    assert ARROW in refused.json["detail"]


@MEDIA
def test_a_compressed_body_is_inflated(acme: Caller, table: Table, media: str) -> None:
    packed = gzip.compress(written(table(X), media))
    assert read(predict(acme, packed, media, **{"Content-Encoding": "gzip"})).num_rows == len(X)


def uploaded(caller: Caller, estimator: BaseEstimator, **metadata: Any) -> str:
    name = unused("bulk")
    made = caller.upload(name, dumps(estimator), **metadata)
    assert made.status_code == 201, made.text
    return name


def test_text_and_labels_that_are_strings_go_through(acme: Caller) -> None:
    texts = ["good day", "bad day", "good night", "bad night"]
    labels = ["näy", "yes", "näy", "yes"]
    estimator = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(np.array(texts, object), labels)
    model = uploaded(acme, estimator)
    column = acme.get(f"/v1/models/{model}/versions/1").json["signature"]["inputs"][0]["name"]
    answer = read(predict(acme, pa.table({column: texts}), at=f"{model}/predict?outputs=predict,predict_proba"))
    assert answer["predict"].to_pylist() == labels
    assert answer.schema.field("predict").type == pa.string()
    assert orjson.loads(answer.schema.metadata[b"modelward.classes"]) == ["näy", "yes"]


def test_many_batches_become_one_answer_in_the_order_of_the_rows(acme: Caller) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 3))
    forest = RandomForestRegressor(5, random_state=0).fit(rows[:500], rows[:500] @ rng.normal(size=(3, 2)))
    model = uploaded(acme, forest)
    asked = pa.table({f"x{index}": rows[:, index] for index in range(3)})
    answer = read(predict(acme, written(asked, ARROW, rows=700), at=f"{model}/predict"))
    column = answer["predict"]
    assert column.num_chunks > 3
    values = column.combine_chunks().flatten().to_numpy().reshape(-1, 2)
    np.testing.assert_allclose(values, forest.predict(rows), rtol=1e-9)


def test_all_rows_of_a_body_count_as_one_request_and_none_of_one_that_fails(world: World, table: Table) -> None:
    caller = world.tenant(unused("counted"))
    assert caller.upload("iris", alias="production").status_code == 201
    good = np.tile(X, (40, 1))
    bad = good.copy()
    bad[5999, 0] = np.nan
    assert read(predict(caller, written(table(good), ARROW, rows=500))).num_rows == 6000
    refused = predict(caller, written(table(bad), ARROW, rows=500))
    assert [each["at"].startswith("inputs[5999]") for each in refused.json["errors"]] == [True]
    (used,) = caller.get("/v1/usage").json["data"]
    assert (used["requests"], used["rows"]) == (1, 6000)


def test_rows_beyond_the_plan_s_are_refused_and_none_of_the_body_s_count(world: World, table: Table) -> None:
    plan = unused("plan")
    limits = {"max_models": 9, "max_bytes": 1 << 30, "max_body_bytes": 1 << 20, "max_concurrency": 9}
    made = world.operator.post("/v1/admin/plans", {"slug": plan, "name": "Small", "rows_per_day": 5000, **limits})
    assert made.status_code == 201, made.text
    caller = world.tenant(unused("limited"), plan=plan)
    assert caller.upload("iris", alias="production").status_code == 201
    refused = predict(caller, table(np.tile(X, (40, 1))))
    assert (refused.status_code, refused.json["code"]) == (429, "rows_quota_exceeded")
    assert int(refused.headers["Retry-After"]) > 0
    assert read(predict(caller, table(np.tile(X, (33, 1))))).num_rows == 4950


def test_an_answer_in_json_is_bounded_where_a_file_is_not(acme: Caller) -> None:
    rows = np.random.default_rng(0).normal(size=(90, 2))
    estimator = LogisticRegression(max_iter=1000).fit(rows, np.arange(90) % 30)
    model = uploaded(acme, estimator)
    count = MOST_BYTES // 30 // 25 + 1
    many = pa.table({f"x{index}": np.zeros(count) for index in range(2)})
    refused = predict(acme, many, accept=JSON, at=f"{model}/predict?outputs=predict_proba")
    assert (refused.status_code, refused.json["code"]) == (413, "answer_too_large")
    assert read(predict(acme, many, at=f"{model}/predict?outputs=predict_proba")).num_rows == count


def test_a_server_without_the_extra_says_what_to_install(tmp_path: Path) -> None:
    """In a process of its own, in which pyarrow cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYARROW, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


WITHOUT_PYARROW = f"""
import sys
from pathlib import Path

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] == "pyarrow" else self.finder.find_spec(name, *rest)

sys.meta_path[:] = map(Without, sys.meta_path)

from service import schema
from service.app import create_app
from service.config import Settings
from service.tenants.keys import KeySpec
from service.tenants.principal import Principal
from tests.api.callers import ROW, SECRET, Caller

settings = Settings(data_dir=Path(sys.argv[1]), secret_key=SECRET)
schema.upgrade(settings.resolved_database_url)
app = create_app(settings)
services = app.extensions["modelward"]
key = services.keys.create(Principal.operator(), KeySpec("Operator", role="platform-admin"))
caller = Caller(app.test_client(), key.secret)
path, rows = "/v1/models/iris/predict", {{"inputs": [ROW]}}
try:
    refused = caller.call("POST", path, data=b"x", content_type="{ARROW}")
    assert refused.status_code == 415 and "modelward[bulk]" in refused.json["detail"], refused.text
    assert refused.json["code"] == "unsupported_media_type"
    refused = caller.post(path, rows, headers={{"Accept": "{PARQUET}"}})
    assert refused.status_code == 406 and "modelward[bulk]" in refused.json["detail"], refused.text
    for accept, status in (("text/csv", 406), ("{PARQUET}, */*;q=0.1", 404)):
        assert caller.post(path, rows, headers={{"Accept": accept}}).status_code == status, accept
finally:
    services.close()
"""

"""Predictions: equal to scikit-learn's own, in every form of address, and refused by name."""

import asyncio
import sqlite3
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
import sqlalchemy as sa
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from service.errors import Conflict, Invalid, NotFound, QuotaExceeded, TooLarge, Unavailable
from service.predict.predictor import Prediction, Predictor
from service.predict.results import NullAnswers, Results
from service.registry.resolution import AliasRef, DefaultRef, Ref, VersionRef
from service.server.waiting import OnLoopError
from service.telemetry import Telemetry
from service.tenants.principal import Principal
from tests.predict.workers import PredictWorker
from tests.registry.workers import artifact, classifier, regression

IRIS = load_iris()
TEXTS = ["good food", "bad service", "good service", "bad food"]
SCALED = ColumnTransformer([("scaled", StandardScaler(), [0]), ("named", OneHotEncoder(), [1])])
MIXED = [[1.0, "u"], [2.0, "v"], [3.0, "u"], [4.0, "v"]]


def ask(
    worker: PredictWorker, principal: Principal, inputs: object, *outputs: str, ref: Ref | None = None, model: str = "m"
) -> tuple[Prediction, dict[str, Any]]:
    prediction = worker.predictor.predict(principal, model, ref or DefaultRef(), inputs, outputs or None)
    return prediction, orjson.loads(prediction.outputs_json)


def reason(worker: PredictWorker, principal: Principal, inputs: object, *outputs: str) -> str:
    with pytest.raises(Invalid) as caught:
        ask(worker, principal, inputs, *outputs)
    return caught.value.reason


def rows_of(X: Any) -> list[list[Any]]:
    return [[text] for text in X] if isinstance(X[0], str) else np.asarray(X).tolist()


CASES: dict[str, tuple[BaseEstimator, Any, Any]] = {
    "logistic": (LogisticRegression(max_iter=500), IRIS.data, IRIS.target),
    "strings": (LogisticRegression(max_iter=500), IRIS.data, IRIS.target_names[IRIS.target]),
    "booleans": (LogisticRegression(max_iter=500), IRIS.data, IRIS.target == 1),
    "scaled svc": (make_pipeline(StandardScaler(), SVC()), IRIS.data, IRIS.target),
    "forest": (RandomForestClassifier(10, n_jobs=4, random_state=0), *load_digits(return_X_y=True)),
    "gradient": (HistGradientBoostingClassifier(max_iter=5), IRIS.data, IRIS.target),
    "neighbours": (KNeighborsClassifier(), IRIS.data, IRIS.target),
    "regression": (make_pipeline(StandardScaler(), Ridge()), *load_diabetes(return_X_y=True)),
    "text": (make_pipeline(TfidfVectorizer(), LogisticRegression()), TEXTS, ["pos", "neg", "pos", "neg"]),
    "outliers": (IsolationForest(n_estimators=5, random_state=0), IRIS.data, None),
}


@pytest.mark.parametrize("name", CASES)
def test_every_output_equals_scikit_learn_s_own(worker: PredictWorker, acme: Principal, name: str) -> None:
    estimator, X, y = CASES[name]
    estimator.fit(X, y)
    version = worker.upload(acme, data=artifact(estimator))
    X = X[:7]
    prediction, outputs = ask(worker, acme, rows_of(X), *version.methods)
    assert (prediction.model, prediction.version, prediction.alias, prediction.rows) == ("m", 1, None, len(X))
    assert list(outputs) == list(version.methods)
    for method, values in outputs.items():
        expected = getattr(estimator, method)(X)
        if np.asarray(expected).dtype.kind == "f":
            np.testing.assert_allclose(np.array(values), expected, rtol=1e-12, atol=1e-12)
        else:
            assert values == np.asarray(expected).tolist()


def test_rows_by_name_answer_like_rows_by_position(worker: PredictWorker, acme: Principal) -> None:
    version = worker.upload(acme, data=artifact(LogisticRegression(max_iter=500).fit(IRIS.data, IRIS.target)))
    names = [column["name"] for column in version.signature["inputs"]]
    lists = IRIS.data[::30].tolist()
    objects = [dict(zip(reversed(names), reversed(row), strict=True)) for row in lists]
    assert ask(worker, acme, lists, "predict_proba")[1] == ask(worker, acme, objects, "predict_proba")[1]


def test_columns_of_several_types_reach_their_own_steps(worker: PredictWorker, acme: Principal) -> None:
    table = np.array(MIXED, dtype=object)
    estimator = Pipeline([("columns", SCALED), ("model", LogisticRegression())]).fit(table, [0, 1, 0, 1])
    worker.upload(acme, data=artifact(estimator))
    outputs = ask(worker, acme, MIXED, "predict", "predict_proba")[1]
    assert outputs["predict"] == [0, 1, 0, 1]
    np.testing.assert_allclose(outputs["predict_proba"], estimator.predict_proba(table), rtol=1e-12)
    assert reason(worker, acme, [["1.0", "u"]]) == "signature_mismatch"
    assert reason(worker, acme, [[1.0, "never seen"]]) == "prediction_failed"


def test_a_version_is_addressed_in_three_ways(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme, data=regression(1.0), alias="production")
    worker.upload(acme, data=regression(2.0), alias="candidate")
    worker.upload(acme, data=regression(3.0))
    for ref, number, alias, answer in (
        (DefaultRef(), 1, "production", 10.0),
        (AliasRef("candidate"), 2, "candidate", 20.0),
        (VersionRef(3), 3, None, 30.0),
    ):
        prediction, outputs = ask(worker, acme, [[10.0]], ref=ref)
        assert (prediction.version, prediction.alias) == (number, alias)
        assert outputs["predict"] == pytest.approx([answer])


def test_a_promote_and_a_rollback_change_the_next_answer(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme, data=regression(1.0), alias="production")
    worker.upload(acme, data=regression(2.0))
    answers = []
    for change in (None, "move", "rollback"):
        if change == "move":
            worker.aliases.move(acme, "m", "production", 2)
        elif change == "rollback":
            worker.aliases.rollback(acme, "m", "production")
        answers.append(ask(worker, acme, [[10.0]])[0].version)
    assert answers == [1, 2, 1]


def test_only_the_version_s_own_outputs_can_be_asked_for(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme)
    for outputs in (("predict_proba",), ("predict", "fit"), ("__init__",)):
        with pytest.raises(Invalid) as caught:
            ask(worker, acme, [[1.0]], *outputs)
        assert caught.value.reason == "unknown_output"
        assert "predict" in caught.value.detail
    with pytest.raises(Invalid):
        worker.predictor.predict(acme, "m", DefaultRef(), [[1.0]], ())


def test_an_output_that_is_asked_for_twice_is_given_once(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme, data=classifier())
    assert list(ask(worker, acme, [[1.0, 0.0]], "predict", "predict_proba", "predict")[1]) == [
        "predict",
        "predict_proba",
    ]


def test_a_warm_prediction_sends_no_statement(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme, data=classifier())
    ask(worker, acme, [[1.0, 0.0]])
    statements: list[str] = []
    sa.event.listen(worker.database.engine, "before_cursor_execute", lambda *seen: statements.append(seen[2]))
    for _ in range(10):
        ask(worker, acme, [[1.0, 0.0]], "predict", "predict_proba")
    assert statements == []


def test_a_missing_number_is_null_on_the_way_out(worker: PredictWorker, acme: Principal) -> None:
    huge = artifact(Ridge(alpha=0.0, fit_intercept=False).fit([[1.0], [2.0]], [1e200, 2e200]))
    worker.upload(acme, data=huge)
    with np.errstate(over="ignore"):
        assert ask(worker, acme, [[1e200], [1.0]])[1]["predict"] == [None, pytest.approx(1e200)]


def test_an_answer_that_would_be_too_large_is_refused_and_uses_none_of_the_day_s_rows(worker: PredictWorker) -> None:
    acme = worker.principal(rows_per_day=100_000)
    estimator = LogisticRegression().fit([[0.0], [1.0]], ["a", "ä" * 1000])
    worker.upload(acme, data=artifact(estimator))
    for rows in (40_000, 80_000):  # the first is found too large by what it answers, the other by what it could
        with pytest.raises(TooLarge) as refusal:
            ask(worker, acme, [[9.0]] * rows)
        assert refusal.value.reason == "answer_too_large"
    assert worker.usage.rows_today(acme) == 0
    assert ask(worker, acme, [[0.0]] * 40_000)[0].rows == 40_000


def test_rows_count_against_the_day_s_quota_before_they_cost_anything(worker: PredictWorker) -> None:
    acme = worker.principal(rows_per_day=3)
    worker.upload(acme)
    ask(worker, acme, [[1.0], [2.0]])
    with pytest.raises(QuotaExceeded):
        ask(worker, acme, [[1.0], [2.0]])
    assert reason(worker, acme, [["x"]]) == "signature_mismatch"
    assert ask(worker, acme, [[1.0]])[0].rows == 1


def test_a_prediction_that_fails_uses_none_of_the_day_s_rows(worker: PredictWorker) -> None:
    acme = worker.principal(rows_per_day=3)
    worker.upload(acme)
    ask(worker, acme, [[1.0]])
    unable = Predictor(worker.resolution, worker.loading(), Results(NullAnswers()), worker.usage, Telemetry())
    worker.store.delete(acme.tenant_id, worker.resolution.resolve(acme, "m", DefaultRef()).digest)
    for _ in range(5):
        with pytest.raises(Unavailable):
            unable.predict(acme, "m", DefaultRef(), [[1.0], [2.0]])
    assert worker.usage.rows_today(acme) == 1
    assert ask(worker, acme, [[1.0], [2.0]])[0].rows == 2


def test_a_prediction_that_would_wait_on_the_loop_is_none_yet_and_uses_no_rows(worker: PredictWorker) -> None:
    acme = worker.principal(rows_per_day=4)
    worker.upload(acme, data=artifact(KNeighborsClassifier(1).fit([[0.0], [1.0]], [0, 1])))

    async def on_the_loop() -> None:
        ask(worker, acme, [[1.0], [0.0]])

    with pytest.raises(OnLoopError):
        asyncio.run(on_the_loop())
    assert worker.usage.rows_today(acme) == 0
    assert ask(worker, acme, [[1.0], [0.0]])[1] == {"predict": [1, 0]}
    with pytest.raises(OnLoopError):
        asyncio.run(on_the_loop())
    assert worker.usage.rows_today(acme) == 2


class Runs(Telemetry):
    """Notes each run of a model and each answered row."""

    def __init__(self) -> None:
        self.runs: list[float] = []
        self.rows = 0

    def model_ran(self, tenant: str, model: str, version: int, seconds: float) -> None:
        self.runs.append(seconds)

    def prediction(self, tenant: str, model: str, version: int, rows: int) -> None:
        self.rows += rows


def test_a_kept_answer_is_no_run_of_the_model(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme)
    heard = Runs()
    predictor = Predictor(worker.resolution, worker.loaded, Results(worker.answers, b"k" * 32), worker.usage, heard)
    assert [predictor.predict(acme, "m", DefaultRef(), [[1.0]]).cache for _ in range(3)] == ["miss", "hit", "hit"]
    assert (len(heard.runs), heard.rows) == (1, 3)


def test_what_is_not_there_or_not_served_is_refused(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme)
    restricted = replace(acme, models=frozenset({"other"}))
    for principal, model in ((acme, "unknown"), (restricted, "m"), (worker.principal("stranger"), "m")):
        with pytest.raises(NotFound):
            ask(worker, principal, [[1.0]], model=model)
    worker.versions.archive(acme, "m", 1)
    with pytest.raises(Conflict):
        ask(worker, acme, [[1.0]], ref=VersionRef(1))


def test_a_failure_of_the_estimator_says_nothing_of_its_inside(worker: PredictWorker, acme: Principal) -> None:
    secret = OneHotEncoder(categories=[["u", "secret"]])
    estimator = Pipeline(
        [("columns", ColumnTransformer([("named", secret, [1])])), ("model", LogisticRegression())]
    ).fit(np.array([[1.0, "u"], [2.0, "secret"]], dtype=object), [0, 1])
    worker.upload(acme, data=artifact(estimator), sample=[[1.0, "u"]])
    with pytest.raises(Invalid) as caught:
        ask(worker, acme, [[1.0, "guess"]])
    assert caught.value.reason == "prediction_failed"
    assert "secret" not in caught.value.detail
    assert "guess" not in caught.value.detail


def test_several_outputs_all_see_the_rows_as_they_were_sent(worker: PredictWorker, acme: Principal) -> None:
    estimator = make_pipeline(StandardScaler(copy=False), LogisticRegression(max_iter=500))
    estimator.fit(IRIS.data.copy(), IRIS.target)
    worker.upload(acme, data=artifact(estimator))
    rows = IRIS.data[::10].tolist()
    outputs = ask(worker, acme, rows, "predict", "predict_proba", "decision_function")[1]
    np.testing.assert_allclose(outputs["predict_proba"], estimator.predict_proba(np.array(rows)), rtol=1e-12)
    np.testing.assert_allclose(outputs["decision_function"], estimator.decision_function(np.array(rows)), rtol=1e-12)


def test_a_warm_prediction_goes_on_while_the_database_is_away(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme, data=classifier())
    ask(worker, acme, [[1.0, 0.0]])
    path = worker.database.engine.url.database
    assert path is not None
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    assert ask(worker, acme, [[1.0, 0.0]])[1] == {"predict": ["yes"]}
    blocker.close()


def test_a_prediction_of_several_targets_is_a_matrix(worker: PredictWorker, acme: Principal) -> None:
    targets = np.array([[0, 1], [1, 0], [0, 0], [1, 1]])
    estimator = MultiOutputClassifier(LogisticRegression()).fit(
        [[0.0, 1.0], [1.0, 0.0], [0.2, 0.8], [0.9, 0.3]], targets
    )
    worker.upload(acme, data=artifact(estimator))
    assert ask(worker, acme, [[0.0, 1.0]])[1]["predict"] == estimator.predict([[0.0, 1.0]]).tolist()

"""What admission chose runs, and gives scikit-learn's own answers over the whole path."""

import contextlib
from dataclasses import replace

import numpy as np
import orjson
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from service.errors import Invalid
from service.predict.runtimes import CONNECTION_BYTES, FEW_ROWS
from service.registry.resolution import DefaultRef
from service.tenants.principal import Principal
from tests.predict.workers import PredictWorker
from tests.registry.workers import artifact

X, y = load_iris(return_X_y=True)

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = np.array(["setosa", "versicolor", "virginica"])[y]


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(max_iter=1000),
        make_pipeline(StandardScaler(), SVC()),
        RandomForestClassifier(20, random_state=0),
        GaussianNB(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("rows", [1, FEW_ROWS + 1, len(X)])
def test_a_compiled_version_answers_as_local_scikit_learn(
    worker: PredictWorker, acme: Principal, estimator: BaseEstimator, rows: int
) -> None:
    estimator.fit(X, WORDS)
    worker.upload(acme, data=artifact(estimator))
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    assert worker.loaded.get(version).size_bytes > CONNECTION_BYTES
    prediction = worker.predictor.predict(acme, "m", DefaultRef(), X[:rows].tolist(), version.methods)
    answers = orjson.loads(prediction.outputs_json)
    for method in version.methods:
        expected = getattr(estimator, method)(X[:rows])
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(answers[method], expected, rtol=1e-9, atol=1e-9)
        else:
            assert answers[method] == expected.tolist()


def test_a_version_without_a_form_runs_in_a_child(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme, data=artifact(KNeighborsClassifier().fit(X, y)))
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    assert worker.loaded.get(version).size_bytes == CONNECTION_BYTES
    assert worker.child_of(version) is not None
    assert worker.versions.get(acme, "m", 1).runtime["backend"] == "isolated"


def test_a_version_whose_forms_do_all_has_no_child(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme, data=artifact(LogisticRegression(max_iter=1000).fit(X, WORDS)))
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    worker.predictor.predict(acme, "m", DefaultRef(), X[:3].tolist(), version.methods)
    assert worker.child_of(version) is None


def test_a_version_too_large_for_every_worker_has_its_forms_in_its_child(
    worker: PredictWorker, acme: Principal
) -> None:
    estimator = RandomForestClassifier(20, random_state=0).fit(X, WORDS)
    worker.upload(acme, data=artifact(estimator))
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    assert "onnx" in version.plan["predict"].values()
    runtime = worker.loading(budget_bytes=1000).get(version)
    assert runtime.size_bytes == CONNECTION_BYTES
    for method in version.methods:
        (given, by), expected = runtime.run(X, method), getattr(estimator, method)(X)
        assert by == version.plan[method]["many"]
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(given, expected, rtol=1e-9, atol=1e-9)
        else:
            assert given.tolist() == expected.tolist()
    runtime.close()


def test_a_version_in_long_doubles_answers(worker: PredictWorker, acme: Principal) -> None:
    estimator = LinearRegression().fit(X, y)
    estimator.coef_ = estimator.coef_.astype(np.longdouble)
    worker.upload(acme, data=artifact(estimator))
    answers = orjson.loads(worker.predictor.predict(acme, "m", DefaultRef(), X[:3].tolist()).outputs_json)
    np.testing.assert_allclose(answers["predict"], estimator.predict(X[:3]).astype(np.float64))


def test_rows_that_a_form_declines_are_answered_by_scikit_learn(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme, data=artifact(RandomForestClassifier(5, random_state=0).fit(X, y)))
    version = worker.resolution.resolve(acme, "m", DefaultRef())
    for loaded in (worker.loaded, worker.loading(budget_bytes=1000)):
        with contextlib.closing(loaded.get(version)) as runtime, pytest.raises(Invalid) as refusal:
            runtime.run(np.full((1, 4), 1e39), "predict")
        assert refusal.value.reason == "prediction_failed"
    assert worker.child_of(version) is not None


def test_scikit_learn_itself_can_be_asked_past_a_form(worker: PredictWorker, acme: Principal) -> None:
    estimator = LogisticRegression(max_iter=1000).fit(X, WORDS)
    worker.upload(acme, data=artifact(estimator))
    runtime = worker.loaded.get(worker.resolution.resolve(acme, "m", DefaultRef()))
    assert runtime.run_native(X, "predict").tolist() == estimator.predict(X).tolist()
    np.testing.assert_array_equal(runtime.run_native(X, "predict_proba"), estimator.predict_proba(X))


def test_versions_of_equal_bytes_and_other_plans_share_neither_runtime_nor_answers(
    worker: PredictWorker, acme: Principal
) -> None:
    worker.models.create(acme, "rough", parity="tolerance")
    data = artifact(MLPClassifier(random_state=0, max_iter=50, tol=1.0).fit(X, y))
    versions = {}
    for model in ("m", "rough"):
        worker.upload(acme, model, data)
        versions[model] = worker.resolution.resolve(acme, model, DefaultRef())
    assert versions["m"].digest == versions["rough"].digest
    assert (versions["m"].policy, versions["rough"].policy) == ("exact", "tolerance")
    rough = replace(
        versions["rough"], plan={"predict": {"one": "onnx-float32", "many": "onnx-float32"}}, plan_digest="rough"
    )
    assert worker.loaded.get(versions["m"]) is not worker.loaded.get(rough)
    runs = [
        worker.caching_predictor.run(acme, version, X[:1], ("predict",)) for version in (versions["m"], rough, rough)
    ]
    assert [(run.cache, run.runtimes) for run in runs] == [
        ("miss", (versions["m"].plan["predict"]["one"],)),
        ("miss", ("onnx-float32",)),
        ("hit", ()),
    ]


def test_scikit_learn_itself_answers_whoever_asks_for_it(worker: PredictWorker, acme: Principal) -> None:
    worker.upload(acme, data=artifact(LogisticRegression(max_iter=1000).fit(X, WORDS)))
    rows = X[:1].tolist()
    outputs = ("predict", "predict_proba")
    chosen = worker.caching_predictor.predict(acme, "m", DefaultRef(), rows, outputs)
    native = worker.caching_predictor.predict(acme, "m", DefaultRef(), rows, outputs, native=True)
    assert chosen.runtimes == ("numpy", "numpy")
    assert (native.runtimes, native.cache) == (("native", "native"), "miss")
    assert native.outputs_json == chosen.outputs_json
    again = worker.caching_predictor.predict(acme, "m", DefaultRef(), rows, outputs, native=True)
    assert (again.runtimes, again.cache) == ((), "hit")


def test_a_version_that_has_no_form_answers_natively_and_from_the_same_kept_answers(
    worker: PredictWorker, acme: Principal
) -> None:
    worker.upload(acme, data=artifact(KNeighborsClassifier().fit(X, y)))
    asked = [
        worker.caching_predictor.predict(acme, "m", DefaultRef(), X[:1].tolist(), native=native)
        for native in (False, True)
    ]
    assert [(each.runtimes, each.cache) for each in asked] == [(("native",), "miss"), ((), "hit")]

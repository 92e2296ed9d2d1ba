"""Forms come back from their bytes as they were, and bytes that are none are refused."""

import copy
from typing import Any

import numpy as np
import orjson
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler
from sklearn.svm import SVC, SVR

from service.predict.packing import pack, unpack
from service.runtimes.chain import Standardise, Stretch
from service.runtimes.derivation.derive import NUMPY, ONNX, ONNX_FLOAT32, TREELITE, derive
from service.runtimes.forms import UnfitError
from service.runtimes.linear import Linear
from service.runtimes.sessions import Session

X, y = load_iris(return_X_y=True)

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = np.array(["setosa", "versicolor", "virginica"], dtype=object)[y]
WHOLE = np.round(X)

CASES: list[tuple[BaseEstimator, str]] = [
    (LinearRegression(), NUMPY),
    (LogisticRegression(max_iter=1000), NUMPY),
    (SVC(), NUMPY),
    (SVC(kernel="poly", decision_function_shape="ovo"), NUMPY),
    (SVR(), NUMPY),
    (make_pipeline(SimpleImputer(), MinMaxScaler(clip=True), PCA(2), StandardScaler(), LogisticRegression()), NUMPY),
    (make_pipeline(MaxAbsScaler(), GradientBoostingRegressor(n_estimators=5)), TREELITE),
    (RandomForestClassifier(5, random_state=0), TREELITE),
    (HistGradientBoostingClassifier(max_iter=5, categorical_features=[0]), TREELITE),
    (RandomForestClassifier(5, random_state=0), ONNX),
    (RandomForestRegressor(5, random_state=0), ONNX),
    (make_pipeline(StandardScaler(), GradientBoostingRegressor(n_estimators=5)), ONNX),
    (IsolationForest(n_estimators=5, random_state=0), ONNX),
    (GaussianNB(), ONNX),
    (GaussianNB(), ONNX_FLOAT32),
]


def sent(forms: dict[str, Any]) -> tuple[Any, bytes]:
    described, parts = pack(forms)
    return orjson.loads(orjson.dumps(described)), b"".join(bytes(part) for part in parts)


@pytest.mark.parametrize(("estimator", "name"), CASES, ids=lambda each: getattr(each, "__name__", type(each).__name__))
@pytest.mark.parametrize("labels", [y, WORDS], ids=["numbers", "objects"])
def test_a_form_that_was_sent_gives_the_same_answers_bit_for_bit(
    estimator: BaseEstimator, name: str, labels: Any
) -> None:
    numbers_only = labels is WORDS and not hasattr(estimator, "predict_proba") and not isinstance(estimator, SVC)
    form = derive(estimator.fit(WHOLE, y if numbers_only else labels), {name})[name]
    again = unpack(*sent({name: form}))[name]
    assert type(again) is type(form)
    assert again.methods == form.methods
    assert again.size_bytes == form.size_bytes
    for method in form.methods:
        for rows in (WHOLE, WHOLE[:1], X):
            given, expected = again.run(rows.copy(), method), form.run(rows.copy(), method)
            assert given.dtype == expected.dtype
            np.testing.assert_array_equal(given, expected)


def test_several_forms_are_told_apart_by_their_names() -> None:
    forms = derive(RandomForestClassifier(5, random_state=0).fit(X, y), {ONNX, TREELITE})
    again = unpack(*sent(dict(forms)))
    assert {name: type(form.sums) for name, form in again.items()} == {
        name: type(form.sums) for name, form in forms.items()
    }


def test_no_forms_are_sent_as_such() -> None:
    assert unpack(*sent({})) == {}


def test_arrays_keep_the_order_in_which_they_lie_and_nothing_else_of_what_was_sent() -> None:
    coef = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    described, body = sent({"numpy": Linear(coef, np.zeros(3), None, None)})
    received = bytearray(body)
    again = unpack(described, received)["numpy"]
    received[:] = bytes(len(received))
    assert again.coef.flags.f_contiguous
    np.testing.assert_array_equal(again.coef, coef)


def test_numbers_that_json_has_no_word_for_come_back() -> None:
    step = Stretch(np.ones(2), np.zeros(2), (-np.inf, 0.1))
    described, body = sent({"numpy": step})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="more or less than forms"):
        unpack(described, body)
    assert described["numpy"]["parts"]["bounds"] == [{"float": "-inf"}, {"float": (0.1).hex()}]


def test_what_is_nothing_plain_is_not_sent() -> None:
    with pytest.raises(TypeError, match="nothing plain"):
        pack({"numpy": Linear(np.ones(2), np.zeros(()), np.array([0, 1]), {"link"})})  # type: ignore[arg-type]


LINEAR, BODY = sent({"numpy": derive(LogisticRegression(max_iter=1000).fit(X, y), {NUMPY})[NUMPY]})


def with_part(name: str, value: Any) -> Any:
    described = copy.deepcopy(LINEAR)
    described["numpy"]["parts"][name] = value
    return described


def without_part(name: str) -> Any:
    described = copy.deepcopy(LINEAR)
    del described["numpy"]["parts"][name]
    return described


def nested(depth: int) -> Any:
    described: Any = []
    for _ in range(depth):
        described = [described]
    return with_part("link", described)


@pytest.mark.parametrize(
    ("described", "body"),
    [
        (None, b""),
        ([], b""),
        ({"numpy": 1}, b""),
        ({"numpy": None}, b""),
        ({"numpy": {"kind": "Session", "parts": {}}}, b""),
        ({"numpy": {"kind": "Step", "parts": {}}}, b""),
        ({"numpy": {"kind": ["Linear"], "parts": {}}}, b""),
        ({"numpy": {"kind": "Linear", "parts": []}}, b""),
        (with_part("link", "exec"), BODY),
        (with_part("link", 1), BODY),
        (with_part("coef", None), BODY),
        (with_part("size_bytes", 0), BODY),
        (with_part("classes", LINEAR["numpy"]), BODY),
        (without_part("link"), BODY),
        (nested(10_000), BODY),
        (LINEAR, BODY[:-1]),
        (LINEAR, BODY + b"x"),
        (with_part("coef", {"array": {"dtype": "|O", "shape": [1]}, "bytes": 8, "by_columns": False}), BODY),
        (with_part("coef", {"array": {"dtype": "<f8", "shape": [1 << 60]}, "bytes": 96, "by_columns": False}), BODY),
        (with_part("coef", {"bytes": -1}), BODY),
        (with_part("coef", {"bytes": 1 << 60}), BODY),
        (with_part("coef", {"bytes": "all"}), BODY),
        (with_part("coef", {}), BODY),
        (with_part("coef", {"float": "one"}), BODY),
    ],
)
def test_what_describes_no_forms_is_refused(described: Any, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"what was sent|there are fewer|hexadecimal"):
        unpack(described, body)


@pytest.mark.parametrize(
    "parts",
    [
        lambda: Linear(np.ones((1, 2, 3)), np.zeros(1), None, None),
        lambda: Linear(np.ones(2), np.zeros(()), np.eye(2), None),
        lambda: Standardise(np.ones((2, 2)), None),
        lambda: Standardise(np.ones(2), np.ones(3)),
    ],
)
def test_parts_that_do_not_agree_make_no_form(parts: Any) -> None:
    with pytest.raises(UnfitError, match="do not agree"):
        parts()


@pytest.mark.parametrize("graph", [b"no graph", b""])
def test_what_is_no_graph_is_refused(graph: bytes) -> None:
    described, body = sent({"onnx": derive(GaussianNB().fit(X, y), {ONNX})[ONNX]})
    described["onnx"]["parts"]["model"] = {"bytes": len(graph)}
    classes = described["onnx"]["parts"]["classes"]["bytes"]
    with pytest.raises(ValueError, match="makes no form"):
        unpack(described, graph + body[-classes:])


def test_a_graph_that_keeps_its_numbers_in_a_file_is_not_opened() -> None:
    import onnx  # noqa: PLC0415

    model = onnx.load_from_string(derive(GaussianNB().fit(X, y), {ONNX})[ONNX].model)  # type: ignore[attr-defined]
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.ClearField("double_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="pyproject.toml")
    with pytest.raises(UnfitError, match="file"):
        Session(model.SerializeToString())


@pytest.mark.parametrize(("field", "value"), [("cleft", 0), ("cright", 1 << 30), ("split_index", 99)])
def test_trees_that_lead_in_a_circle_or_out_of_their_arrays_are_refused(field: str, value: int) -> None:
    form: Any = derive(RandomForestClassifier(2, random_state=0).fit(X, y), {TREELITE})[TREELITE]
    tree = form.sums._model.get_tree_accessor(1)
    values = tree.get_field(field).copy()
    values[0] = value
    tree.set_field(field, values)
    with pytest.raises(ValueError, match="leads down"):
        unpack(*sent({TREELITE: form}))

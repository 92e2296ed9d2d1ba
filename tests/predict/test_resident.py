"""What a model's process does with the requests that wait for it, without the process."""

import warnings
from collections import deque
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.decomposition import NMF
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from service.artifacts import serialization
from service.confinement.resident import Request
from service.predict.arrays import decode, encode
from service.predict.resident import MOST_ROWS, ResidentVersion, load

X, y = load_iris(return_X_y=True)
LINK: Any = None

pytestmark = pytest.mark.usefixtures("one_thread")


def request(rows: Any, method: str = "predict", **header: Any) -> Request:
    described, parts = encode(rows)
    described["shape"] = list(described["shape"])
    return Request(LINK, 1, {"method": method, "rows": described, **header}, bytearray(b"".join(parts)))


def answers(version: ResidentVersion, *requests: Request) -> tuple[list[int], list[Any]]:
    """How many were answered together each time, and each answer or the header of its error."""
    waiting, sizes, found = deque(requests), [], []
    while waiting:
        chosen = version.choose(waiting)
        sizes.append(len(chosen))
        for header, parts in version.answer(chosen):
            found.append(decode(header["values"], bytearray(b"".join(parts))) if "values" in header else header)
    return sizes, found


CASES: list[tuple[BaseEstimator, tuple[str, ...]]] = [
    (KNeighborsClassifier(), ("predict", "predict_proba")),
    (KNeighborsClassifier(algorithm="brute", metric="cosine"), ("predict", "predict_proba")),
    (GaussianProcessRegressor(alpha=1e-3), ("predict",)),
    (make_pipeline(StandardScaler(), SVC()), ("predict", "decision_function")),
    (RandomForestClassifier(10, random_state=0), ("predict", "predict_proba")),
    (HistGradientBoostingClassifier(max_iter=5), ("predict", "predict_proba")),
    (MLPClassifier(max_iter=20, random_state=0, tol=1.0), ("predict", "predict_proba")),
    (MultiOutputClassifier(KNeighborsClassifier()), ("predict", "predict_proba")),
]


@pytest.mark.parametrize(("estimator", "methods"), CASES, ids=lambda case: type(case).__name__)
def test_those_who_wait_together_have_the_answers_that_they_would_have_alone(
    estimator: BaseEstimator, methods: tuple[str, ...]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, np.column_stack((y, y % 2)) if isinstance(estimator, MultiOutputClassifier) else y)
    version = ResidentVersion(estimator)
    for method in methods:
        rows = [X[number : number + 1 + number % 3] for number in range(140)]
        sizes, found = answers(version, *(request(each, method) for each in rows))
        assert sizes == [140]
        for each, answer in zip(rows, found, strict=True):
            alone = getattr(estimator, method)(each)
            for given, expected in zip(as_list(answer), as_list(alone), strict=True):
                assert given.dtype == expected.dtype
                if expected.dtype.kind == "f":
                    np.testing.assert_allclose(given, expected, rtol=1e-9, atol=1e-9)
                else:
                    assert given.tolist() == expected.tolist()


def as_list(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]


def test_texts_wait_together_too() -> None:
    texts = ["good day", "bad day", "good night", "bad luck"]
    estimator = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, ["pos", "neg", "pos", "neg"])
    version = ResidentVersion(estimator)
    sizes, found = answers(version, *(request(np.array([text], dtype=object)) for text in texts))
    assert (sizes, [answer.tolist() for answer in found]) == ([4], [["pos"], ["neg"], ["pos"], ["neg"]])


def test_only_the_same_question_is_answered_together() -> None:
    version = ResidentVersion(LogisticRegression(max_iter=500).fit(X, y))
    one = X[:1]
    sizes, found = answers(
        version,
        request(one),
        request(one, "predict_proba"),
        request(one, form="numpy"),
        request(X[:2]),
        request(one.astype(np.float32)),
        request(one, alone=True),
        request(X[:1, :3]),
        request(one, "predict_proba"),
        request(one, form="numpy"),
    )
    assert sizes == [2, 2, 2, 1, 1, 1]
    assert found[-1] == {"failed": "ValueError"}


def test_no_more_rows_are_taken_together_than_pay() -> None:
    version = ResidentVersion(KNeighborsClassifier().fit(X, y))
    sizes, _ = answers(version, *(request(X[:100]) for _ in range(12)), request(np.tile(X, (20, 1))), request(X[:1]))
    assert sizes == [MOST_ROWS // 100 + 1, 2, 1]


def test_who_cannot_be_answered_is_told_and_the_others_are_answered() -> None:
    version = ResidentVersion(KNeighborsClassifier().fit(X, y))
    sizes, found = answers(version, request(X[:1]), request(np.full((1, 4), np.nan)), request(X[60:61]))
    assert sizes == [3]
    assert [found[0].tolist(), found[1], found[2].tolist()] == [[0], {"failed": "ValueError"}, [1]]


@pytest.mark.parametrize(
    "estimator",
    [
        DummyClassifier(strategy="uniform", random_state=0),
        make_pipeline(NMF(2, init="random", random_state=0, max_iter=300, tol=1e-2), LogisticRegression()),
    ],
    ids=["draws", "joint"],
)
def test_what_depends_on_the_other_rows_is_answered_one_by_one(estimator: BaseEstimator) -> None:
    version = ResidentVersion(estimator.fit(X, y))
    sizes, found = answers(version, *(request(X[number : number + 1]) for number in range(5)))
    assert sizes == [1] * 5
    assert [answer.tolist() for answer in found] == [
        estimator.predict(X[number : number + 1]).tolist() for number in range(5)
    ]


class Odd(BaseEstimator):
    """Answers what no honest estimator does."""

    def summary(self, X: np.ndarray) -> np.ndarray:
        return np.array([len(X)])

    def huge(self, X: np.ndarray) -> sparse.csr_matrix:
        return sparse.csr_matrix((len(X), 1 << 30))

    def greedy(self, X: np.ndarray) -> np.ndarray:
        raise MemoryError


def test_an_answer_that_is_not_one_for_each_row_is_asked_for_one_by_one() -> None:
    _, found = answers(ResidentVersion(Odd()), request(X[:2], "summary"), request(X[:3], "summary"))
    assert [answer.tolist() for answer in found] == [[2], [3]]


@pytest.mark.parametrize(("method", "code"), [("huge", "answer_too_large"), ("greedy", "prediction_failed")])
def test_what_does_not_fit_is_refused(method: str, code: str) -> None:
    _, (refusal,) = answers(ResidentVersion(Odd()), request(X[:2], method))
    assert refusal["code"] == code


def test_rows_are_each_caller_s_own_however_a_step_treats_them() -> None:
    estimator = make_pipeline(StandardScaler(copy=False), KNeighborsRegressor(1)).fit(X.copy(), y)
    version = ResidentVersion(estimator)
    rows = [request(X[number : number + 1]) for number in (0, 60, 120)]
    _, found = answers(version, *rows)
    assert [answer.tolist() for answer in found] == [[0.0], [1.0], [2.0]]


def test_a_form_is_derived_once_and_scikit_learn_answers_where_there_is_none() -> None:
    estimator = LogisticRegression(max_iter=500).fit(X, y)
    version = ResidentVersion(estimator)
    for form in ("numpy", "numpy", "treelite"):
        _, (answer,) = answers(version, request(X[:3], "predict_proba", form=form))
        np.testing.assert_allclose(answer, estimator.predict_proba(X[:3]), rtol=1e-9)


def test_rows_that_a_form_declines_are_answered_by_scikit_learn() -> None:
    version = ResidentVersion(RandomForestClassifier(5, random_state=0).fit(X, y))
    with np.errstate(over="ignore"):
        _, (refusal,) = answers(version, request(np.full((1, 4), 1e39), form="treelite"))
    assert refusal == {"failed": "ValueError"}


@pytest.mark.parametrize("named", [True, False])
def test_a_model_fitted_with_names_takes_arrays_without_a_warning(named: bool) -> None:
    scaler, model = StandardScaler(), LinearRegression()
    estimator = make_pipeline(scaler, model).fit([[0.0], [1.0]], [0.0, 1.0])
    scaler.feature_names_in_ = np.array(["width"], dtype=object)
    if named:
        estimator.set_output(transform="default")
    _, (answer,) = answers(ResidentVersion(estimator), request(np.array([[1.0]])))
    assert answer == pytest.approx([1.0])


def test_steps_that_hand_on_data_frames_keep_their_names() -> None:
    scaler = StandardScaler().set_output(transform="pandas").fit([[0.0], [1.0]])
    scaler.feature_names_in_ = np.array(["width"], dtype=object)
    ResidentVersion(scaler)
    assert scaler.feature_names_in_.tolist() == ["width"]


def test_loading_gives_the_file_s_memory_back() -> None:
    body = bytearray(serialization.dump(KNeighborsClassifier(1).fit(X, y)))
    with warnings.catch_warnings():
        version = load({}, body)
    assert body == b""
    _, (answer,) = answers(version, request(X[:1]))
    assert answer.tolist() == [0]

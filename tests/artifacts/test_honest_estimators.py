"""What people build of scikit-learn's own is admitted, and answers as before; ``tests.parity`` has the whole of it."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skops.io

from service.artifacts import serialization
from service.artifacts.admission import Admission, Admitted, Declared
from tests.artifacts import corpus

IMPORTS = "import sklearn.linear_model, sklearn.pipeline, skops.io"


def seconds(do: Callable[[], object]) -> float:
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


PREDICTORS = corpus.predictors()
SOME = [name for name in PREDICTORS if name not in corpus.NOT_ADMITTED][::6]


def admitted(admission: Admission, estimator: Any) -> Admitted:
    return admission.admit(skops.io.dumps(estimator), Declared())


@pytest.mark.parametrize("name", SOME)
def test_a_predictor_is_admitted_under_a_digest_of_its_content(name: str, admission: Admission) -> None:
    estimator = corpus.fitted(name, PREDICTORS[name])

    first, second = admitted(admission, estimator), admitted(admission, estimator)

    assert first.digest == second.digest
    assert first.estimator == name
    assert first.size_bytes == len(first.data)


@pytest.mark.parametrize("name", corpus.NOT_ADMITTED)
def test_what_cannot_be_admitted_cannot_be_written_at_all(name: str) -> None:
    with pytest.raises(TypeError):
        skops.io.dumps(corpus.fitted(name, PREDICTORS[name]))


@pytest.mark.parametrize("name", corpus.PIPELINES)
def test_pipelines_answer_as_before(name: str, admission: Admission) -> None:
    estimator = corpus.pipeline(name)
    answer = admitted(admission, estimator)
    rows = _rows(name)

    again: Any = serialization.load(answer.data)

    for method in answer.methods:
        np.testing.assert_array_equal(getattr(again, method)(rows), getattr(estimator, method)(rows))
    if answer.classes is not None:
        assert answer.classes == estimator.classes_.tolist()


@pytest.mark.parametrize("name", corpus.TRANSFORMERS)
def test_transformers_are_admitted_in_front_of_a_classifier(name: str, admission: Admission) -> None:
    estimator = corpus.transformed(name)

    again: Any = serialization.load(admitted(admission, estimator).data)

    np.testing.assert_array_equal(again.predict_proba(corpus.POSITIVE), estimator.predict_proba(corpus.POSITIVE))


def test_a_warm_admission_of_a_small_model_is_sooner_done_than_an_interpreter_has_scikit_learn(
    admission: Admission,
) -> None:
    data = skops.io.dumps(corpus.pipeline("object labels"))
    admission.admit(data)
    warm, fresh = [], []
    for _ in range(3):
        warm.append(seconds(lambda: admission.admit(data)))
        fresh.append(seconds(lambda: subprocess.run([sys.executable, "-c", IMPORTS], check=True)))

    assert sorted(warm)[1] < sorted(fresh)[1]


def _rows(name: str) -> Any:
    if "text" in name:
        return np.array(corpus.WORDS, dtype=object)
    if "columns" in name:
        return corpus.MIXED
    return np.column_stack([corpus.Y % 3, corpus.X]) if "categories" in name else corpus.X

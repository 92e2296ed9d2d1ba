"""Types of answers and categories that numpy keeps as objects."""

from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import OneHotEncoder

from service.artifacts import features


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [([True, False], "bool"), (["a", "b"], "string"), ([1, 2], "int64"), ([1, 2.5], "float64"), ([1, "a"], None)],
)
def test_labels_kept_as_objects_have_a_type_where_they_share_one(labels: Any, dtype: str | None) -> None:
    described = features.describe_output("predict", np.array(labels, dtype=object), 2)

    assert described == (dtype and {"name": "predict", "dtype": dtype})


@pytest.mark.parametrize("answer", [np.array(1.0), np.zeros(3), [1, 2], np.zeros(2, complex)])
def test_what_is_no_answer_for_each_row_has_no_type(answer: Any) -> None:
    assert features.describe_output("predict", answer, 2) is None


@pytest.mark.parametrize(
    ("categories", "dtype"),
    [([True, False], "bool"), (["a", None], "string"), ([1.5, 2], "float64"), ([None], "float64")],
)
def test_categories_kept_as_objects_have_a_type(categories: Any, dtype: str) -> None:
    encoder = OneHotEncoder()
    encoder.categories_ = [np.array(categories, dtype=object)]

    assert features.column_dtypes(encoder, 1) == [dtype]

"""Answers as files, for every kind of array that an estimator gives."""

import io
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from service.api.answer_files import AnswerFile
from service.errors import TooLarge, Unacceptable
from service.registry.cells import ARROW, PARQUET

MOST = 1 << 20


def column(values: Any, dtype: str = "string", form: str = ARROW) -> pa.ChunkedArray:
    """Return an output's column, written in two batches."""
    array = np.asarray(values)
    with closing(AnswerFile(form, {"y": dtype}, {"about": "it"}, MOST)) as file:
        for part in (array[:1], array[1:]):
            file.write({"y": part})
        whole = file.finish()
        whole.seek(0)
        content = io.BytesIO(whole.read())
    table = pa.parquet.read_table(content) if form == PARQUET else pa.ipc.open_stream(content).read_all()
    assert table.schema.metadata[b"about"] == b"it"
    return table["y"]


@pytest.mark.parametrize("form", [ARROW, PARQUET])
@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        (np.array([1.5, np.inf, -0.0]), "float64", pa.float64()),
        (np.array([1.5, 2.5], np.float32), "float64", pa.float64()),
        (np.array([1.5, 2.5], np.longdouble), "float64", pa.float64()),
        (np.array([1, 2], ">i4"), "int64", pa.int64()),
        (np.array([1, 255], np.uint8), "int64", pa.int64()),
        (np.array([1, 2**63 - 1], np.uint64), "int64", pa.int64()),
        (np.array([True, False]), "bool", pa.bool_()),
        (np.array(["a", "ünï"]), "string", pa.string()),
        (np.array(["a", "b"], object), "string", pa.string()),
        (np.array([1, 2], object), "int64", pa.int64()),
        (np.array([True, False], object), "bool", pa.bool_()),
        (np.arange(6.0).reshape(3, 2), "float64", pa.list_(pa.float64(), 2)),
        (np.arange(12).reshape(2, 3, 2), "int64", pa.list_(pa.list_(pa.int64(), 2), 3)),
        (np.arange(6.0).reshape(2, 3).T, "float64", pa.list_(pa.float64(), 2)),
        (np.array([["a", "b"], ["c", "d"]], object), "string", pa.list_(pa.string(), 2)),
    ],
    ids=str,
)
def test_values_keep_what_they_are(values: Any, dtype: str, kind: pa.DataType, form: str) -> None:
    found = column(values, dtype, form)
    assert found.to_pylist() == values.tolist()
    if form == ARROW:
        assert found.type == kind


def test_nan_stays_a_number() -> None:
    found = column(np.array([np.nan, 1.0]), "float64")
    assert (found.null_count, str(found.to_pylist())) == (0, "[nan, 1.0]")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([1, "a"], object), "int64"),
        (np.array([1, 2**63], object), "int64"),
        (np.array([1, 2**63], np.uint64), "int64"),
        (np.zeros((2, 0)), "float64"),
    ],
    ids=str,
)
def test_what_fits_into_no_column_is_left_to_json(values: Any, dtype: str) -> None:
    with pytest.raises(Unacceptable, match="application/json"):
        column(values, dtype)


@pytest.mark.parametrize("form", [ARROW, PARQUET])
def test_a_file_is_bounded(form: str) -> None:
    file = AnswerFile(form, {"y": "float64"}, {}, MOST)
    file.write({"y": np.random.default_rng(0).normal(size=100_000)})
    with pytest.raises(TooLarge) as refused:
        file.write({"y": np.random.default_rng(1).normal(size=100_000)})
    assert refused.value.reason == "answer_too_large"
    file.close()

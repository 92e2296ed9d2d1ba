"""The rows of a file in batches that suit the model, whatever becomes of their reader."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pytest

from service.confinement import Confinement
from service.errors import DeadlineExceeded, Invalid, Malformed, ModelwardError, TooLarge, Unavailable
from service.predict import bulk
from service.predict.bulk import Bulk
from service.registry.cells import ARROW
from service.registry.resolution import ResolvedVersion
from service.registry.signature import Signature
from service.runtimes.policy import EXACT


@pytest.fixture(scope="module")
def confinement() -> Iterator[Confinement]:
    confinement = Confinement(preload=["service.registry.batches", "tests.predict.readers"])
    yield confinement
    confinement.close()


def version(*dtypes: str, classes: Any = None, shape: list[int] | None = None) -> ResolvedVersion:
    """A version with inputs of those types, and one output of that shape."""
    inputs = [{"name": f"x{index}", "dtype": dtype} for index, dtype in enumerate(dtypes)]
    outputs = [{"name": "predict", "dtype": "float64"} | ({} if shape is None else {"shape": shape})]
    return ResolvedVersion(
        tenant_id="ten_1",
        tenant="acme",
        model="m",
        number=1,
        alias=None,
        digest="sha256:0",
        size_bytes=1,
        estimator="Made up",
        methods=("predict",),
        classes=classes,
        signature=Signature.parse({"inputs": inputs, "outputs": outputs}),
        plan={},
        plan_digest="",
        policy=EXACT,
    )


PAIR = version("float64", "float64")


def file_of(content: bytes | pa.Table) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asked for it closes it.
    if isinstance(content, bytes):
        file.write(content)
    else:
        with pa.ipc.new_stream(file, content.schema) as writer:
            writer.write_table(content)
    file.flush()
    return file


def rows(count: int) -> pa.Table:
    return pa.table({"x0": np.arange(float(count)), "x1": np.zeros(count)})


def sizes(reading: Bulk, of: ResolvedVersion, content: bytes | pa.Table, seconds: float = 0) -> list[int]:
    """How many rows each batch had, for a model that takes so long for a row."""
    found = []
    with file_of(content) as file, closing(reading.batches(of, file, ARROW)) as batches:
        for X, _ in batches:
            found.append(len(X))
            time.sleep(len(X) * seconds)
    return found


def test_a_quick_model_gets_large_batches_and_a_slow_one_small_ones(confinement: Confinement) -> None:
    quick = sizes(Bulk(confinement, 60), PAIR, rows(300_000))
    assert sum(quick) == 300_000
    assert max(quick) == bulk.MOST_BATCH_ROWS
    slow = sizes(Bulk(confinement, 60), PAIR, rows(10_000), seconds=bulk.BATCH_SECONDS / 500)
    assert sum(slow) == 10_000
    assert slow[-1] < 600 < slow[0] == bulk.FIRST_ROWS


@pytest.mark.parametrize(
    ("of", "most"),
    [
        (version(*["float64"] * 2048), 1024),
        (version("float64", "string"), bulk.MOST_BATCH_ROWS),
        (version(*["string"] * 1000), 167),
        (version("float64", shape=[4096]), 512),
        (version("float64", classes=["a", "b" * 4096]), 1024),
        (version("float64", classes=[1, 2]), bulk.MOST_BATCH_ROWS),
        (version(*["float64"] * 100_000, shape=[1, 1 << 30]), 1),
    ],
)
def test_a_batch_is_bounded_by_what_its_inputs_and_outputs_take(of: ResolvedVersion, most: int) -> None:
    assert bulk.most_rows(of) == most


def test_wide_rows_come_few_at_a_time(confinement: Confinement) -> None:
    wide = pa.table({f"x{index}": np.zeros(600) for index in range(20_000)})
    assert max(sizes(Bulk(confinement, 60), version(*["float64"] * 20_000), wide)) == 104


def test_more_rows_than_there_may_be_are_too_many(confinement: Confinement) -> None:
    assert sum(sizes(Bulk(confinement, 60, most_rows=5000), PAIR, rows(5000))) == 5000
    with pytest.raises(TooLarge, match="at most 5000 rows"):
        sizes(Bulk(confinement, 60, most_rows=5000), PAIR, rows(5001))


def test_all_of_it_has_to_be_done_in_time(confinement: Confinement) -> None:
    with pytest.raises(DeadlineExceeded):
        sizes(Bulk(confinement, 0.5), PAIR, rows(20_000), seconds=0.0001)


def test_refusals_of_the_reader_are_the_caller_s(confinement: Confinement) -> None:
    with pytest.raises(Invalid) as refused:
        sizes(Bulk(confinement, 60), PAIR, rows(3).drop_columns(["x1"]))
    assert [finding.at for finding in refused.value.findings] == ["inputs.x1"]


@pytest.mark.parametrize(
    ("reader", "content", "error", "code"),
    [
        ("crash", b"x", Malformed, "invalid_body"),
        ("hoard", b"x", TooLarge, "batch_too_large"),
        ("lie", b"{}\n", Malformed, "invalid_body"),
        ("lie", b'{"rows": 1}\n', Malformed, "invalid_body"),
        ("lie", b'{"rows": "1", "texts": []}\n', Malformed, "invalid_body"),
        ("lie", b'{"rows": 9, "texts": []}\n12345678', Malformed, "invalid_body"),
        ("lie", b'{"rows": 1, "texts": []}\n' + b"\xff" * 16, Malformed, "invalid_body"),
        ("lie", b'{"rows": 1, "texts": [2]}\n' + b"\0" * 16 + b"[]", Malformed, "invalid_body"),
        ("lie", b'{"rows": -1, "texts": []}\n', Malformed, "invalid_body"),
        ("lie", b"[]\n", Malformed, "invalid_body"),
    ],
)
def test_a_reader_that_was_taken_over_harms_nobody_but_its_caller(
    reader: str, content: bytes, error: type[ModelwardError], code: str, confinement: Confinement
) -> None:
    with pytest.raises(error) as refused:
        sizes(Bulk(confinement, 60, reader=f"tests.predict.readers:{reader}"), PAIR, content)
    assert refused.value.reason == code
    assert sizes(Bulk(confinement, 60), PAIR, rows(10)) == [10]


def test_no_tenant_s_files_take_every_place(confinement: Confinement, tmp_path: Path) -> None:
    reading = Bulk(confinement, 60, place_seconds=0.2)
    with ExitStack() as stack:
        for _ in range(bulk.PLACES - 1):
            file = stack.enter_context(file_of(rows(10_000)))
            next(stack.enter_context(closing(reading.batches(PAIR, file, ARROW))))
        with pytest.raises(Unavailable) as refused:
            sizes(reading, PAIR, rows(10))
        assert refused.value.reason == "confinement_busy"
    assert sizes(reading, PAIR, rows(10)) == [10]

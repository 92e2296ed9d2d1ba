"""Tables as callers send and receive them: Arrow streams and Parquet files."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from werkzeug.test import TestResponse

from tests.api.callers import Caller

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"


def written(table: pa.Table, media: str, rows: int | None = None) -> bytes:
    """Return a table as a file of that media type, so many rows at a time."""
    sink = io.BytesIO()
    if media == PARQUET:
        pa.parquet.write_table(table, sink, row_group_size=rows)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
    return sink.getvalue()


def read(response: TestResponse) -> pa.Table:
    """Return the table of an answer."""
    assert response.status_code == 200, response.text
    if response.mimetype == PARQUET:
        return pa.parquet.read_table(io.BytesIO(response.data))
    assert response.mimetype == ARROW
    return pa.ipc.open_stream(response.data).read_all()


def predict(
    caller: Caller,
    body: bytes | pa.Table,
    media: str = ARROW,
    *,
    accept: str | None = ARROW,
    at: str = "iris/predict",
    **headers: str,
) -> TestResponse:
    """Send a file for prediction."""
    data: Any = written(body, media) if isinstance(body, pa.Table) else body
    accepted = {} if accept is None else {"Accept": accept}
    return post(caller, at, data=data, content_type=media, headers=accepted | headers)


def post(caller: Caller, at: str, **request: Any) -> TestResponse:
    """Ask for a prediction, and take the whole answer as a client would."""
    return caller.call("POST", f"/v1/models/{at}", buffered=True, **request)

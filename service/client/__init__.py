"""The Python client: the calls that programs make most, with retries that are safe to make.

A refusal for now (429, 503, a key still in flight) is tried again after the time that the
answer names; a broken connection is tried again where doing it twice does no harm. Every
call that creates something carries an Idempotency-Key, so that it does not.

It needs the extra ``modelward[client]``, and for tables ``modelward[bulk]``.
"""

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any, Final, Self

import httpx2

from service.client import tables

RETRIED: Final = frozenset({429, 502, 503, 504})
UNDONE: Final = frozenset({429, 503})
"""Of those, what the service itself says of a call that it did not do; a gateway cannot tell."""

IN_FLIGHT: Final = "idempotency_in_flight"
LONGEST_WAIT: Final = 60.0
UNSET: Final[Any] = object()
"""Stands for an argument that was left out, where ``None`` says something."""


@dataclass(eq=False)
class ApiError(Exception):
    """The service refused a call.

    :param status: the HTTP status.
    :param code: the stable code of the refusal.
    :param errors: each place that is wrong, as ``{"at", "message"}``.
    :param request_id: what to name when asking the operator about it.
    """

    status: int
    code: str
    detail: str
    errors: Sequence[Mapping[str, str]] = ()
    request_id: str | None = None

    def __str__(self) -> str:
        """Say what was refused and where."""
        places = "".join(f"\n  {each['at']}: {each['message']}" for each in self.errors)
        return f"{self.detail} ({self.status} {self.code}, request {self.request_id}){places}"


class Modelward:
    """Calls one Modelward service with one credential.

    :param url: where the service is, such as ``http://127.0.0.1:8000``.
    :param api_key: an API key, ``mw_…``, or an access token.
    :param timeout: seconds for connecting and for each read.
    :param attempts: how often a call is made at most.
    :param transport: how requests travel; tests give ``httpx2.WSGITransport``.
    :param sleep: how to wait between two attempts.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout: float = 30,
        attempts: int = 5,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=timeout, transport=transport
        )
        self._attempts = attempts
        self._sleep = sleep

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def whoami(self) -> dict[str, Any]:
        """Return who this credential is, what it may do, and what is left of its limits."""
        return self._json("GET", "/v1/whoami")

    def predict(
        self,
        model: str,
        inputs: Sequence[Sequence[Any]] | Sequence[Mapping[str, Any]],
        *,
        outputs: Sequence[str] | None = None,
        version: int | None = None,
        alias: str | None = None,
        native: bool = False,
    ) -> dict[str, Any]:
        """Return the answer for ``inputs``, with the version that gave it.

        :param inputs: rows, as lists in the order of the signature or as mappings by feature name.
        :param outputs: such as ``["predict", "predict_proba"]``; ``predict`` alone by default.
        :param version: a version's number; else ``alias``; else the one that serves by default.
        :param native: have scikit-learn itself answer, whatever else could.
        """
        body: dict[str, Any] = {"inputs": inputs}
        if outputs is not None:
            body["outputs"] = list(outputs)
        query = {"runtime": "native"} if native else {}
        return self._json("POST", _predict_path(model, version, alias), json=body, params=query)

    def predict_table(
        self,
        model: str,
        table: Any,
        *,
        outputs: Sequence[str] | None = None,
        version: int | None = None,
        alias: str | None = None,
        native: bool = False,
        timeout: float = 330,
    ) -> Any:
        """Return the answer for each row of a table, as a ``pyarrow.RecordBatchReader``; it needs pyarrow.

        Neither the rows nor the answers are held in memory, but in temporary files.

        :param table: a ``pyarrow.Table`` or ``RecordBatchReader``, or the path of a Parquet file or
            an Arrow stream; its columns have the names of the inputs.
        :param outputs: as for ``predict``, and so are ``version``, ``alias`` and ``native``.
        :param timeout: seconds for the whole prediction: its answer begins when all of it is done.
        """
        query = {} if outputs is None else {"outputs": ",".join(outputs)}
        query |= {"runtime": "native"} if native else {}
        with tables.written(table) as (rows, media), tables.answer() as answer:
            fields = {"Content-Type": media, "Accept": tables.ARROW, "Content-Length": str(rows.length)}
            sent: dict[str, Any] = {"params": query, "headers": fields, "content": rows, "timeout": timeout}
            self.request("POST", _predict_path(model, version, alias), into=answer, **sent)
            return tables.read(answer)

    def upload(self, model: str, artifact: bytes | str | PathLike[str], **metadata: Any) -> dict[str, Any]:
        """Upload a ``.skops`` file as the next version of a model, and return the version.

        :param artifact: the bytes, or the path of the file.
        :param metadata: ``description``, ``tags``, ``metrics``, ``signature``, ``sample`` and ``alias``.
        """
        data = artifact if isinstance(artifact, bytes) else Path(artifact).read_bytes()
        parts = {
            "artifact": (f"{model}.skops", data, "application/octet-stream"),
            "metadata": ("metadata.json", json.dumps(metadata).encode(), "application/json"),
        }
        return self._json("POST", f"/v1/models/{model}/versions", files=parts, headers=_creation())

    def promote(
        self, model: str, version: int, alias: str = "production", *, expected: int | None = UNSET, reason: str = ""
    ) -> dict[str, Any]:
        """Have an alias name a version, and return the alias.

        :param expected: the version that it must name at this moment, ``None`` for an alias that
            must not exist; left out, whatever it names.
        """
        body: dict[str, Any] = {"version": version, "reason": reason}
        if expected is not UNSET:
            body["expected"] = expected
        # A move that was made and whose answer was lost would find its own expectation broken.
        return self._json("PUT", f"/v1/models/{model}/aliases/{alias}", json=body, repeatable=expected is UNSET)

    def rollback(self, model: str, alias: str = "production", *, reason: str = "") -> dict[str, Any]:
        """Have an alias name the version before, and return the alias."""
        path = f"/v1/models/{model}/aliases/{alias}/rollback"
        return self._json("POST", path, json={"reason": reason}, headers=_creation())

    def models(self) -> Iterator[dict[str, Any]]:
        """Yield every model that the credential reaches."""
        return self.pages("/v1/models")

    def versions(self, model: str) -> Iterator[dict[str, Any]]:
        """Yield every version of a model, the newest first."""
        return self.pages(f"/v1/models/{model}/versions")

    def aliases(self, model: str) -> Iterator[dict[str, Any]]:
        """Yield every alias of a model."""
        return self.pages(f"/v1/models/{model}/aliases")

    def history(self, model: str, alias: str = "production") -> Iterator[dict[str, Any]]:
        """Yield every move of an alias, the newest first."""
        return self.pages(f"/v1/models/{model}/aliases/{alias}/history")

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield every item of a list, fetching page after page."""
        cursor = None
        while True:
            page = self._json("GET", path, params={**query, "limit": 200} | ({"cursor": cursor} if cursor else {}))
            yield from page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.request(method, path, **request).json()
        return answer

    def request(
        self, method: str, path: str, *, repeatable: bool = True, into: IO[bytes] | None = None, **request: Any
    ) -> httpx2.Response:
        """Make any call, and return its answer.

        :param repeatable: whether it may be made again where nobody knows if it was done.
        :param into: a file that takes the body of the answer, instead of memory.
        :raises ApiError: it is refused, also after the last attempt.
        :raises httpx2.TransportError: no connection, also after the last attempt.
        """
        for attempt in range(1, self._attempts + 1):
            last = attempt == self._attempts
            try:
                response = self._sent(method, path, into, request)
            except httpx2.TransportError:
                if last or not repeatable:
                    raise
                self._sleep(_backoff(attempt))
                continue
            if response.is_success:
                return response
            error = _error(response)
            wait = _wait(response, attempt)
            if last or not _passing(error, repeatable) or wait > LONGEST_WAIT:
                raise error
            self._sleep(wait)
        raise AssertionError("a call is made at least once")

    def _sent(self, method: str, path: str, into: IO[bytes] | None, request: dict[str, Any]) -> httpx2.Response:
        if into is None:
            return self._http.request(method, path, **request)
        with self._http.stream(method, path, **request) as response:
            if not response.is_success:
                response.read()
                return response
            into.seek(0)
            into.truncate()
            for piece in response.iter_bytes():
                into.write(piece)
            return response


def _predict_path(model: str, version: int | None, alias: str | None) -> str:
    chosen = f"/versions/{version}" if version is not None else f"/aliases/{alias}" if alias is not None else ""
    return f"/v1/models/{model}{chosen}/predict"


def _creation() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def _passing(error: ApiError, repeatable: bool) -> bool:
    return error.status in (RETRIED if repeatable else UNDONE) or error.code == IN_FLIGHT


def _backoff(attempt: int) -> float:
    # Spread out, so that callers who were cut off together do not come back together.
    return min(0.25 * 2.0**attempt, 8.0) * random.uniform(0.5, 1.0)  # noqa: S311


def _wait(response: httpx2.Response, attempt: int) -> float:
    with suppress(KeyError, ValueError):
        return max(0.0, float(response.headers["Retry-After"]))
    return _backoff(attempt)


def _error(response: httpx2.Response) -> ApiError:
    problem: dict[str, Any] = {}
    with suppress(ValueError):
        found = response.json()
        problem = found if isinstance(found, dict) else {}
    return ApiError(
        status=response.status_code,
        code=problem.get("code", "unknown"),
        detail=problem.get("detail", response.reason_phrase),
        errors=problem.get("errors", ()),
        request_id=response.headers.get("X-Request-Id"),
    )

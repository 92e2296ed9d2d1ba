"""A caller of the HTTP interface with one credential, and a load of many such calls."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

CALL_SECONDS = 30


class Caller:
    """Calls one server with one key, over connections that it keeps."""

    def __init__(self, url: str, key: str) -> None:
        # Nothing here speaks TLS, and reading the certificates would cost more than a call does.
        self.client = httpx2.Client(base_url=url, headers={"X-API-Key": key}, timeout=CALL_SECONDS, verify=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self.client.close()

    def upload(self, model: str, artifact: bytes, **metadata: Any) -> httpx2.Response:
        """Upload a version."""
        parts = {
            "artifact": ("model.skops", artifact, "application/octet-stream"),
            "metadata": ("metadata.json", json.dumps(metadata), "application/json"),
        }
        return self.client.post(f"/v1/models/{model}/versions", files=parts)

    def uploaded(self, model: str, artifact: bytes, **metadata: Any) -> dict[str, Any]:
        """Upload a version that must be accepted, and return it."""
        response = self.upload(model, artifact, **metadata)
        assert response.status_code == 201, response.text
        return dict(response.json())

    def move(self, model: str, version: int, alias: str = "production", reason: str = "") -> httpx2.Response:
        """Point an alias at a version."""
        return self.client.put(f"/v1/models/{model}/aliases/{alias}", json={"version": version, "reason": reason})

    def predict(self, model: str, inputs: list[Any], outputs: list[str] | None = None, at: str = "") -> httpx2.Response:
        """Ask for predictions; ``at`` names a version or an alias, as ``/versions/1`` or ``/aliases/next``."""
        body = {"inputs": inputs} if outputs is None else {"inputs": inputs, "outputs": outputs}
        return self.client.post(f"/v1/models/{model}{at}/predict", json=body)

    def every(self, path: str) -> list[dict[str, Any]]:
        """Return a whole list, page by page."""
        rows: list[dict[str, Any]] = []
        cursor = None
        while True:
            response = self.client.get(path, params={"limit": 200} | ({"cursor": cursor} if cursor else {}))
            assert response.status_code == 200, response.text
            rows += response.json()["data"]
            cursor = response.json()["next_cursor"]
            if cursor is None:
                return rows


@dataclass(frozen=True, slots=True)
class Answer:
    """One answered call: when it was sent and received, in seconds of the monotonic clock.

    ``status`` is 0 where there was no answer, and ``body`` then says why.
    """

    sent: float
    received: float
    status: int
    body: Any


class Load:
    """Threads that call again and again until the block ends; each makes a new connection now and then.

    :param caller: makes a caller; each thread has its own.
    :param call: the call, with the number of calls that the thread made before.
    """

    RECONNECT_AFTER = 50

    def __init__(
        self, caller: Callable[[], Caller], call: Callable[[Caller, int], httpx2.Response], threads: int = 4
    ) -> None:
        self.answers: list[Answer] = []
        self._caller = caller
        self._call = call
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int, seconds: float = 60) -> None:
        """Wait until so many more answers are there.

        :raises TimeoutError: they are not, within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        wanted = len(self.answers) + count
        while len(self.answers) < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {len(self.answers)} of {wanted} answers")
            self._stopped.wait(0.01)

    def refused(self) -> list[Answer]:
        """Every answer that is not a 200."""
        return [answer for answer in self.answers if answer.status != 200]

    def _run(self, number: int) -> None:
        calls = number * 1_000_000
        while not self._stopped.is_set():
            caller = self._caller()
            for _ in range(self.RECONNECT_AFTER):
                if self._stopped.is_set():
                    break
                self.answers.append(self._one(caller, calls))
                calls += 1
            caller.close()

    def _one(self, caller: Caller, number: int) -> Answer:
        sent = time.monotonic()
        try:
            response = self._call(caller, number)
        except httpx2.TransportError as error:
            return Answer(sent, time.monotonic(), 0, repr(error))
        return Answer(sent, time.monotonic(), response.status_code, response.json())

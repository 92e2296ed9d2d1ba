"""The two services that the list is made with: the application in this process, and a server with two workers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.api.callers import World
from tests.parity.comparing import Answered
from tests.servers.modelward import Modelward


class Called:
    """A service that is called as any caller would, whatever carries the requests.

    :param carrier: what ``httpx2.Client`` takes beside the tenant's key.
    """

    def __init__(self, key: str, **carrier: Any) -> None:
        self._client = httpx2.Client(headers={"X-API-Key": key}, timeout=60, verify=False, **carrier)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def upload(self, model: str, artifact: bytes, metadata: dict[str, Any]) -> Answered:
        """Upload a version."""
        parts = {
            "artifact": ("model.skops", artifact, "application/octet-stream"),
            "metadata": ("metadata.json", json.dumps(metadata), "application/json"),
        }
        response = self._client.post(f"/v1/models/{model}/versions", files=parts)
        return Answered(response.status_code, response.json(), "")

    def predict(self, model: str, body: dict[str, Any]) -> Answered:
        """Ask for a prediction."""
        response = self._client.post(f"/v1/models/{model}/predict", json=body)
        return Answered(response.status_code, response.json(), response.headers.get("Modelward-Runtime", ""))


@contextmanager
def in_process(directory: Path) -> Iterator[Called]:
    """Make an application with a tenant."""
    world = World(directory)
    transport = httpx2.WSGITransport(app=world.app)
    called = Called(str(world.acme.api_key), base_url="http://modelward.test", transport=transport)
    try:
        yield called
    finally:
        called.close()
        world.close()


@contextmanager
def over_http(directory: Path, settings: dict[str, object]) -> Iterator[Called]:
    """Start a server with a tenant."""
    server = Modelward(directory, **settings)
    server.run("migrate")
    key = server.json("tenant", "create", "acme", "--plan", "unlimited")["api_key"]
    server.start()
    called = Called(key, base_url=server.url)
    try:
        yield called
    finally:
        called.close()
        server.stop()

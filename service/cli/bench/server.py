"""The server that is measured: what it says about its models, and whether it answers at all."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from service.cli.output import Failure

ANSWER_SECONDS: Final = 30
OK: Final = 200
FORBIDDEN: Final = 403
UNFIT: Final = 422
LIMITED: Final = 429


class Reply(NamedTuple):
    """An answer: its status, its headers, and its body where that is a JSON object."""

    status: int
    headers: Mapping[str, str]
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A model that is measured; ``signature`` is what its version takes, ``None`` where that may not be read."""

    model: str
    signature: Mapping[str, Any] | None


class Server:
    """Makes single calls, each over a connection of its own.

    :param url: ``http://host:port`` or ``https://host:port``.
    :param key: an API key or an access token.
    """

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.host = urlsplit(url).netloc
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """Make a call, and return whatever is answered.

        :raises Failure: there is no answer.
        """
        secured = self.url.startswith("https:")
        connection = (http.client.HTTPSConnection if secured else http.client.HTTPConnection)(
            self.host, timeout=ANSWER_SECONDS
        )
        try:
            connection.request(method, path, body, self.headers)
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, _object(response.read()))
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise Failure(f"{self.url} does not answer ({reason}); start it, or name another with --url.") from error
        finally:
            connection.close()

    def get(self, path: str) -> dict[str, Any]:
        """Return what is there.

        :raises Failure: it is refused, with what the server said.
        """
        reply = self.call("GET", path)
        if reply.status != OK:
            raise refused(reply)
        return reply.document

    def first_model(self) -> str:
        """Return the name of the first model that the key reaches.

        :raises Failure: it reaches none.
        """
        models = self.get("/v1/models?limit=1")["data"]
        if not models:
            raise Failure("The key reaches no model; upload one, or name one with --model.")
        return str(models[0]["name"])

    def target(self, model: str, *, blindly: bool) -> Target:
        """Return a model with the signature of the version that serves by default.

        :param blindly: go without the signature where the key may not read it.
        :raises Failure: there is no such model, or its signature may not be read.
        """
        reply = self.call("GET", f"/v1/models/{model}/aliases/production")
        if reply.status == FORBIDDEN and blindly:
            return Target(model, None)
        if reply.status == FORBIDDEN:
            raise Failure(f"{refused(reply).message} Or give a row that the model takes with --row.")
        if reply.status == OK:
            version = self.get(f"/v1/models/{model}/versions/{reply.document['version']}")
            return Target(model, version["signature"])
        versions = self.get(f"/v1/models/{model}/versions")["data"]
        signatures = [version["signature"] for version in versions if version["status"] == "ready"]
        if not signatures:
            raise Failure(f"The model {model} has no version that is ready.")
        return Target(model, signatures[0])


def refused(reply: Reply) -> Failure:
    """Return the failure that says what the server said."""
    code, detail = reply.document.get("code", ""), reply.document.get("detail", "The server gave no reason.")
    if reply.status == LIMITED:
        return limited(code, detail)
    return Failure(f"{reply.status} {code}: {detail}")


def limited(code: str, detail: str) -> Failure:
    """Return the failure that says how to get past a plan's limit."""
    return Failure(
        f"The plan's limit was reached (429 {code}): {detail} "
        "A tenant on a plan without limit goes further: modelward tenant change SLUG --plan unlimited"
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}

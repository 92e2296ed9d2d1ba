"""An application and those who call it."""

import io
import itertools
import json
from functools import cache
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from skops.io import dumps
from werkzeug.test import TestResponse

from service import schema
from service.app import create_app
from service.config import Settings
from service.tenants.keys import KeySpec
from service.tenants.principal import Principal

SECRET = "an-unguessable-secret-of-48-characters-for-tests"
ROW = [5.1, 3.5, 1.4, 0.2]

_names = itertools.count(1)


def unused(prefix: str) -> str:
    """Return a name that no other test uses."""
    return f"{prefix}-{next(_names)}"


@cache
def iris(regularisation: float = 1.0) -> tuple[LogisticRegression, bytes]:
    """Return an estimator that was fitted to scikit-learn's iris data, and its ``.skops`` file."""
    X, y = load_iris(return_X_y=True)
    estimator = LogisticRegression(C=regularisation, max_iter=1000).fit(X, y)
    return estimator, dumps(estimator)


class Caller:
    """Calls the application with one credential, or with none."""

    def __init__(self, client: FlaskClient, api_key: str | None = None) -> None:
        self.client = client
        self.api_key = api_key

    def call(self, method: str, path: str, **request: Any) -> TestResponse:
        """Make a call."""
        headers = dict(request.pop("headers", {}))
        if self.api_key is not None:
            headers.setdefault("X-API-Key", self.api_key)
        return self.client.open(path, method=method, headers=headers, **request)

    def get(self, path: str, **request: Any) -> TestResponse:
        """Make a GET."""
        return self.call("GET", path, **request)

    def post(self, path: str, body: Any = None, **request: Any) -> TestResponse:
        """Make a POST of a JSON body, where there is one."""
        return self.call("POST", path, **({} if body is None else {"json": body}), **request)

    def put(self, path: str, body: Any, **request: Any) -> TestResponse:
        """Make a PUT."""
        return self.call("PUT", path, json=body, **request)

    def patch(self, path: str, body: Any, **request: Any) -> TestResponse:
        """Make a PATCH."""
        return self.call("PATCH", path, json=body, **request)

    def delete(self, path: str, **request: Any) -> TestResponse:
        """Make a DELETE."""
        return self.call("DELETE", path, **request)

    def upload(self, model: str, data: bytes | None = None, **metadata: Any) -> TestResponse:
        """Upload a version; without bytes it is the iris model."""
        parts: dict[str, Any] = {"artifact": (io.BytesIO(iris()[1] if data is None else data), "model.skops")}
        headers = metadata.pop("headers", {})
        if metadata:
            parts["metadata"] = (io.BytesIO(json.dumps(metadata).encode()), "metadata.json")
        return self.call("POST", f"/v1/models/{model}/versions", data=parts, headers=headers)


class World:
    """The application with an operator and two tenants."""

    def __init__(self, directory: Path) -> None:
        settings = Settings(
            data_dir=directory,
            secret_key=SECRET,
            failed_logins_per_minute=1_000_000,
            public_requests_per_minute=1_000_000,
        )
        schema.upgrade(settings.resolved_database_url)
        self.app = create_app(settings)
        self.services = self.app.extensions["modelward"]
        self.client = self.app.test_client()
        self.nobody = Caller(self.client)
        operator = self.services.keys.create(Principal.operator(), KeySpec("Operator", role="platform-admin"))
        self.operator = Caller(self.client, operator.secret)
        self.acme = self.tenant("acme")
        self.globex = self.tenant("globex")
        for caller, model in ((self.acme, "iris"), (self.globex, "secret")):
            assert caller.upload(model, alias="production").status_code == 201

    def tenant(self, slug: str, plan: str = "unlimited") -> Caller:
        """Make a tenant, and return its first key's holder."""
        made = self.operator.post("/v1/admin/tenants", {"slug": slug, "name": slug.title(), "plan": plan})
        assert made.status_code == 201, made.text
        return Caller(self.client, made.json["api_key"])

    def key(self, owner: Caller, **fields: Any) -> Caller:
        """Make a key of the owner's tenant, and return its holder."""
        made = owner.post("/v1/keys", {"name": "Made by a test", **fields})
        assert made.status_code == 201, made.text
        return Caller(self.client, made.json["api_key"])

    def close(self) -> None:
        """Let go of everything."""
        self.services.close()

"""Every route of the application as data, with a request that fits it."""

import io
from dataclasses import dataclass
from functools import cache
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from service.api.table import Route, table
from tests.api.callers import ROW, Caller

JSON_BODIES: dict[str, Any] = {
    "tokens.get_token": {},
    "tokens.refresh_token": {"refresh_token": "mwr_none"},
    "tokens.revoke_token": {"token": "none"},
    "keys.create_key": {"name": "Made by the matrix", "role": "viewer"},
    "keys.change_key": {"name": "Changed by the matrix"},
    "keys.rotate_key": {},
    "models.create_model": {"name": "made-by-the-matrix"},
    "models.change_model": {"description": "Changed by the matrix"},
    "versions.change_version": {"description": "Changed by the matrix"},
    "aliases.move_alias": {"version": 1},
    "aliases.roll_back_alias": {},
    "predict.predict": {"inputs": [ROW]},
    "predict.predict_version": {"inputs": [ROW]},
    "predict.predict_alias": {"inputs": [ROW]},
    "fit_and_answer.linear_regression": {"X": [[1], [2]], "y": [1, 2]},
    "fit_and_answer.support_vector_machine": {"X": [[1], [2]], "y": [1, 2]},
    "fit_and_answer.predict_array": [ROW],
    "admin_tenants.create_tenant": {"slug": "made-by-the-matrix", "name": "Matrix", "plan": "free"},
    "admin_tenants.change_tenant": {"name": "Changed by the matrix"},
    "admin_tenants.suspend_tenant": {},
    "admin_tenants.resume_tenant": {},
    "admin_plans.create_plan": {
        "slug": "made-by-the-matrix",
        "name": "Matrix",
        "max_models": 1,
        "max_bytes": 1,
        "max_body_bytes": 1,
        "max_concurrency": 1,
    },
    "admin_plans.change_plan": {"name": "Changed by the matrix"},
    "admin_versions.quarantine_version": {},
    "admin_versions.release_version": {},
}
"""A body that fits, for each route that takes a JSON body. A new route belongs in here."""

QUERIES = {"fit_and_answer.predict_array": "?model={model}"}


@dataclass(frozen=True)
class Names:
    """What the segments of a path are filled with."""

    model: str = "no-such-model"
    version: str = "1"
    alias: str = "production"
    key: str = "key_" + "0" * 26
    tenant: str = "no-such-tenant"
    plan: str = "no-such-plan"


@cache
def routes(app: Flask) -> list[Route]:
    """Return every route."""
    return list(table(app))


def call(caller: Caller, route: Route, names: Names, **request: Any) -> TestResponse:
    """Make the request that fits a route."""
    path = (route.path + QUERIES.get(route.endpoint, "")).format(**vars(names))
    if route.contract.body is not None or "application/json" in (route.contract.documents or {}):
        request = {"json": JSON_BODIES[route.endpoint], **request}
    elif route.contract.documents:
        request = {"data": {"artifact": (io.BytesIO(b"no artifact"), "model.skops")}, **request}
    return caller.call(route.method, path, **request)

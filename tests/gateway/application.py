"""A small application behind the whole gateway, over real services."""

import atexit
import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from pydantic import BaseModel, ConfigDict
from werkzeug.test import TestResponse

from service import schema
from service.bootstrap import Services, build
from service.config import Settings
from service.errors import ModelwardError
from service.gateway import Application, Gateway
from service.gateway.auth import is_scraper
from service.gateway.context import principal, services
from service.gateway.guards import idempotent, public, requires
from service.gateway.metrics import exposition
from service.gateway.tokens import claims_of, encoded
from service.tenants.keys import KeySpec
from service.tenants.principal import Principal
from service.tenants.scopes import Scope

SECRET = "a-secret-of-the-tests-0123456789-abcdefghijklmnop"


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    sizes: list[int] = []


@dataclass
class Running:
    """The application, its services and a tenant's first key."""

    app: Flask
    services: Services
    gateway: Gateway
    key: str
    calls: list[str] = field(default_factory=list)
    raises: ModelwardError | Exception | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def ask(self, path: str, *, key: str | None = None, method: str = "GET", **options: Any) -> TestResponse:
        fields = dict(options.pop("headers", {}))
        if key is not None:
            fields["X-API-Key"] = key
        return self.app.test_client().open(path, method=method, headers=fields, **options)

    def principal(self) -> Principal:
        return self.services.keys.authenticate(self.key, "127.0.0.1")

    def new_key(self, **spec: Any) -> str:
        made = self.services.keys.create(self.principal(), KeySpec(name="another", **spec))
        return made.secret

    def token(self) -> str:
        grant = self.services.tokens.issue(self.principal())
        with self.app.app_context():
            return encoded(grant.access_claims)

    def close(self) -> None:
        self.services.close()
        self.gateway.close()


def settings_of(directory: Any, **chosen: Any) -> Settings:
    return Settings.model_validate({"data_dir": directory, "secret_key": SECRET, **chosen})


def run(settings: Settings, *, plan: str = "standard", tenant: str = "acme") -> Running:
    """Return the application with a tenant on ``plan``."""
    shutil.copy(_migrated_database(), settings.data_dir / "modelward.db")
    app = Application(__name__)
    gateway = Gateway(app, settings)
    built = build(settings, answers=gateway.answers, telemetry=gateway.metrics)
    _, issued = built.tenants.create(Principal.operator(), tenant, "Acme", plan)
    running = Running(app, built, gateway, issued.secret)
    gateway.init_app(built)
    _add_routes(running)
    gateway.verify()
    return running


@cache
def _migrated_database() -> Path:
    """Return a migrated SQLite file; copying it takes a hundredth of the time that migrating does."""
    directory = Path(tempfile.mkdtemp(prefix="modelward-gateway-"))
    atexit.register(shutil.rmtree, directory)
    path = directory / "modelward.db"
    schema.upgrade(f"sqlite:///{path}")
    return path


def again(settings: Settings, key: str) -> Running:
    """Return a second application, as another worker has it, over the same database."""
    app = Application(__name__)
    gateway = Gateway(app, settings)
    built = build(settings, answers=gateway.answers, telemetry=gateway.metrics)
    running = Running(app, built, gateway, key)
    gateway.init_app(built)
    _add_routes(running)
    return running


def _add_routes(running: Running) -> None:
    app = running.app
    app.add_url_rule("/public", view_func=_open_to_all)
    app.add_url_rule("/healthz", view_func=_open_to_all, endpoint="healthz")
    app.add_url_rule("/echo", view_func=_echo, methods=["POST"])
    app.add_url_rule("/any", view_func=_any_credential)
    app.add_url_rule("/models/<model>", view_func=_models)
    app.add_url_rule("/admin", view_func=_admin)
    app.add_url_rule("/documents", view_func=_documents, methods=["POST"])
    app.add_url_rule("/claims", view_func=_claims, methods=["POST"])
    app.add_url_rule("/metrics", view_func=_metrics)
    _add_creating_routes(running)
    _add_troubling_routes(running)


def _add_creating_routes(running: Running) -> None:
    @running.app.post("/things")
    @requires(Scope.MODELS_WRITE)
    @idempotent
    def things() -> Response:
        running.calls.append(request.get_data(as_text=True))
        _maybe_raise(running)
        made = services().models.create(principal(), f"model-{len(running.calls)}")
        return Response(made.name, 201, {"Location": f"/things/{made.name}", "ETag": '"1"'})

    @running.app.post("/forms")
    @requires(Scope.MODELS_WRITE)
    @idempotent
    def forms() -> Response:
        running.calls.append("form")
        return Response(request.files["file"].read(), 201)


def _add_troubling_routes(running: Running) -> None:
    @running.app.get("/wait")
    @requires()
    def wait() -> str:
        running.entered.release()
        running.gate.wait(20)
        return "waited"

    @running.app.get("/v2/raise")
    @running.app.get("/m/invocations")
    @running.app.get("/raise")
    @public
    def raises() -> str:
        _maybe_raise(running)
        return "nothing"


@public
def _open_to_all() -> str:
    return "open"


@requires()
def _echo() -> bytes:
    return request.get_data()


@requires()
def _any_credential() -> dict[str, str]:
    return {"tenant": principal().tenant, "subject": principal().subject}


@requires(Scope.MODELS_READ)
def _models(model: str) -> str:
    return model


@requires(Scope.PLATFORM_ADMIN)
def _admin() -> str:
    return "admin"


@public
def _documents() -> str:
    return Document.model_validate_json(request.get_data()).name


@public
def _claims() -> dict[str, Any]:
    return claims_of(request.get_data(as_text=True))


@requires(Scope.METRICS_READ, unless=is_scraper)
def _metrics() -> Response:
    return exposition()


def _maybe_raise(running: Running) -> None:
    if running.raises is not None:
        raise running.raises

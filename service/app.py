"""create_app(): the whole application on one page."""

import gc
from typing import Final

from flask import Flask

from service import api
from service.bootstrap import Services, build
from service.config import Settings
from service.confinement import Confinement
from service.gateway import Application, Gateway
from service.predict import threads
from service.server import Lane, Refusal, Shell

COLLECT_EVERY: Final = 10_000
"""Objects more than at the last look, before the youngest are looked through."""


def create_app(settings: Settings | None = None, services: Services | None = None) -> Flask:
    """Return the WSGI application.

    :param settings: read from the environment by default.
    :param services: made from the settings by default; whoever gives them also closes them.
    """
    return _assembled(settings, services)[0]


def create_shell(settings: Settings, confinement: Confinement | None = None) -> Shell:
    """Return what a worker of ``service.server.serve`` runs.

    :param confinement: the one that all workers share; its own by default.
    """
    threads.pin()
    app, gateway, services = _assembled(settings, None, confinement)
    services.start()
    gateway.start()
    _settle()

    def refuse(refusal: Refusal, environ: dict[str, object] | None) -> tuple[int, list[tuple[str, str]], bytes]:
        return gateway.refuse(refusal.status, refusal.code, refusal.detail, environ, refusal.retry_after)

    def lane(environ: dict[str, object]) -> Lane:
        return Lane(*gateway.lane(environ))

    def close() -> None:
        services.close()
        gateway.close()

    return Shell(app.wsgi_app, settings, lane=lane, body_limit=gateway.body_limit, refuse=refuse, close=close)


def _settle() -> None:
    """Have the garbage collector leave alone what lives as long as the process, and come less often.

    A request leaves no cycles behind; looking through everything that was imported costs
    more than what there is to find.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 10, 100)


def _assembled(
    settings: Settings | None, services: Services | None, confinement: Confinement | None = None
) -> tuple[Flask, Gateway, Services]:
    settings = settings or (services.settings if services else Settings())
    app = Application(__name__)
    gateway = Gateway(app, settings)
    services = services or build(settings, answers=gateway.answers, telemetry=gateway.metrics, confinement=confinement)
    gateway.init_app(services)
    api.register(app)
    gateway.verify()
    return app, gateway, services

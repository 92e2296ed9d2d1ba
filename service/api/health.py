"""Whether the process answers, whether it can serve, and what it counts."""

import time
from collections.abc import Callable
from typing import Final, Literal, cast

from flask import Blueprint, Response, current_app
from redis import RedisError

from service.api.answers import Answer, show
from service.api.contract import operation
from service.bootstrap import Services
from service.errors import ModelwardError
from service.gateway.auth import is_scraper
from service.gateway.context import is_draining, services
from service.gateway.guards import public, requires
from service.gateway.metrics import Metrics
from service.tenants.principal import PLATFORM_TENANT_ID
from service.tenants.scopes import Scope

routes = Blueprint("health", __name__)

LOOK_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 2

_EXTENSION: Final = "modelward.looks"

Readiness = Literal["ready", "degraded", "unready"]


class Liveness(Answer):
    """That the process answers."""

    status: Literal["ok"]


class Dependency(Answer):
    """Whether a dependency answers, and what it means where it does not."""

    status: Literal["ok", "away", "unused"]
    detail: str | None = None


class Dependencies(Answer):
    """Each dependency."""

    database: Dependency
    redis: Dependency
    artifacts: Dependency


class ReadinessAnswer(Answer):
    """Whether requests are served: in full, in part, or not."""

    status: Readiness
    dependencies: Dependencies


@routes.get("/healthz")
@public
@operation("Ask whether the process answers", answer=Liveness)
def healthz() -> Response:
    """Says only that the process answers, whatever it depends on."""
    return show(Liveness, {"status": "ok"})


@routes.get("/readyz")
@public
@operation("Ask whether requests are served", answer=ReadinessAnswer, also={503: "unready"})
def readyz() -> Response:
    """Names each dependency, and says `ready`, `degraded` (still serving) or `unready` (503)."""
    looks: Looks = current_app.extensions.setdefault(_EXTENSION, Looks())
    dependencies = looks.latest(services())
    status = readiness(services(), dependencies)
    answer = {"status": status, "dependencies": dependencies}
    if status != "unready":
        return show(ReadinessAnswer, answer)
    response = show(ReadinessAnswer, answer, 503)
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


@routes.get("/metrics")
@requires(Scope.METRICS_READ, unless=is_scraper)
@operation("Read the metrics", media="text/plain")
def metrics() -> Response:
    """Prometheus text, for a scraper with the configured token or a key with the scope."""
    return cast("Metrics", services().telemetry).exposition()


class Looks:
    """The last look at the dependencies, which everybody who asks within a second shares: it is not free."""

    def __init__(self) -> None:
        self._found: dict[str, Dependency] = {}
        self._until = 0.0

    def latest(self, services: Services) -> dict[str, Dependency]:
        """Return what was found in the last second, or look."""
        if time.monotonic() >= self._until:
            self._found = look(services)
            self._until = time.monotonic() + LOOK_SECONDS
        return self._found


def look(services: Services) -> dict[str, Dependency]:
    """Return whether each dependency answers at this moment."""
    redis = services.redis
    return {
        "database": _ask(services.database.ping, "Warm predictions are served; nothing can be changed."),
        "redis": _ask(redis.ping, "Limits are kept in each worker alone.") if redis else Dependency(status="unused"),
        "artifacts": _ask(services.store.check, "Loaded models are served; others cannot be loaded."),
    }


def readiness(services: Services, dependencies: dict[str, Dependency]) -> Readiness:
    """Return what the dependencies mean for callers.

    Without its database a worker goes on with what it last knew, for as long as the
    settings let it; a worker that never knew anything, or whose knowledge is too old, serves
    nothing.
    """
    knows = services.epochs.known(PLATFORM_TENANT_ID) is not None
    if is_draining() or (dependencies["database"].status == "away" and not knows):
        return "unready"
    return "degraded" if any(each.status == "away" for each in dependencies.values()) else "ready"


def _ask(answers: Callable[[], object], otherwise: str) -> Dependency:
    try:
        answers()
    except (ModelwardError, OSError, RedisError):
        return Dependency(status="away", detail=otherwise)
    return Dependency(status="ok")

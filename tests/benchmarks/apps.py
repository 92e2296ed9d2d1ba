"""Flask applications as their quickstarts would have them; granian serves them through WSGI.

The environment names the fitted model's file and Redis, because granian imports this
module in each worker.
"""

import os
from typing import Any

import joblib
from flask import Flask, Response, jsonify, request
from flask_caching import Cache
from flask_jwt_extended import JWTManager, jwt_required
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from prometheus_flask_exporter import PrometheusMetrics

JWT_SECRET = "a-secret-that-signs-the-tokens-of-the-usual-stack"


def hello() -> Flask:
    """Answer one route with a text: as fast as Flask can be."""
    app = Flask("hello")

    @app.get("/")
    def index() -> str:
        return "hello"

    return app


def bare() -> Flask:
    """Load the models and predict, with nothing around it."""
    app = Flask("bare")
    models = _models()

    @app.post("/<model>")
    def predict(model: str) -> Response:
        rows = request.get_json()["inputs"]
        return jsonify(predict=models[model].predict(rows).tolist())

    return app


def usual() -> Flask:
    """The bare application with tokens, limits, a cache and metrics, each as its own quickstart shows it."""
    redis = os.environ.get("USUAL_REDIS_URL", "")
    app = Flask("usual")
    app.config["JWT_SECRET_KEY"] = JWT_SECRET
    JWTManager(app)
    Limiter(
        get_remote_address,
        app=app,
        default_limits=["1000000000 per day", "100000000 per hour"],
        storage_uri=redis or "memory://",
        strategy="fixed-window",
    )
    cache = Cache(app, config=_cache(redis))
    PrometheusMetrics(app)
    models = _models()

    @cache.memoize(timeout=50)
    def answer(model: str, rows: list[list[float]]) -> list[int]:
        labels: list[int] = models[model].predict(rows).tolist()
        return labels

    @app.post("/<model>")
    @jwt_required()
    def predict(model: str) -> Response:
        return jsonify(predict=answer(model, request.get_json()["inputs"]))

    return app


def _cache(redis: str) -> dict[str, Any]:
    return {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": redis} if redis else {"CACHE_TYPE": "SimpleCache"}


def _models() -> dict[str, Any]:
    models: dict[str, Any] = joblib.load(os.environ["MODELS_FILE"])
    return models

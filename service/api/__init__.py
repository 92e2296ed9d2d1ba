"""The table of URLs: what happens to this request. Each view parses, calls and renders."""

from flask import Flask

from service.api import (
    admin_plans,
    admin_signing_keys,
    admin_tenants,
    admin_versions,
    aliases,
    audit,
    docs,
    fit_and_answer,
    health,
    keys,
    models,
    openapi,
    predict,
    tokens,
    usage,
    versions,
    whoami,
)

_FILES = (
    health,
    openapi,
    docs,
    tokens,
    whoami,
    keys,
    models,
    versions,
    aliases,
    predict,
    fit_and_answer,
    usage,
    audit,
    admin_tenants,
    admin_plans,
    admin_versions,
    admin_signing_keys,
)


def register(app: Flask) -> None:
    """Add every route to ``app``."""
    for file in _FILES:
        app.register_blueprint(file.routes)

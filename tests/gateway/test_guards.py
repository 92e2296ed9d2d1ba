"""What a route states about its callers."""

import pytest
from flask import Flask

from service.gateway.guards import (
    guard_of,
    idempotent,
    is_idempotent,
    is_public,
    public,
    required_scope,
    requires,
    verify,
)
from service.tenants.scopes import Scope


def test_a_guard_is_stated_at_the_view_and_survives_other_decorators() -> None:
    @requires(Scope.MODELS_READ)
    @idempotent
    def view() -> str:
        return ""

    assert required_scope(view) is Scope.MODELS_READ
    assert is_idempotent(view)
    assert not is_public(view)
    assert view.__name__ == "view"


def test_a_public_view_asks_for_no_scope() -> None:
    @public
    def view() -> str:
        return ""

    assert is_public(view)
    assert required_scope(view) is None
    assert not is_idempotent(view)


def test_a_view_without_a_guard_stops_the_application() -> None:
    app = Flask(__name__, static_folder=None)
    app.add_url_rule("/stated", "stated", public(lambda: ""))
    verify(app)
    app.add_url_rule("/silent", "silent", lambda: "")
    assert guard_of(app.view_functions["silent"]) is None
    with pytest.raises(RuntimeError, match="silent"):
        verify(app)

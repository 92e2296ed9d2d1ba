"""Flask, without what an API of this kind never uses and every request pays for."""

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Final

from flask import Flask, Request, Response
from flask.ctx import AppContext, RequestContext
from flask.globals import _cv_app, _cv_request
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import MapAdapter, Rule

from service.gateway import context
from service.gateway.context import Environ

MOST_FORM_PARTS: Final = 8
"""Parts of a form that are read at all; an upload has two, and the others deserve to be named."""

MOST_FIELD_BYTES: Final = 1 << 20

_REMEMBERED_PATHS: Final = 4096
_REMEMBERED_LENGTH: Final = 256


class _NoSessions(SessionInterface):
    """There are no cookies here."""

    none: Final = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:
        return self.none

    def save_session(self, app: Flask, session: SessionMixin, response: Any) -> None:
        """Save nothing."""


class _Context(RequestContext):
    """Flask's context of a request, whose request and adapter are made when somebody asks for them.

    A warm prediction needs neither: it reads the WSGI environment.
    """

    def __init__(self, app: "Application", environ: Environ) -> None:
        # All that the base sets, but for what is made below.
        self.app = app
        self.environ = environ
        self.flashes = None
        self.rule: Rule | None = None
        self.args: Mapping[str, Any] | None = None
        self.mismatch: HTTPException | None = None
        self._session = _NoSessions.none
        self._after_request_functions = []
        self._cv_tokens = []

    @cached_property
    def request(self) -> Request:  # type: ignore[override]
        """The request, matched."""
        request = self.app.request_class(self.environ)
        request.json_module = self.app.json
        request.url_rule, request.view_args, request.routing_exception = self.rule, self.args, self.mismatch  # type: ignore[assignment]
        return request

    def close(self) -> None:
        """Close the files of a form, where the request was made and read one."""
        if "request" in vars(self):
            self.request.close()

    @cached_property
    def url_adapter(self) -> MapAdapter | None:  # type: ignore[override]
        """What builds URLs."""
        return self.app.create_url_adapter(self.request)


class Application(Flask):
    """A Flask application with no sessions, coroutines, signals or redirects, and no routing by host.

    Steps before, after and at the end of requests are those of the application, none of a
    blueprint. A path that is nearly right is a wrong path: a redirect would repeat the
    caller's host and send a credential on its way a second time.
    """

    session_interface = _NoSessions()

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        # OPTIONS belongs to CORS; a route that answered it by itself would stand outside of every guard.
        self.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
        self.url_map.merge_slashes = False
        # Here, and not in the views that read forms, because others read them before.
        self.config["MAX_FORM_PARTS"] = MOST_FORM_PARTS
        self.config["MAX_FORM_MEMORY_SIZE"] = MOST_FIELD_BYTES
        self._matched: dict[tuple[str, str], tuple[Rule, Mapping[str, Any]]] = {}

    def wsgi_app(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request in Flask's own order: match, before, view, after, at the end."""
        if "werkzeug.debug.preserve_context" in environ:
            return super().wsgi_app(environ, start_response)
        asked = _Context(self, environ)
        application, request = _cv_app.set(AppContext(self)), _cv_request.set(asked)
        try:
            try:
                response = self._respond(asked)
            except Exception as error:  # noqa: BLE001 - Flask logs it and answers 500.
                response = self.handle_exception(error)
            return response(environ, start_response)
        finally:
            for end in reversed(self.teardown_request_funcs.get(None, ())):
                end(sys.exc_info()[1])
            asked.close()
            _cv_request.reset(request)
            _cv_app.reset(application)

    def _respond(self, asked: _Context) -> Response:
        try:
            self._match(asked)
            value: Any = None
            for step in self.before_request_funcs.get(None, ()):
                value = step()
                if value is not None:
                    break
            else:
                if asked.mismatch is not None:
                    raise asked.mismatch
                value = self.view_functions[asked.rule.endpoint](**asked.args)  # type: ignore[union-attr, arg-type]
        except Exception as error:  # noqa: BLE001 - Flask finds the handler, and raises what has none.
            value = self.handle_user_exception(error)
        response = value if isinstance(value, Response) else self.make_response(value)
        for step in reversed(self.after_request_funcs.get(None, ())):
            response = step(response)
        return response

    def _match(self, asked: _Context) -> None:
        """Find the route; what matched before is remembered."""
        environ = asked.environ
        known = (environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""))
        found = self._matched.get(known)
        if found is None:
            try:
                found = self._adapter(environ).match(return_rule=True)
            except HTTPException as mismatch:
                asked.mismatch = mismatch
                return
            if len(known[1]) <= _REMEMBERED_LENGTH:
                if len(self._matched) >= _REMEMBERED_PATHS:
                    self._matched.clear()
                self._matched[known] = found
        asked.rule, asked.args = found
        context.matched(found[0].rule, found[0].endpoint)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``func``: no view and no step is a coroutine, and asking costs each of them a microsecond."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return what matches the request's path; the host has no part in it.

        :raises NotFound: the path begins with an empty segment.
        """
        return None if request is None else self._adapter(request.environ)

    def _adapter(self, environ: Environ) -> MapAdapter:
        path = environ.get("PATH_INFO", "")
        if path.startswith("//"):
            # Matching would strip them, and a proxy that guards a path reads it as it was sent.
            raise NotFound
        if not path.isascii():
            path = path.encode("latin-1").decode("utf-8", "replace")
        return MapAdapter(
            self.url_map, "localhost", "/", "", environ["wsgi.url_scheme"], path or "/", environ["REQUEST_METHOD"], None
        )

"""Every error as an RFC 9457 problem: one table of families, one place of rendering."""

from collections.abc import Iterable
from http import HTTPStatus
from math import ceil
from typing import Any, Final

import orjson
import structlog
from flask import Flask, Response, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from service import errors
from service.errors import Finding, ModelwardError
from service.gateway import headers
from service.gateway.application import MOST_FIELD_BYTES, MOST_FORM_PARTS
from service.gateway.auth import CHALLENGE, UNIDENTIFIED
from service.gateway.codes import CODES
from service.gateway.context import exchange
from service.gateway.limits import PlanLimiter

PROBLEM_JSON: Final = "application/problem+json"
RETRY_SECONDS: Final = {429: 60, 503: 2}
"""When to try again where whoever refused did not say."""

STATUSES: Final[dict[type[ModelwardError], int]] = {
    errors.Malformed: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Unacceptable: 406,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.Unsupported: 415,
    errors.Invalid: 422,
    errors.QuotaExceeded: 429,
    errors.Throttled: 429,
    errors.ChildFailed: 500,
    errors.ModelCrashed: 502,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
    ModelwardError: 500,
}
"""A family's status; a family that is not listed has that of its nearest ancestor."""

_CODES_OF_STATUSES: Final = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "request_timeout",
    413: "body_too_large",
    414: "uri_too_long",
    415: "unsupported_format",
    417: "expectation_failed",
    431: "headers_too_large",
    503: "unavailable",
}
_FORM_TOO_LARGE: Final = (
    f"A form has at most {MOST_FORM_PARTS} parts, and a part that is no file at most {MOST_FIELD_BYTES} bytes."
)
"""Other bodies are held to their bounds before anything of Werkzeug reads them."""

_MLFLOW_CODES: Final = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_CONFLICT",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    502: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_log = structlog.get_logger(__name__)


class Problems:
    """Turns what was raised into a response.

    :param limiter: counts refused credentials.
    """

    def __init__(self, limiter: PlanLimiter) -> None:
        self._limiter = limiter

    def init_app(self, app: Flask) -> None:
        """Handle everything that can be raised while a request is answered."""
        app.register_error_handler(ModelwardError, self.of_domain)
        app.register_error_handler(ValidationError, self.of_validation)
        app.register_error_handler(HTTPException, self.of_http)
        app.register_error_handler(Exception, self.of_surprise)

    def of_domain(self, error: ModelwardError) -> Response:
        """Answer what the domain refused."""
        if isinstance(error, errors.Unauthenticated) and error.reason != UNIDENTIFIED:
            try:
                self._limiter.count_refusal(request.remote_addr or "")
            except errors.Throttled as throttled:
                error = throttled
        status = status_of(type(error))
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, errors.Unavailable):
            # Only of a fault of ours is it worth to know where it happened.
            where = error if status == HTTPStatus.INTERNAL_SERVER_ERROR else None
            _log.error("failed", code=error.reason, detail=error.detail, exc_info=where)
        response = problem(status, error.reason, error.detail, title=error.title, findings=error.findings)
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(max(1, ceil(error.retry_after)))
        if status == HTTPStatus.UNAUTHORIZED:
            suffix = "" if error.reason == UNIDENTIFIED else ', error="invalid_token"'
            response.headers["WWW-Authenticate"] = CHALLENGE + suffix
        return response

    def of_http(self, error: HTTPException) -> Response:
        """Answer what Flask or Werkzeug refused."""
        status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        code = _CODES_OF_STATUSES.get(status, "malformed_request" if status < 500 else "internal_error")  # noqa: PLR2004
        detail = _FORM_TOO_LARGE if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else CODES[code]
        response = problem(status, code, detail)
        if isinstance(error, MethodNotAllowed):
            response.headers["Allow"] = ", ".join(sorted(set(error.valid_methods or ()) - {"OPTIONS"}))
        return response

    def of_validation(self, error: ValidationError) -> Response:
        """Answer a document of ours that breaks its schema; what came in was judged where it was read.

        Its text quotes the values, which are somebody's data, so the log names only the schema and the rules.
        """
        _log.error("unhandled", schema=error.title, broken=sorted({each["type"] for each in error.errors()}))
        return problem(500, "internal_error", CODES["internal_error"])

    def of_surprise(self, error: Exception) -> Response:
        """Answer a fault of ours, and tell nobody but the log what it was."""
        _log.error("unhandled", exc_info=error)
        return problem(500, "internal_error", CODES["internal_error"])


def status_of(family: type[ModelwardError]) -> int:
    """Return the status of a family of errors."""
    return next(STATUSES[ancestor] for ancestor in family.__mro__ if ancestor in STATUSES)


def problem(
    status: int, code: str, detail: str, *, title: str | None = None, findings: Iterable[Finding] = ()
) -> Response:
    """Return a problem as the response to the request under way."""
    current = exchange()
    current.code = code
    members = document(status, code, detail, current.request_id, title=title, findings=findings)
    path = current.environ.get("PATH_INFO", "")
    if path.startswith("/v2"):
        members["error"] = detail
    elif path.endswith("/invocations"):
        members |= {"error_code": _MLFLOW_CODES.get(status, "INVALID_PARAMETER_VALUE"), "message": detail}
    response = Response(orjson.dumps(members), status, content_type=PROBLEM_JSON)
    if status in RETRY_SECONDS:
        response.headers["Retry-After"] = str(RETRY_SECONDS[status])
    return response


def document(
    status: int,
    code: str,
    detail: str,
    request_id: str,
    *,
    title: str | None = None,
    findings: Iterable[Finding] = (),
) -> dict[str, Any]:
    """Return the members of a problem."""
    return {
        "type": f"urn:modelward:problem:{code}",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": request_id,
        "errors": [{"at": finding.at, "message": finding.message} for finding in findings],
    }


def bare(
    status: int, code: str, detail: str, request_id: str, retry_after: int | None = None
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return a problem as status, headers and body, for a request that never reaches the application."""
    body = orjson.dumps(document(status, code, detail, request_id))
    fields = [("Content-Type", PROBLEM_JSON), *headers.bare(request_id)]
    if retry_after is None:
        retry_after = RETRY_SECONDS.get(status)
    if retry_after is not None:
        fields.append(("Retry-After", str(retry_after)))
    return status, fields, body

"""What a call takes and gives, stated once: it is enforced, and OpenAPI is written from it.

``@operation`` hands the view what it states: ``body`` and ``query`` parsed and checked,
the segments of the path, and ``expected_revision`` where ``If-Match`` is honoured.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, TypeAlias

from flask import Response
from pydantic import BaseModel

from service.api import bodies, parameters
from service.errors import ModelwardError
from service.gateway.context import environ

View: TypeAlias = Callable[..., Response]
MARK: Final = "operation"


@dataclass(frozen=True, slots=True)
class Operation:
    """The contract of one call.

    :param summary: a line for the reference.
    :param body: model of the JSON body that is parsed and given to the view.
    :param optional_body: whether leaving the body out means a body of defaults.
    :param documents: schema of a body that the view reads itself, by media type; ``None`` for a file.
    :param query: model of the query string.
    :param answer: model of the answer; ``None`` has no body.
    :param media: media type of the answer.
    :param files: media types of files that the answer may be instead.
    :param status: status of the answer.
    :param refuses: families of errors beyond those that follow from the rest.
    :param also: other statuses that come with the same answer, and what they mean.
    :param conditional: whether ``If-Match`` is honoured.
    :param timed: whether the work ends when the time of ``X-Request-Timeout-Ms`` is over.
    :param example: an example of the body.
    """

    summary: str
    body: type[BaseModel] | None = None
    optional_body: bool = False
    documents: dict[str, Any] | None = None
    query: type[parameters.Query] = parameters.NoQuery
    answer: Any = None
    media: str = "application/json"
    files: tuple[str, ...] = ()
    status: int = 200
    refuses: tuple[type[ModelwardError], ...] = ()
    also: dict[int, str] = field(default_factory=dict)
    conditional: bool = False
    timed: bool = False
    example: Any = None


def operation(summary: str, **contract: Any) -> Callable[[View], View]:
    """State the contract of a view, and enforce it; the parameters are those of ``Operation``."""
    stated = Operation(summary, **contract)
    unasked = parameters.unasked(stated.query)

    def decorate(view: View) -> View:
        @wraps(view)
        def enforced(**path: Any) -> Response:
            given = parameters.segments(path)
            query = parameters.read_query(stated.query) if unasked is None or environ().get("QUERY_STRING") else unasked
            if stated.query is not parameters.NoQuery:
                given["query"] = query
            if stated.conditional:
                given["expected_revision"] = parameters.expected_revision()
            if stated.body is not None:
                given["body"] = bodies.read(stated.body, optional=stated.optional_body)
            return view(**given)

        setattr(enforced, MARK, stated)
        return enforced

    return decorate

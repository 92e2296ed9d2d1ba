"""The fit-and-answer calls, and the one-line prediction."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from flask import Blueprint, Response
from pydantic import Field, RootModel

from service.api.answers import JSON, show_json
from service.api.bodies import Body, json_body, require_fields
from service.api.contract import operation
from service.api.fields import Name
from service.api.parameters import Query
from service.api.predict import Cell, render_array, require_acceptable
from service.errors import ChildFailed, Conflict, NotFound, Unacceptable
from service.gateway.caching import caching_asked
from service.gateway.context import environ, principal, services
from service.gateway.guards import requires
from service.jobs.fit_and_answer import MAXIMUM_COLUMNS, MAXIMUM_ROWS
from service.registry.resolution import DEFAULT
from service.server.deadlines import seconds_left
from service.tenants.principal import Principal
from service.tenants.scopes import Scope

routes = Blueprint("fit_and_answer", __name__)

Matrix = Annotated[
    list[Annotated[list[float], Field(min_length=1, max_length=MAXIMUM_COLUMNS)]],
    Field(min_length=1, max_length=MAXIMUM_ROWS),
]


class Regression(Body):
    """Rows of numbers, and a number for each."""

    X: Matrix
    y: Annotated[list[float], Field(min_length=1, max_length=MAXIMUM_ROWS)]


class Classification(Body):
    """Rows of numbers, and a label for each: all strings, all integers or all booleans."""

    X: Matrix
    y: Annotated[list[str] | list[int] | list[bool], Field(min_length=1, max_length=MAXIMUM_ROWS)]


class Answers(RootModel[list[Any]]):
    """One value for each row."""


class Rows(RootModel[list[list[Cell] | dict[str, Cell]]]):
    """Rows to predict."""


class Chosen(Query):
    """Which model."""

    model: Name


_fitting: Final[dict[str, Any]] = {"answer": Answers, "refuses": (Unacceptable, ChildFailed), "timed": True}


@routes.post("/linear_regression")
@requires(Scope.MODELS_PREDICT)
@operation(
    "Fit a linear regression and predict",
    documents={JSON: Regression},
    example={"X": [[1], [2], [3]], "y": [2, 4, 6]},
    **_fitting,
)
def linear_regression() -> Response:
    """Fit `LinearRegression` to `X` and `y`, and answer with its prediction for `X`."""
    return _fitted(services().fit_and_answer.linear_regression)


@routes.post("/support_vector_machine")
@requires(Scope.MODELS_PREDICT)
@operation(
    "Fit a support vector machine and predict",
    documents={JSON: Classification},
    example={"X": [[0], [1], [10], [11]], "y": [0, 0, 1, 1]},
    **_fitting,
)
def support_vector_machine() -> Response:
    """Fit `SVC` to `X` and `y`, and answer with its prediction for `X`."""
    return _fitted(services().fit_and_answer.support_vector_machine)


@routes.post("/predict")
@requires(Scope.MODELS_PREDICT)
@operation(
    "Predict in one line",
    query=Chosen,
    documents={JSON: Rows},
    answer=Answers,
    refuses=(NotFound, Conflict, Unacceptable),
    timed=True,
    example=[[5.1, 3.5, 1.4, 0.2]],
)
def predict_array(query: Chosen) -> Response:
    """Answer a JSON array of rows with the JSON array of their predictions."""
    require_acceptable()
    rows = json_body()
    sent = environ()
    caching = caching_asked(sent.get("HTTP_CACHE_CONTROL"))
    prediction = services().predictor.predict(
        principal(), query.model, DEFAULT, rows, None, caching, seconds_left(sent)
    )
    return render_array(prediction)


def _fitted(fit: Callable[[Principal, object, object, float | None], list[Any]]) -> Response:
    require_acceptable()
    body = require_fields(json_body(), required={"X", "y"})
    return show_json(fit(principal(), body["X"], body["y"], seconds_left(environ())))

"""Predictions: three ways to name the version, one way to answer.

Reading and rendering are apart from the call between them, so another form of body is
one more reader or one more renderer.
"""

import re
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import orjson
from flask import Blueprint, Response, request
from pydantic import Field

from service.api import columnar
from service.api.answers import JSON, Answer, Ready
from service.api.bodies import Body, json_body, require_fields, unfit
from service.api.contract import operation
from service.api.parameters import Query
from service.errors import Conflict, Finding, Invalid, Unacceptable
from service.gateway.caching import cache_status, caching_asked
from service.gateway.context import environ, principal, services
from service.gateway.guards import requires
from service.ids import new_id
from service.predict.predictor import Prediction
from service.registry.resolution import DEFAULT, AliasRef, Ref, VersionRef
from service.server.deadlines import seconds_left
from service.tenants.scopes import Scope

Output = Literal["predict", "predict_proba", "decision_function", "transform", "score_samples"]
OUTPUTS: Final[tuple[str, ...]] = get_args(Output)

_REQUIRED: Final = frozenset({"inputs"})
_OPTIONAL: Final = frozenset({"outputs", "id"})
PRINTABLE: Final = r"^[^\x00-\x1f\x7f]+$"
_ANY_OUTPUT: Final = "|".join(OUTPUTS)
_ID: Final = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_BEFORE_ARRAY: Final = b'{"predict":'
_ANYTHING: Final = frozenset({None, JSON, "*/*"})

Cell = bool | int | float | str | None

routes = Blueprint("predict", __name__)


class Rows(Body):
    """Rows to predict, as lists in the order of the signature or as objects by feature name."""

    inputs: Annotated[list[list[Cell]] | list[dict[str, Cell]], Field(min_length=1)]
    outputs: list[Output] = Field(default=["predict"], min_length=1, max_length=len(OUTPUTS))
    id: str = Field(default="", min_length=1, max_length=128, pattern=PRINTABLE)


class Predicted(Answer):
    """The answer: which version gave it, and each output that was asked for."""

    id: str
    model: str
    version: int
    alias: str | None
    outputs: dict[str, list[Any]]


class Asked(NamedTuple):
    """What a predict call asks for, whatever form it came in."""

    inputs: Any
    outputs: tuple[str, ...] | None
    id: str | None


class Options(Query):
    """What a call asks for beside its rows."""

    runtime: Annotated[
        Literal["native"] | None,
        Field(description="`native` has scikit-learn itself answer, whatever else could: for comparison, and slower."),
    ] = None
    outputs: Annotated[
        str | None,
        Field(
            pattern=f"^({_ANY_OUTPUT})(,({_ANY_OUTPUT}))*$",
            description="Of a body that is a file, the outputs to give; one in JSON says it itself.",
        ),
    ] = None
    id: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=128,
            pattern=PRINTABLE,
            description="Of a body that is a file, the caller's own id of the call; one in JSON says it itself.",
        ),
    ] = None


_contract: Final[dict[str, Any]] = {
    "query": Options,
    "documents": {JSON: Rows, **dict.fromkeys(columnar.BODIES)},
    "answer": Predicted,
    "files": tuple(columnar.FORMS),
    "refuses": (Conflict, Unacceptable),
    "timed": True,
    "example": {"inputs": [[5.1, 3.5, 1.4, 0.2]], "outputs": ["predict", "predict_proba"]},
}


@routes.post("/v1/models/<model>/predict")
@requires(Scope.MODELS_PREDICT)
@operation("Predict with the version that serves by default", **_contract)
def predict(model: str, query: Options) -> Response:
    """Answer from the alias `production`, or the newest ready version where it is not set."""
    return _predicted(model, DEFAULT, query)


@routes.post("/v1/models/<model>/versions/<version>/predict")
@requires(Scope.MODELS_PREDICT)
@operation("Predict with a version", **_contract)
def predict_version(model: str, version: int, query: Options) -> Response:
    """Answer from the version of that number."""
    return _predicted(model, VersionRef(version), query)


@routes.post("/v1/models/<model>/aliases/<alias>/predict")
@requires(Scope.MODELS_PREDICT)
@operation("Predict with the version that an alias names", **_contract)
def predict_alias(model: str, alias: str, query: Options) -> Response:
    """Answer from the version that the alias names at this moment."""
    return _predicted(model, AliasRef(alias), query)


def _predicted(model: str, ref: Ref, query: Options) -> Response:
    sent = environ()
    if not columnar.is_plain(sent):
        form, media = columnar.form_of_body(), columnar.media_of_answer()
        if form is not None or media != JSON:
            return _predicted_columnar(model, ref, query, form, media)
    asked = _read_json(query)
    caching = caching_asked(sent.get("HTTP_CACHE_CONTROL"))
    prediction = services().predictor.predict(
        principal(),
        model,
        ref,
        asked.inputs,
        asked.outputs,
        caching,
        seconds_left(sent),
        native=query.runtime is not None,
    )
    return render(prediction, asked.id)


def _predicted_columnar(model: str, ref: Ref, query: Options, form: str | None, media: str) -> Response:
    asked = _read_json(query) if form is None else None
    version = services().resolution.resolve(principal(), model, ref)
    if query.runtime is not None:
        version = version.natively()
    if form is None:
        assert asked is not None
        call = columnar.Call(version, asked.outputs, asked.id)
        return columnar.answered(call, columnar.batches_of_rows(version, asked.inputs), media)
    outputs = None if query.outputs is None else tuple(query.outputs.split(","))
    return columnar.answered(columnar.Call(version, outputs, query.id), columnar.batches_of_file(version, form), media)


def _read_json(query: Options) -> Asked:
    misplaced = query.model_fields_set & _OPTIONAL
    if misplaced:
        findings = [Finding(name, "A body in JSON says this itself.") for name in sorted(misplaced)]
        raise Invalid("Some query parameters do not fit.", code="invalid_query", findings=findings)
    return read_rows(json_body())


def require_acceptable() -> None:
    """Refuse a caller that takes no JSON.

    :raises Unacceptable: ``Accept`` names only other forms.
    """
    if environ().get("HTTP_ACCEPT") not in _ANYTHING and not request.accept_mimetypes.best_match([JSON]):
        raise Unacceptable("Predictions are answered as application/json.")


def read_rows(body: Any) -> Asked:
    """Return what a JSON body asks for. The cells are left to the signature, which knows their types.

    :raises Invalid: it is not an object of ``inputs``, ``outputs`` and ``id``.
    """
    require_fields(body, required=_REQUIRED, optional=_OPTIONAL)
    return Asked(body["inputs"], _outputs(body), _id(body))


def _outputs(body: dict[str, Any]) -> tuple[str, ...] | None:
    if "outputs" not in body:
        return None
    names = body["outputs"]
    if type(names) is not list or not names or len(names) > len(OUTPUTS):
        raise unfit("outputs", f"A list of one to {len(OUTPUTS)} names is expected.")
    for index, name in enumerate(names):
        if name not in OUTPUTS:
            raise unfit(f"outputs[{index}]", f"One of {', '.join(OUTPUTS)} is expected.")
    return tuple(dict.fromkeys(names))


def _id(body: dict[str, Any]) -> str | None:
    if "id" not in body:
        return None
    text = body["id"]
    if type(text) is not str or not _ID.fullmatch(text):
        raise unfit("id", "A text of 1 to 128 printable characters is expected.")
    return text


def render(prediction: Prediction, identifier: str | None) -> Response:
    """Return a prediction as JSON.

    :param identifier: the caller's own id of this call, or ``None`` to make one.
    """
    body = orjson.dumps(
        {
            "id": identifier or new_id("prd"),
            "model": prediction.model,
            "version": prediction.version,
            "alias": prediction.alias,
            "outputs": orjson.Fragment(prediction.outputs_json),
        }
    )
    return _answered(body, prediction)


def render_array(prediction: Prediction) -> Response:
    """Return a prediction of ``predict`` alone as a JSON array."""
    return _answered(prediction.outputs_json[len(_BEFORE_ARRAY) : -1], prediction)


def _answered(body: bytes, prediction: Prediction) -> Response:
    kept = ("Cache-Status", cache_status(prediction.cache))
    if not prediction.runtimes:
        return Ready(body, JSON, kept)
    return Ready(body, JSON, kept, ("Modelward-Runtime", ", ".join(dict.fromkeys(prediction.runtimes))))

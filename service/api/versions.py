"""Versions: immutable numbered artifacts of a model, from upload to purge."""

from datetime import datetime
from typing import Annotated, Any, Literal

from flask import Blueprint, Response
from pydantic import Field

from service.api.answers import Answer, Listing, nothing, show
from service.api.bodies import MAXIMUM_DEPTH, Body, Change
from service.api.contract import operation
from service.api.fields import LARGEST_INTEGER, Metrics, Name, Tags, Text, Whole
from service.api.parameters import Flag, NumberPaging, Query
from service.api.uploads import MULTIPART, read_upload
from service.artifacts.signature_rules import MAXIMUM_COLUMNS, MAXIMUM_NAME
from service.errors import ChildFailed, Conflict, DeadlineExceeded
from service.gateway.context import principal, services
from service.gateway.guards import idempotent, requires
from service.registry.versions import Metadata
from service.tenants.scopes import Scope

routes = Blueprint("versions", __name__)

VERSIONS = "/v1/models/<model>/versions"


Dtype = Literal["float64", "int64", "bool", "string"]


class DeclaredInput(Body):
    """An input. What is left out is as the estimator says it."""

    name: Annotated[str, Field(min_length=1, max_length=MAXIMUM_NAME, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
    dtype: Dtype | None = None
    nullable: bool | None = None


class DeclaredOutput(Body):
    """An output, by the name of the estimator's method."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    dtype: Dtype | None = None
    shape: (
        Annotated[list[Annotated[int, Field(ge=0, le=LARGEST_INTEGER), Whole]], Field(max_length=MAXIMUM_DEPTH)] | None
    ) = None


class DeclaredSignature(Body):
    """The signature that the estimator must agree with; a version's own may be sent as it stands."""

    inputs: Annotated[list[DeclaredInput], Field(min_length=1, max_length=MAXIMUM_COLUMNS)]
    outputs: Annotated[list[DeclaredOutput], Field(max_length=MAXIMUM_DEPTH)] | None = None
    layout: Literal["matrix", "text"] | None = None


class Sample(Body):
    """Rows that the version must be able to predict before it is ready."""

    inputs: Annotated[list[Any], Field(min_length=1, max_length=1000)]


class VersionMetadata(Body):
    """What an upload says about itself, all of it optional."""

    description: Text = ""
    tags: Tags = Field(default_factory=dict)
    metrics: Metrics = Field(default_factory=dict)
    signature: DeclaredSignature | None = None
    sample: Sample | None = None
    alias: Name | None = None


class Upload(Body):
    """The parts of an upload: the artifact's bytes, and what they say about themselves."""

    artifact: Annotated[bytes, Field(json_schema_extra={"contentMediaType": "application/octet-stream"})]
    metadata: VersionMetadata = Field(default_factory=VersionMetadata)


class VersionChange(Change):
    """What may be changed of a version; what is left out stays."""

    description: Text = ""
    tags: Tags = Field(default_factory=dict)


class Removal(Query):
    """Whether the bytes go as well."""

    purge: Flag = False


class VersionAnswer(Answer):
    """A version. `digest` is null once its bytes are purged."""

    model: str
    version: int
    status: str
    format: str
    digest: str | None
    size_bytes: int
    estimator: str
    task: str
    classes: list[Any] | None
    methods: list[str]
    signature: dict[str, Any]
    runtime: dict[str, Any]
    sklearn_version: str
    description: str
    tags: dict[str, str]
    metrics: dict[str, float]
    revision: int
    created_at: datetime
    created_by: str


@routes.post(VERSIONS)
@requires(Scope.MODELS_WRITE)
@idempotent
@operation(
    "Upload a version",
    documents={MULTIPART: Upload},
    answer=VersionAnswer,
    status=201,
    refuses=(Conflict, DeadlineExceeded, ChildFailed),
)
def upload_version(model: str) -> Response:
    """Admit a `.skops` file as the next version; the model is made on its first upload."""
    data, metadata = read_upload(VersionMetadata)
    described = metadata.model_dump()
    if metadata.sample is not None:
        described["sample"] = metadata.sample.inputs
    if metadata.signature is not None:
        described["signature"] = metadata.signature.model_dump(exclude_none=True)
    version = services().versions.upload(principal(), model, data, Metadata(**described))
    return show(VersionAnswer, version, 201, location=f"/v1/models/{model}/versions/{version.version}")


@routes.get(VERSIONS)
@requires(Scope.MODELS_READ)
@operation("List versions", query=NumberPaging, answer=Listing[VersionAnswer])
def list_versions(model: str, query: NumberPaging) -> Response:
    """The versions of a model, the newest first."""
    page = services().versions.list(principal(), model, limit=query.limit, cursor=query.cursor)
    return show(Listing[VersionAnswer], page)


@routes.get(f"{VERSIONS}/<version>")
@requires(Scope.MODELS_READ)
@operation("Read a version", answer=VersionAnswer)
def get_version(model: str, version: int) -> Response:
    """One version."""
    return show(VersionAnswer, services().versions.get(principal(), model, version))


@routes.get(f"{VERSIONS}/<version>/artifact")
@requires(Scope.MODELS_READ)
@operation("Download a version", media="application/octet-stream", refuses=(Conflict,))
def get_artifact(model: str, version: int) -> Response:
    """The artifact's bytes as they are served: the canonical `.skops` file that admission wrote."""
    response = Response(services().versions.artifact(principal(), model, version), mimetype="application/octet-stream")
    response.headers["Content-Disposition"] = f'attachment; filename="{model}-{version}.skops"'
    return response


@routes.patch(f"{VERSIONS}/<version>")
@requires(Scope.MODELS_WRITE)
@operation("Describe a version", body=VersionChange, answer=VersionAnswer, conditional=True)
def change_version(model: str, version: int, body: VersionChange, expected_revision: int | None) -> Response:
    """Change a version's description or tags; the artifact itself never changes."""
    changed = services().versions.change(principal(), model, version, body.changes(), expected_revision)
    return show(VersionAnswer, changed)


@routes.delete(f"{VERSIONS}/<version>")
@requires(Scope.MODELS_WRITE)
@operation("Archive or purge a version", query=Removal, status=204, conditional=True, refuses=(Conflict,))
def delete_version(model: str, version: int, query: Removal, expected_revision: int | None) -> Response:
    """Archive a version; `purge=true` removes its bytes too. Refused while an alias points at it."""
    remove = services().versions.purge if query.purge else services().versions.archive
    remove(principal(), model, version, expected_revision)
    return nothing()

"""Multipart uploads: one artifact, one optional JSON part, and nothing else."""

import itertools
from collections.abc import Iterator
from typing import Final, TypeVar

from flask import request
from pydantic import BaseModel
from werkzeug.datastructures import FileStorage

from service.api.bodies import MAXIMUM_FINDINGS, parse, place
from service.api.fields import LARGEST_INTEGER
from service.errors import Finding, Invalid, Malformed, TooLarge, Unsupported
from service.gateway.application import MOST_FIELD_BYTES

MULTIPART: Final = "multipart/form-data"
REPLACEMENT: Final = "\ufffd"
M = TypeVar("M", bound=BaseModel)


def read_upload(model: type[M]) -> tuple[bytes, M]:
    """Return the bytes of the part ``artifact``, and the part ``metadata`` as ``model``.

    :raises Unsupported: the body is not multipart.
    :raises Malformed: the metadata is not strict JSON, or not UTF-8.
    :raises TooLarge: the metadata takes more than a field may.
    :raises Invalid: a part is missing, stands twice or is unknown, or the metadata do not fit.
    """
    if request.mimetype != MULTIPART:
        raise Unsupported("Send the artifact as multipart/form-data.", code="unsupported_media_type")
    files, fields = request.files, request.form
    _refuse_parts([*files.keys(), *fields.keys()], [*files.items(multi=True), *fields.items(multi=True)])
    artifact = files.get("artifact")
    if artifact is None:
        raise _unfit("artifact", "A file part of this name is required.")
    metadata = parse(model, _metadata(files.get("metadata"), fields.get("metadata")))
    _refuse_large_integers(metadata)
    return artifact.read(), metadata


def _refuse_large_integers(metadata: BaseModel) -> None:
    """Refuse integers that no estimator's input and no column of a database holds."""
    found = itertools.islice(_large_integers(metadata.model_dump(), ()), MAXIMUM_FINDINGS)
    findings = [Finding(place(path), "An integer must fit into 64 bits.") for path in found]
    if findings:
        raise Invalid(
            "Some integers are too large; each is named under errors.", code="invalid_body", findings=findings
        )


def _large_integers(value: object, path: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
    if isinstance(value, int) and not -LARGEST_INTEGER - 1 <= value <= LARGEST_INTEGER:
        yield path
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _large_integers(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _large_integers(item, (*path, key))


def _refuse_parts(names: list[str | None], parts: list[tuple[str | None, object]]) -> None:
    for name in names:
        if name is None:
            raise _unfit("body", "A part has no name.")
        if name not in {"artifact", "metadata"}:
            raise _unfit(name, "The part is not known.")
    if len(parts) > len(set(names)):
        raise _unfit("body", "A part stands twice.")


def _metadata(file: FileStorage | None, field: str | None) -> bytes:
    if file is not None:
        data: bytes = file.read(MOST_FIELD_BYTES + 1)
        if len(data) > MOST_FIELD_BYTES:
            raise TooLarge(f"The metadata takes at most {MOST_FIELD_BYTES} bytes.")
        return data
    if field is None:
        return b"{}"
    if REPLACEMENT in field:
        # Werkzeug puts it where it could not decode, and says nothing.
        raise Malformed("The metadata is not UTF-8, or holds the character U+FFFD.", code="invalid_encoding")
    return field.encode(errors="surrogatepass")


def _unfit(at: str, message: str) -> Invalid:
    return Invalid("The parts of the body do not fit.", code="invalid_body", findings=[Finding(at, message)])

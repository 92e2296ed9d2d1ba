"""What happens to an upload, in the confined child: from a stranger's bytes to our own.

The order is the point: the container before anything is unpacked, the description before
anything is made, the estimator before it is asked anything, and a prediction before it
is written again.
"""

import contextlib
import encodings.cp437  # noqa: F401 - zipfile asks for it by name, when the child can open no file.
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted

from service.artifacts import (
    container,
    declaration,
    features,
    schema_file,
    serialization,
    signature_rules,
    trial,
    validation,
)
from service.artifacts.normalisation import normalise
from service.confinement import wire
from service.errors import Finding, Rejected, is_printable, printable
from service.runtimes.derivation import choice
from service.runtimes.policy import EXACT, NATIVE, Policy

_LABELS = bool | int | str | float


def inspect(payload: bytes) -> bytes:
    """Admit an upload.

    :param payload: a frame: ``signature``, ``sample`` and ``policy`` in the header, the file as the body.
    :returns: a frame: what the estimator is in the header, the canonical file as the body.
    :raises Unsupported: the file holds a pickle or is a zip of another kind.
    :raises Rejected: the findings name each reason.
    """
    header, body = wire.unpack(payload)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", InconsistentVersionWarning)
        estimator = open_stranger(bytes(body))
        return admit(estimator, header["signature"], header["sample"], header["policy"])


def open_stranger(data: bytes) -> BaseEstimator:
    """Load a stranger's file, after everything about it that can be known before.

    :raises Unsupported: the file holds a pickle or is a zip of another kind.
    :raises Rejected: the findings name each reason.
    """
    container.check(data)
    with container.open_archive(data) as archive:
        schema_file.examine(schema_file.parse(container.read(archive, container.SCHEMA)))
    with rejecting("file", "cannot be loaded"):
        return serialization.load(data)


def admit(estimator: BaseEstimator, signature: Any, sample: Any, policy: Policy = EXACT) -> bytes:
    """Validate a loaded estimator, try it, and return what it is and its canonical file, as a frame.

    :param signature: as the uploader declared it, or ``None``.
    :param sample: rows of the uploader, or ``None``.
    :param policy: how far a compiled form may be from scikit-learn.
    :raises Rejected: the findings name each reason.
    """
    _require_predict(estimator)
    _refuse(validation.check(estimator))
    with rejecting("estimator", "cannot be prepared to serve"):
        normalise(estimator)
    with rejecting("estimator", "does not say what it takes"):
        layout = features.layout(estimator)
        inputs = features.inputs(estimator, declaration.declared_width(signature, sample))
    with rejecting("estimator.classes_", "cannot be read"):
        labels = classes(estimator)
    if signature is not None:
        _refuse(list(declaration.disagreements(signature, layout, inputs)))
    tried = trial.run(estimator, inputs, layout, _sample(declaration.merged(signature, inputs), sample, layout))
    if signature is not None:
        _refuse(list(declaration.broken_promises(signature, tried.inputs, tried.outputs)))
    described = {
        "layout": layout,
        "inputs": declaration.merged(signature, tried.inputs),
        "outputs": tried.outputs,
    }
    # What is admitted is served: predictions read the signature by these same rules.
    _refuse(signature_rules.complaints(described))
    data = _written(estimator, tried)
    facts = {
        "estimator": type(estimator).__name__,
        "task": task(estimator),
        "classes": labels,
        "methods": [output["name"] for output in tried.outputs],
        "signature": described,
        "sklearn_version": sklearn.__version__,
        "runtime": runtime(estimator, tried, policy),
    }
    return wire.pack(facts, data)


def runtime(estimator: BaseEstimator, tried: trial.Trial, policy: Policy) -> dict[str, Any]:
    """Return what runs the estimator fastest without a difference, and the figures of everything that was tried."""
    native = {"backend": NATIVE, "policy": policy}
    if not isinstance(tried.rows, np.ndarray) or tried.rows.dtype != np.float64 or tried.rows.ndim != 2:  # noqa: PLR2004
        return native | {"reason": "compiled forms take numbers alone"}
    methods = tuple(output["name"] for output in tried.outputs if output["name"] in choice.METHODS)
    gaps = [position for position, column in enumerate(tried.inputs) if column.get("nullable")]
    try:
        return choice.choose(estimator, methods, tried.rows, gaps, policy)
    except Exception as error:  # noqa: BLE001 - a form only makes it faster, and scikit-learn itself has answered.
        return native | {"reason": printable(f"{type(error).__name__}: {error}"[:300])}


def task(estimator: BaseEstimator) -> str:
    """Return what the estimator is for."""
    kinds = {
        "classification": is_classifier,
        "regression": is_regressor,
        "clustering": is_clusterer,
        "outlier_detection": is_outlier_detector,
    }
    return next((name for name, holds in kinds.items() if holds(estimator)), "other")


def classes(estimator: BaseEstimator) -> list[Any] | None:
    """Return the class labels as they were trained, or ``None`` where there is no single list of them.

    :raises Rejected: a label is neither number, string nor boolean.
    """
    labels = getattr(estimator, "classes_", None) if is_classifier(estimator) else None
    for each in labels if isinstance(labels, list | tuple) else ():
        _plain_labels(each)
    return _plain_labels(labels)


def _plain_labels(labels: Any) -> list[Any] | None:
    """Return labels that JSON can say and a database can keep; ``None`` where it is no list of them."""
    if not isinstance(labels, np.ndarray) or labels.ndim != 1:
        return None
    listed: list[Any] = labels.tolist()
    if not all(isinstance(label, _LABELS) for label in listed):
        raise _rejected("estimator.classes_", "holds labels that are neither numbers, strings nor booleans")
    if not all(_is_plain(label) for label in listed):
        raise _rejected(
            "estimator.classes_",
            f"holds a label that is an integer of more than 64 bits, or a string of more than "
            f"{signature_rules.MAXIMUM_NAME} characters or with one that is not printable",
        )
    return listed


def _is_plain(label: bool | int | str | float) -> bool:
    if isinstance(label, str):
        return len(label) <= signature_rules.MAXIMUM_NAME and is_printable(label)
    return isinstance(label, float) or -(1 << 63) <= label < 1 << 63


def _require_predict(estimator: BaseEstimator) -> None:
    name = type(estimator).__name__
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise _rejected("estimator", f"{name} is not fitted; call fit before it is written") from None
    except Exception as error:  # noqa: BLE001 - what a stranger made of its attributes may raise anything.
        raise _rejected("estimator", f"{name} cannot say whether it is fitted: {error}"[:500]) from None
    if not hasattr(estimator, "predict"):
        raise _rejected("estimator", f"{name} has no predict, so there is nothing to serve")


def _sample(inputs: list[dict[str, Any]], sample: Any, layout: str) -> Any:
    if sample is None:
        return None
    rows, findings = declaration.rows(sample, inputs, layout)
    _refuse(findings)
    return rows


def _written(estimator: BaseEstimator, tried: trial.Trial) -> bytes:
    """Write the estimator, and see that what was written answers as the original did."""
    with rejecting("estimator", "cannot be written again"):
        data = serialization.dump(estimator)
        again = serialization.load(data)
        if not tried.repeats_with(again):
            raise ValueError("it answers otherwise once it is written and read")
    return data


@contextlib.contextmanager
def rejecting(at: str, message: str) -> Iterator[None]:
    """Turn whatever a stranger's estimator raises into a finding."""
    try:
        yield
    except (Rejected, MemoryError):
        raise
    except Exception as error:
        raise _rejected(at, f"{message}: {type(error).__name__}: {error}"[:500]) from error


def _refuse(findings: list[Finding]) -> None:
    if findings:
        raise Rejected("The estimator cannot be served.", findings=findings[: container.MAX_FINDINGS])


def _rejected(at: str, message: str) -> Rejected:
    return Rejected("The estimator cannot be served.", findings=[Finding(at, message)])

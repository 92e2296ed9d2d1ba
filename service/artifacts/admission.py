"""Admission: what an upload must pass before it becomes a version."""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from service.artifacts import formats
from service.confinement import Confinement, Limits, wire
from service.errors import ChildFailed, DeadlineExceeded, Finding, Rejected
from service.runtimes.policy import EXACT, Policy

TARGET: Final = "service.artifacts.inspection:inspect"


@dataclass(frozen=True, slots=True)
class Declared:
    """What the uploader says of the estimator, each ``None`` where nothing is said.

    :param signature: ``{"inputs": [{"name", "dtype"}], "outputs": [...]}``.
    :param sample: rows to try it on, each a list of cells or an object by input name.
    :param policy: how far a compiled form may be from scikit-learn.
    """

    signature: dict[str, Any] | None = None
    sample: list[Any] | None = None
    policy: Policy = EXACT


@dataclass(frozen=True, slots=True)
class Admitted:
    """What was admitted: the canonical bytes, and what they are.

    ``digest`` is ``sha256:`` and the hexadecimal digest of ``data``. ``classes`` are JSON
    scalars, or ``None``. ``signature`` is described in ``service.artifacts.features``.
    """

    data: bytes
    digest: str
    size_bytes: int
    format: str
    estimator: str
    task: str
    classes: list[Any] | None
    methods: list[str]
    signature: dict[str, Any]
    sklearn_version: str
    runtime: dict[str, Any]


class Admission:
    """Decides about uploads.

    :param seconds: of time on the clock, and of processor time, for one upload.
    :param memory_bytes: of memory for one upload.
    """

    def __init__(self, confinement: Confinement, *, seconds: int = 60, memory_bytes: int = 2 << 30) -> None:
        self._confinement = confinement
        self._limits = Limits(seconds=seconds, cpu_seconds=seconds, memory_bytes=memory_bytes)

    def admit(self, data: bytes, declared: Declared | None = None, *, owner: str = "") -> Admitted:
        """Return the canonical form of an upload and what it is.

        :param data: the file as it was uploaded.
        :param owner: the tenant's id; one tenant's uploads leave a place to others'.
        :raises Unsupported: a pickle of any kind, an array file, ONNX, or something unknown.
        :raises Rejected: the findings name each reason.
        :raises Unavailable: no confined child could be had; the upload may be sent again.
        """
        formats.require_zip(data)
        declared = declared or Declared()
        header = {"signature": declared.signature, "sample": declared.sample, "policy": declared.policy}
        try:
            answer = self._confinement.call(TARGET, wire.pack(header, data), self._limits, owner=owner)
        except DeadlineExceeded as error:
            raise _too_costly(f"takes more than {self._limits.cpu_seconds} seconds to load and try") from error
        except ChildFailed as error:
            raise _too_costly(_DEATHS.get(error.reason, "crashes the process that loads and tries it")) from error
        facts, canonical = wire.unpack(answer)
        return _admitted(facts, bytes(canonical))


_DEATHS: Final = {
    "child_out_of_memory": "needs more memory to load and try than an upload may use",
    "child_killed": "needs more than an upload may use; the process that tried it was killed",
}


def _too_costly(message: str) -> Rejected:
    return Rejected("The estimator cannot be served.", findings=[Finding("estimator", message)])


def _admitted(facts: dict[str, Any], data: bytes) -> Admitted:
    return Admitted(
        data=data,
        digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
        size_bytes=len(data),
        format="skops",
        **facts,
    )

"""The domain's exceptions, with stable codes. None knows an HTTP status.

::

    ModelwardError
    ├── Malformed            what came in cannot be read at all
    ├── Invalid              it was read, and breaks a rule that the findings name
    │   └── Rejected         an uploaded artifact that admission refused
    ├── Unsupported          a format that is never accepted
    ├── Unacceptable         no answer exists in a form that the caller accepts
    ├── Unauthenticated      no credential, or one that does not hold
    ├── Forbidden            a credential that does not reach this far
    ├── NotFound             nothing of that name that the caller may see
    ├── Conflict             the present state does not allow it
    ├── PreconditionFailed   it changed since the caller read it
    ├── TooLarge             more bytes or rows than the plan allows
    ├── QuotaExceeded        a quota of the plan is used up until it begins anew
    ├── Throttled            too many in too short a time; try again later
    ├── Unavailable          a dependency is away or the service is full; try again
    ├── DeadlineExceeded     the work did not end in its time
    ├── ModelCrashed         the process that ran a model died of it
    └── ChildFailed          a confined process died before it answered

``service.gateway.errors`` turns each family into a response; a family has one
status, a code says exactly what happened.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of characters, which no encoding writes."""


def is_printable(text: str) -> bool:
    """Whether a text can be kept in any database and written to any response."""
    return _UNPRINTABLE.search(text) is None


def printable(text: str) -> str:
    """Return a text with a replacement character for each that is not printable."""
    return _UNPRINTABLE.sub("\ufffd", text)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where it is, and what was expected there.

    Both may quote a stranger's text, so what cannot be printed in it is replaced.
    """

    at: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", printable(self.at))
        object.__setattr__(self, "message", printable(self.message))


class ModelwardError(Exception):
    """Base of everything that the domain refuses.

    :param detail: a sentence for the caller that says what to do.
    :param code: the stable code, where it is narrower than the family's own.
    :param findings: each place that is wrong, where there can be several.
    :param retry_after: seconds after which the same call may succeed.
    """

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        findings: Sequence[Finding] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.reason = code or self.code
        self.findings = tuple(findings)
        self.retry_after = retry_after


class Malformed(ModelwardError):
    """What came in cannot be read at all."""

    code = "malformed_request"
    title = "Malformed request"


class Invalid(ModelwardError):
    """It was read, and breaks a rule that the findings name."""

    code = "invalid_request"
    title = "Invalid request"


class Rejected(Invalid):
    """An uploaded artifact that admission refused; the findings name each reason."""

    code = "artifact_rejected"
    title = "Artifact rejected"


class Unsupported(ModelwardError):
    """A format that is never accepted."""

    code = "unsupported_format"
    title = "Unsupported format"


class Unacceptable(ModelwardError):
    """No answer exists in a form that the caller accepts."""

    code = "not_acceptable"
    title = "Not acceptable"


class Unauthenticated(ModelwardError):
    """No credential, or one that does not hold."""

    code = "unauthenticated"
    title = "Unauthenticated"


class Forbidden(ModelwardError):
    """A credential that does not reach this far."""

    code = "forbidden"
    title = "Forbidden"


class NotFound(ModelwardError):
    """Nothing of that name that the caller may see."""

    code = "not_found"
    title = "Not found"


class Conflict(ModelwardError):
    """The present state does not allow it."""

    code = "conflict"
    title = "Conflict"


class PreconditionFailed(ModelwardError):
    """It changed since the caller read it."""

    code = "precondition_failed"
    title = "Precondition failed"


class TooLarge(ModelwardError):
    """More bytes or rows than the plan allows."""

    code = "body_too_large"
    title = "Body too large"


class QuotaExceeded(ModelwardError):
    """A quota of the plan is used up until it begins anew; ``retry_after`` says when that is."""

    code = "quota_exceeded"
    title = "Quota exceeded"


class Throttled(ModelwardError):
    """Too many in too short a time; ``retry_after`` says when to come back."""

    code = "rate_limited"
    title = "Too many requests"


class Unavailable(ModelwardError):
    """A dependency is away, or the service is full; ``retry_after`` says when to try again."""

    code = "unavailable"
    title = "Temporarily unavailable"


class DeadlineExceeded(ModelwardError):
    """The work did not end in its time."""

    code = "deadline_exceeded"
    title = "Deadline exceeded"


class ModelCrashed(ModelwardError):
    """The process that ran a model died of it; nobody else's request did."""

    code = "model_crashed"
    title = "The model crashed"


class ChildFailed(ModelwardError):
    """A confined process died before it answered."""

    code = "child_failed"
    title = "The confined process died"

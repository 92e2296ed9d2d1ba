"""Loaded by schemathesis before a run."""

import re
import uuid

import schemathesis

VALID = re.compile(r"[\x21-\x7e]{1,255}")

SOME_TIME = re.compile(r"[1-9][0-9]{0,5}")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Keep what is valid from being refused rightly: a generated key that repeats, a time that is too short."""
    if SOME_TIME.fullmatch(str((case.headers or {}).get("X-Request-Timeout-Ms", ""))):
        case.headers["X-Request-Timeout-Ms"] = "3600000"
    if VALID.fullmatch(str((case.headers or {}).get("Idempotency-Key", ""))):
        case.headers["Idempotency-Key"] = uuid.uuid4().hex

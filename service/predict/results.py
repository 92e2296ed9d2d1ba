"""Answers that are kept: keyed by everything that they depend on, computed once under a stampede."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import orjson

from service.predict.single_flight import SingleFlight
from service.registry.resolution import ResolvedVersion

_DIGEST_BYTES: Final = 32

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Caching:
    """What a caller allows: that a kept answer is read, and that its own is kept."""

    read: bool = True
    write: bool = True


class AnswerStore(Protocol):
    """Keeps bytes under keys for a while; losing one is never an error."""

    def get(self, key: str) -> bytes | None:
        """Return the bytes, or ``None``."""
        ...

    def set(self, key: str, value: bytes) -> object:
        """Keep the bytes, where there is room."""
        ...


class NullAnswers:
    """Keeps nothing."""

    def get(self, key: str) -> bytes | None:
        """Return nothing."""

    def set(self, key: str, value: bytes) -> None:
        """Keep nothing."""


class Results:
    """Kept answers.

    :param answers: where they are kept; with ``NullAnswers`` every call is computed.
    :param secret: key of the digests, 16 to 64 bytes, the same in every process that shares
        ``answers``: who can read the store must not be able to test guesses of inputs.
    """

    def __init__(self, answers: AnswerStore, secret: bytes = b"") -> None:
        self._answers = answers
        self._secret = secret
        self._keeps = not isinstance(answers, NullAnswers)
        self._flights: SingleFlight[str, tuple[bytes, str, int]] = SingleFlight()

    def answer(
        self,
        version: ResolvedVersion,
        outputs: tuple[str, ...],
        X: Array,
        caching: Caching,
        compute: Callable[[], bytes],
    ) -> tuple[bytes, str]:
        """Return an answer as JSON, and whether it was kept: ``hit``, ``miss`` or ``bypass``.

        :param compute: called where no kept answer is there or may be read. What it raises
            goes to everyone who waits for it, and is not kept.
        """
        if not self._keeps or not (caching.read or caching.write):
            return compute(), "bypass"
        key = answer_key(version, outputs, X, self._secret)
        if not caching.read:
            answer = compute()
            self._answers.set(key, answer)
            return answer, "bypass"
        me = threading.get_ident()
        # The look into the store is part of the flight, so that nobody comes between a look and a computation.
        answer, outcome, leader = self._flights.do(key, lambda: (*self._looked_up(key, caching, compute), me))
        return answer, outcome if leader == me else "hit"

    def _looked_up(self, key: str, caching: Caching, compute: Callable[[], bytes]) -> tuple[bytes, str]:
        kept = self._answers.get(key)
        if kept is not None:
            return kept, "hit"
        answer = compute()
        if caching.write:
            self._answers.set(key, answer)
        return answer, "miss"


def answer_key(version: ResolvedVersion, outputs: tuple[str, ...], X: Array, secret: bytes) -> str:
    """Return the key of an answer.

    It begins with the tenant and the artifact's digest, so that no answer of another tenant
    or of another version can stand under it; the rest is a keyed digest of the plan by which
    it is computed, of the outputs, and of the canonical input: dtype, shape and bytes.
    """
    asked = f"{version.plan_digest}|{','.join(outputs)}|{X.dtype.str}|{X.shape}|"
    hasher = blake2b(asked.encode(), digest_size=_DIGEST_BYTES, key=secret)
    hasher.update(orjson.dumps(X.tolist()) if X.dtype.hasobject else np.ascontiguousarray(X).data)
    return f"{version.tenant_id}/{version.digest}/{hasher.hexdigest()}"

"""Has the forms of versions derived in confined children, so that this process needs no scikit-learn for them.

A child that crashes or hangs costs whoever waits for the version its error and nobody else
anything; a version whose children do so again and again is condemned.
"""

import math
import threading
from collections.abc import Set
from typing import Final

from service.confinement import Limits, wire
from service.confinement.places import Places
from service.confinement.strikes import Strikes
from service.errors import ChildFailed, DeadlineExceeded, ModelCrashed, ModelwardError, Unavailable
from service.predict.packing import UNREADABLE, unpack
from service.predict.runners import Runners, key_of, unreadable
from service.registry.resolution import ResolvedVersion
from service.runtimes.forms import Form

TARGET: Final = "service.predict.deriving:send_forms"
KILLED: Final = "child_killed"
OUT_OF_MEMORY: Final = "child_out_of_memory"

PLACES: Final = 4
"""Derivations that may be under way at once in this process; one tenant's are at most all but one."""


class Derivation:
    """Derives forms; safe to use from several threads.

    :param runners: whose confinement, bounds and sentence for crashing versions hold here, too.
    :param target: the function that runs in the child.
    """

    def __init__(self, runners: Runners, target: str = TARGET) -> None:
        self._runners = runners
        self._target = target
        self._places = Places(PLACES)
        self._strikes = Strikes()
        self._lock = threading.Lock()

    def forms(self, version: ResolvedVersion, data: bytes, names: Set[str], most: int) -> dict[str, Form]:
        """Return those forms of a version that there are, none where they or their derivation are too large.

        :param data: its canonical file.
        :param most: bytes of them together.
        :raises DeadlineExceeded: it did not end in its time.
        :raises ModelCrashed: the child died of it, or the version is condemned.
        :raises Unavailable: no child can be had, or the version cannot be loaded.
        """
        if self._strikes.out(key_of(version)):
            raise self._crashed(version)
        seconds = self._runners.predict_seconds
        limits = Limits(
            seconds=seconds,
            cpu_seconds=math.ceil(seconds),
            memory_bytes=self._runners.room(data),
            answer_bytes=most + wire.HEADER_BYTES,
        )
        payload = wire.pack({"names": sorted(names), "most": most}, data)
        with self._places.one(version.tenant_id, seconds):
            try:
                return self._asked(payload, limits)
            except (DeadlineExceeded, ChildFailed, Unavailable, ValueError) as error:
                if isinstance(error, ChildFailed) and error.reason == OUT_OF_MEMORY:
                    return {}
                raise self._failure(version, error) from error

    def _failure(self, version: ResolvedVersion, error: Exception) -> ModelwardError:
        """Return what callers are told of what became of a child, which counts against the version."""
        if isinstance(error, Unavailable):
            return unreadable(version) if error.reason == UNREADABLE else error
        if isinstance(error, DeadlineExceeded):
            self._strike(version, patience=self._runners.predict_seconds)
            return DeadlineExceeded(
                f"Version {version.number} of {version.model} could not be loaded in its time; try again."
            )
        if not (isinstance(error, ChildFailed) and error.reason == KILLED):
            self._strike(version)
        return self._crashed(version)

    def _asked(self, payload: bytes, limits: Limits) -> dict[str, Form]:
        """Return what a child makes, or another, once something outside has killed it."""
        try:
            answer = self._runners.confinement.run(self._target, payload, limits)
        except ChildFailed as failure:
            if failure.reason != KILLED:
                raise
            answer = self._runners.confinement.run(self._target, payload, limits)
        header, body = wire.unpack(answer)
        return unpack(header.get("forms"), body)

    def _strike(self, version: ResolvedVersion, patience: float = 0.0) -> None:
        """Count a death, and have the version stopped where there are too many."""
        key = key_of(version)
        with self._lock:
            self._strikes.count(key, patience=patience)
            condemned = self._strikes.out(key)
        if condemned and self._runners.stop(version):
            self._strikes.forgive(key)

    def _crashed(self, version: ResolvedVersion) -> ModelCrashed:
        return ModelCrashed(f"The process that loads version {version.number} of {version.model} crashed.")

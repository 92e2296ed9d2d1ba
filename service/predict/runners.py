"""Runs versions in children that can die alone, whatever becomes of one.

A call costs its caller no more than its own failure: whose rows were being computed when
a child died or hung is told, and everybody else who waited is asked again of a new child,
alone where it is not known who was to blame. A model that kills its children again and
again is condemned, once for all workers.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from service.artifacts.container import unpacked_bytes
from service.artifacts.store import ArtifactStore
from service.confinement import Attachment, Confinement, Fate, LostError, Residence, wire
from service.errors import DeadlineExceeded, Invalid, ModelCrashed, ModelwardError, Unavailable
from service.predict.arrays import decode, encode
from service.predict.packing import UNREADABLE
from service.registry.resolution import ResolvedVersion
from service.server import waiting
from service.telemetry import Telemetry

logger = logging.getLogger(__name__)

TARGET: Final = "service.predict.resident:load"
TRIES: Final = 4
"""How often a call is begun at most, where others are to blame that it does not end."""

RETRY_SECONDS: Final = 1

Array: TypeAlias = np.ndarray[Any, Any]
Reply: TypeAlias = tuple[dict[str, Any], bytearray]


class Runners:
    """Makes what runs a version in a child of its own.

    :param predict_seconds: that one call may take, with the time that it waits.
    :param predict_bytes: of memory that a child may take beside its model.
    :param condemn: called with a version that crashed again and again; raises what keeps it from being stopped.
    """

    def __init__(
        self,
        confinement: Confinement,
        store: ArtifactStore,
        telemetry: Telemetry,
        condemn: Callable[[ResolvedVersion], None],
        *,
        predict_seconds: float = 30,
        predict_bytes: int = 1 << 30,
    ) -> None:
        self.confinement = confinement
        self.store = store
        self.telemetry = telemetry
        self.condemn = condemn
        self.predict_seconds = predict_seconds
        self.predict_bytes = predict_bytes

    def of(self, version: ResolvedVersion) -> "Runner":
        """Return what runs this version."""
        return Runner(self, version)

    def room(self, data: bytes) -> int:
        """Return the bytes of memory that a child may take which loads a file."""
        # While it is read, the file, what it unpacks to and the arrays made of that are there at once.
        return self.predict_bytes + 3 * (len(data) + unpacked_bytes(data))

    def stop(self, version: ResolvedVersion) -> bool:
        """Have a version stopped whose children die again and again; return whether that is done."""
        try:
            self.condemn(version)
        except ModelwardError:
            logger.exception("A version whose children die again and again cannot be stopped")
            return False
        return True


class Runner:
    """Runs one version in its child, which all workers share; safe to use from several threads."""

    def __init__(self, runners: Runners, version: ResolvedVersion) -> None:
        self._runners = runners
        self._version = version
        self._key = key_of(version)
        self._lock = threading.Lock()
        self._idle: deque[Attachment] = deque()
        self._closed = False

    def run(self, X: Array, method: str, form: str | None, seconds: float | None = None) -> Any:
        """Return what the version's ``method`` gives for the rows of ``X``.

        :param form: by whose name the child computes it; ``None`` is scikit-learn itself.
        :param seconds: that the caller still waits.
        :raises DeadlineExceeded: it did not end in its time.
        :raises ModelCrashed: the child died of these rows, or the model is condemned.
        :raises Invalid: ``prediction_failed``: the estimator does not take the rows.
        :raises TooLarge: no answer could hold what it gives.
        :raises Unavailable: no child can be had, or the version cannot be loaded.
        """
        rows, body = encode(X)
        header = {"method": method, "rows": rows} | ({"form": form} if form else {})
        allowed = self._runners.predict_seconds
        deadline = time.monotonic() + (allowed if seconds is None else min(seconds, allowed))
        answered, values = self._asked(header, body, deadline)
        if "error" in answered:
            raise wire.revive(answered)
        if "failed" in answered:
            raise Invalid(
                f"The model's {method} does not accept these rows, although their types fit its signature.",
                code="prediction_failed",
            )
        try:
            return decode(answered["values"], values)
        except (KeyError, ValueError) as error:
            raise self._crashed() from error

    def load(self) -> None:
        """See to it that a child has loaded the version.

        :raises ModelCrashed: it dies of it.
        :raises Unavailable: no child can be had, or the version cannot be loaded.
        """
        waiting.wait()
        self._keep(self._connected(time.monotonic() + self._runners.predict_seconds))

    def close(self) -> None:
        """Let go of every connection; the child lives on until its memory is needed."""
        with self._lock:
            self._closed = True
        self._drop_idle()

    def _asked(self, header: dict[str, Any], body: Sequence[Any], deadline: float) -> Reply:
        """Ask until somebody answers, and once more for what others have brought down."""
        waiting.wait()
        for _ in range(TRIES):
            link = self._taken() or self._connected(deadline)
            try:
                answer = link.ask(header, body, deadline)
            except TimeoutError:
                raise self._given_up(link) from None
            except LostError:
                if self._ran_when_lost(link):
                    header = header | {"alone": True}
            else:
                self._keep(link)
                return answer
        raise no_child()

    def _connected(self, deadline: float) -> Attachment:
        """Return a connection to a child that has loaded, which is made to load where it has not.

        Loading is not cut short where this caller's time is over before: the next one would begin it again.
        """
        data: bytes | None = None
        for _ in range(TRIES):
            link = self._runners.confinement.attach(self._residence(data))
            until = deadline if data is None else max(deadline, time.monotonic() + self._runners.predict_seconds)
            try:
                if not link.greeted(until):
                    data = data or self._read()
                    self._load(link, data)
            except TimeoutError:
                raise self._given_up(link) from None
            except LostError:
                self._ran_when_lost(link)
                data = data or self._read()
            except BaseException:
                link.close()
                raise
            else:
                return link
        raise no_child()

    def _load(self, link: Attachment, data: bytes) -> None:
        begun = time.perf_counter()
        answered, _ = link.ask({}, [data], time.monotonic() + self._runners.predict_seconds)
        if "error" in answered:
            raise unreadable(self._version) from wire.revive(answered)
        self._runners.telemetry.model_loaded(time.perf_counter() - begun)
        self._runners.telemetry.isolated_bytes(self._runners.confinement.status()["bytes"])

    def _residence(self, data: bytes | None) -> Residence:
        """Return which child to be attached to; without ``data`` none is started."""
        if data is None:
            return Residence(self._key, TARGET, 0, self._runners.predict_seconds, None)
        room, size = self._runners.room(data), unpacked_bytes(data)
        return Residence(self._key, TARGET, room, self._runners.predict_seconds, size)

    def _read(self) -> bytes:
        return self._runners.store.get(self._version.tenant_id, self._version.digest)

    def _ran_when_lost(self, link: Attachment) -> bool:
        """Return whether the request on a lost connection ran when its child ended, together with others'.

        :raises ModelwardError: what happened is this caller's own doing, or would happen again.
        """
        self._drop_idle()
        fate = self._runners.confinement.fate(link)
        link.close()
        ran = link.number in fate.running
        was_it = ran and fate.together == 1
        if fate.condemned:
            self._condemn()
        if fate.condemned or fate.why == "alive" or (fate.why == "died" and was_it):
            raise self._crashed()
        if fate.why == "stuck" and was_it:
            raise _too_late()
        if fate.why == "too_large":
            raise self._too_large(fate)
        return ran

    def _condemn(self) -> None:
        """Have the version stopped, and its children forgotten: an operator may release it later."""
        if self._runners.stop(self._version):
            self._runners.confinement.forgive(self._key)

    def _given_up(self, link: Attachment) -> DeadlineExceeded:
        link.close()
        with contextlib.suppress(Unavailable):
            self._runners.confinement.give_up(link)
        return _too_late()

    def _taken(self) -> Attachment | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, link: Attachment) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(link)
                return
        link.close()

    def _drop_idle(self) -> None:
        """Close what is not in use: those connections lead to the same child, or to one before."""
        while link := self._taken():
            link.close()

    def _crashed(self) -> ModelCrashed:
        return ModelCrashed(
            f"The process that ran version {self._version.number} of {self._version.model} crashed on these rows."
        )

    def _too_large(self, fate: Fate) -> Unavailable:
        return Unavailable(
            f"Version {self._version.number} of {self._version.model} takes {fate.bytes} bytes of memory, "
            "which is more than this server keeps of models.",
            code="model_too_large",
        )


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("The model did not answer in its time; send fewer rows, or allow more time.")


def key_of(version: ResolvedVersion) -> str:
    """Return what tells the children of a version from those of others."""
    return f"{version.tenant_id}/{version.digest}"


def unreadable(version: ResolvedVersion) -> Unavailable:
    """Return the error for a version whose file makes no estimator here."""
    return Unavailable(
        f"Version {version.number} of {version.model} cannot be loaded by this server; upload it again.",
        code=UNREADABLE,
    )


def no_child() -> Unavailable:
    """Return the error for a version that no child can be had for."""
    return Unavailable(
        "The model's process could not be kept running; try again.",
        code="confinement_unavailable",
        retry_after=RETRY_SECONDS,
    )

"""The caller's side: a fork server that many processes share, and the confined children that it makes for them."""

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from service.confinement import system_calls, wire
from service.confinement.attachment import Attachment, Fate, Residence
from service.confinement.conversation import TOLD_BYTES, Conversation, ServerDiedError
from service.confinement.keeper import Keeper, not_running
from service.confinement.limits import Limits
from service.confinement.places import Places

logger = logging.getLogger(__name__)

PRELOADED: Final = ("service.artifacts.inspection",)
BEGIN_SECONDS: Final = 60
"""How long the fork server may take to begin with an order, its own start included."""

SLICE_SECONDS: Final = 0.25
UNLIMITED: Final = 1 << 62


class Confinement:
    """Confined children; safe to use from several threads, and from processes forked after ``start``.

    :param preload: modules that the fork server imports once, before the first fork; of
        ``module:function`` it calls the function, too.
    :param places: calls that may be under way at once in this process; one owner's are at most all but one.
    :param budget_bytes: that children that stay may hold together.
    """

    def __init__(
        self, *, preload: Sequence[str] = PRELOADED, places: int | None = None, budget_bytes: int = UNLIMITED
    ) -> None:
        self._preload = tuple(preload)
        self._budget_bytes = budget_bytes
        self._places = Places(places or max(2, os.cpu_count() or 1))
        self._lock = threading.Lock()
        self._keeper: Keeper | None = None
        if not system_calls.available():
            logger.warning("This system has no seccomp; confined work is held by resource limits alone")

    def start(self) -> None:
        """Begin to start the fork server, so that the first call finds it ready."""
        self._kept()

    def close(self) -> None:
        """End the fork server and with it every child; in a process forked after ``start``, only let go of it."""
        with self._lock:
            if self._keeper is not None:
                self._keeper.close()
            self._keeper = None

    @property
    def started(self) -> bool:
        """Whether there is a fork server to ask."""
        return self._keeper is not None

    def call(self, target: str, payload: bytes | memoryview, limits: Limits | None = None, *, owner: str = "") -> bytes:
        """Run ``module:function`` over ``payload`` in a child of its own.

        :param target: a function that takes bytes and returns bytes; never from a request.
        :param limits: what the child may use.
        :param owner: for whom it is, who leaves one place to others.
        :raises ModelwardError: the function's own refusal, as it raised it.
        :raises DeadlineExceeded: its time, on the clock or of the processor, is over.
        :raises ChildFailed: the child died, or failed in a way that is no refusal.
        :raises Unavailable: no place became free, or the fork server does not run.
        """
        limits = limits or Limits()
        deadline = time.monotonic() + limits.seconds
        with self._places.one(owner, limits.seconds):
            return self._run(target, payload, limits, deadline)

    def run(self, target: str, payload: bytes | memoryview, limits: Limits) -> bytes:
        """Run as ``call`` does, without a place; whoever does so bounds how often at once.

        :param limits: ``seconds`` count from when the child has begun.
        :raises ModelwardError: as ``call`` raises it.
        """
        return self._run(target, payload, limits)

    @contextlib.contextmanager
    def converse(self, target: str, file: int, opening: wire.Buffer, limits: Limits) -> Iterator[Conversation]:
        """Yield what talks to a child of its own, which has a file to read and nothing else; leaving ends it.

        Its answers are made ahead: a question says what the answer after the next has to be
        like. It takes no place of the calls; whoever begins conversations bounds their number.

        :param target: a function that takes the mapped file and ``opening`` and returns a ``child.Talk``.
        :param file: descriptor of a file that is not empty, and of which this process changes nothing meanwhile.
        :param limits: what the child may use, memory beside the file; ``seconds`` is not looked at.
        :raises Unavailable: the fork server does not run, or ended.
        """
        try:
            with self._begun("converse", target, limits, file) as conversation:
                conversation.tell(opening, time.monotonic() + BEGIN_SECONDS)
                yield conversation
        except ServerDiedError:
            raise not_running() from None

    def attach(self, residence: Residence) -> Attachment:
        """Return a connection to the child of ``residence``, on its way there.

        :raises Unavailable: the fork server does not run.
        """
        channel, theirs = socket.socketpair()
        attachment = Attachment(channel, residence)
        # The child waits for no caller, and it can no longer say so itself.
        theirs.setblocking(False)
        order = {
            "do": "attach",
            "key": residence.key,
            "connection": attachment.connection,
            "target": residence.target,
            "memory_bytes": residence.memory_bytes,
            "busy_seconds": residence.busy_seconds,
            "expects_bytes": residence.expects_bytes,
        }
        with theirs:
            try:
                self._kept().send(order, [theirs])
            except BaseException:
                attachment.close()
                raise
        return attachment

    def fate(self, attachment: Attachment) -> Fate:
        """Return what became of a connection that was lost.

        :raises Unavailable: the fork server does not run.
        """
        return Fate.of(self._asked({"do": "ask", "connection": attachment.connection}) or {"why": "unknown"})

    def give_up(self, attachment: Attachment) -> None:
        """Say that nobody waits for the request under way; a child that goes on with it is ended."""
        key, connection, number = attachment.residence.key, attachment.connection, attachment.number
        self._kept().send({"do": "give_up", "key": key, "connection": connection, "number": number})

    def forgive(self, key: str) -> None:
        """Forget how often the children of a key died."""
        self._kept().send({"do": "forgive", "key": key})

    def status(self) -> dict[str, Any]:
        """Return the ``pid`` of the fork server, and its ``residents``.

        Of each there is ``key``, ``pid``, ``bytes`` and ``busy``, and of all together ``bytes``.

        :raises Unavailable: the fork server does not run.
        """
        answer = self._asked({"do": "status"})
        if answer is None:
            raise not_running()
        return answer

    def _kept(self) -> Keeper:
        with self._lock:
            if self._keeper is None:
                self._keeper = Keeper(self._preload, self._budget_bytes)
            return self._keeper

    def _asked(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the fork server tells, ``None`` where it ended before it did."""
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with line:
            with theirs:
                self._kept().send(order, [theirs])
            return self._heard(line, time.monotonic() + BEGIN_SECONDS)

    def _heard(self, line: socket.socket, deadline: float) -> dict[str, Any] | None:
        """Return the next that is told on a line, ``None`` where it was closed.

        :raises Unavailable: nobody tells anything.
        """
        while True:
            line.settimeout(min(SLICE_SECONDS, wire.left(deadline)))
            try:
                told: dict[str, Any] | None = json.loads(line.recv(TOLD_BYTES) or b"null")
            except TimeoutError:
                if self._kept().broken or time.monotonic() > deadline:
                    raise not_running() from None
            except OSError:
                return None
            else:
                return told

    def _run(self, target: str, payload: bytes | memoryview, limits: Limits, deadline: float | None = None) -> bytes:
        """Run a call, with a deadline that holds whenever its child begins, where there is one."""
        # Once more where the fork server died: the function only turns bytes into bytes.
        for _ in range(2):
            with contextlib.suppress(ServerDiedError), self._begun("call", target, limits) as conversation:
                until = time.monotonic() + limits.seconds if deadline is None else deadline
                return bytes(conversation.ask({}, [payload], until)[1])
        raise not_running()

    @contextlib.contextmanager
    def _begun(self, do: str, target: str, limits: Limits, file: int | None = None) -> Iterator[Conversation]:
        """Yield what talks to a new child; leaving kills it if it lives."""
        order = {"do": do, "target": target, "cpu_seconds": limits.cpu_seconds, "memory_bytes": limits.memory_bytes}
        channel, theirs = socket.socketpair()
        line, their_line = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with channel, line:
            with theirs, their_line:
                self._kept().send(order, [theirs, their_line], file)
            told = self._heard(line, time.monotonic() + BEGIN_SECONDS)
            if told is None:
                raise ServerDiedError
            if "refused" in told:
                raise not_running()
            yield Conversation(channel, line, limits.answer_bytes)

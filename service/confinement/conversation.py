"""What a caller says to a confined child of its own and hears from it, and what became of one that fell silent."""

import contextlib
import json
import logging
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

from service.confinement import wire
from service.confinement.places import RETRY_SECONDS
from service.errors import ChildFailed, DeadlineExceeded

logger = logging.getLogger(__name__)

TOO_LATE: Final = "The confined work did not end in its time."

TOLD_BYTES: Final = 1 << 18
"""Of the longest that the fork server tells on a line."""


class ServerDiedError(Exception):
    """The fork server ended while a child was at work."""


class Conversation:
    """Frames to a child and from it.

    :param channel: to the child.
    :param line: on which the fork server tells how the child ended.
    :param most: bytes of the largest body that is taken from it.
    """

    def __init__(self, channel: socket.socket, line: socket.socket, most: int) -> None:
        self._channel = channel
        self._line = line
        self._frames = wire.Frames(most)

    def tell(self, body: wire.Buffer, deadline: float) -> None:
        """Send what is not answered.

        :raises DeadlineExceeded: the deadline is over.
        """
        # What became of a child that is gone is told to whoever asks it something.
        with contextlib.suppress(ConnectionError):
            self._send({}, [body], deadline)

    def ask(
        self, header: Mapping[str, Any], body: Sequence[wire.Buffer], deadline: float
    ) -> tuple[dict[str, Any], bytearray]:
        """Send a frame and return header and body of its answer.

        :param deadline: of the monotonic clock.
        :raises ModelwardError: the child's own refusal, as it raised it.
        :raises DeadlineExceeded: its time, on the clock or of the processor, is over.
        :raises ChildFailed: the child died, or failed in a way that is no refusal.
        :raises ServerDiedError: the fork server ended, and with it the child.
        """
        try:
            self._send(header, body, deadline)
            frame = self._frames.next(self._channel, deadline)
            assert frame is not None  # A socket with a deadline waits.
            if "error" not in frame[0]:
                return frame
            failure = wire.revive(frame[0])
        except TimeoutError:
            raise DeadlineExceeded(TOO_LATE) from None
        except (EOFError, ConnectionError):
            raise self._obituary(deadline) from None
        except (ValueError, KeyError, TypeError):
            raise ChildFailed("The confined process answered nonsense.", code="child_crashed") from None
        if "cause" in frame[0]:
            logger.warning("A confined call failed: %s", frame[0]["cause"])
        raise failure

    def _send(self, header: Mapping[str, Any], body: Sequence[wire.Buffer], deadline: float) -> None:
        try:
            wire.send(self._channel, dict(header), body, deadline)
        except TimeoutError:
            raise DeadlineExceeded(TOO_LATE) from None

    def _obituary(self, deadline: float) -> Exception:
        """Ask the fork server how the child ended, and return that as an error."""
        self._line.settimeout(wire.left(deadline) + RETRY_SECONDS)
        try:
            report: dict[str, Any] = json.loads(self._line.recv(TOLD_BYTES) or b"{}")
        except OSError:
            report = {}
        if "exit" not in report:
            return ServerDiedError()
        status = report["exit"]
        if status == -signal.SIGXCPU:
            return DeadlineExceeded("The confined work used up its processor time.")
        if status == -signal.SIGKILL:
            return ChildFailed("The confined process was killed.", code="child_killed")
        return ChildFailed("The confined process crashed.", code="child_crashed")

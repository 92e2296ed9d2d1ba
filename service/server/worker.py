"""A worker: one loop that accepts connections from the shared socket until it is told to leave."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Final

import uvloop

from service.config import Settings
from service.server.accepting import Acceptor
from service.server.connection import Connection
from service.server.handler import Watched
from service.server.lanes import Lane
from service.server.requests import Environ, Refusal
from service.server.responses import rendered_head
from service.server.room import Room
from service.server.shell import Shell
from service.server.turns import Turns

LEAVE_SIGNAL: Final = signal.SIGUSR1
"""Stop at once, because a successor serves already; SIGTERM leaves the callers time to hear of it first."""

LOOK_SECONDS: Final = 0.25
LAME_DUCK_SHARE: Final = 15

TURNS: Final = 4
"""Taken before the worker looks who else has come, who has to wait for all of them."""

REMEMBERED_CALLERS: Final = 1024

SENT_TOGETHER: Final = 4
"""Answers that wait for each other at most, each for less than a thousandth of a second."""

SWITCH_SECONDS: Final = 0.001
"""For which a thread may keep the loop from going on; the interpreter's own is five times as long."""


class Worker:
    """Gives connections their turns, looks after deadlines, and leaves in steps.

    :param listener: the socket that all workers share, non-blocking.
    :param shell: answers.
    """

    def __init__(self, listener: socket.socket, shell: Shell, settings: Settings) -> None:
        self.environs = shell.environs
        self.answer = shell.answer
        self.refused = shell.refused
        self.body_limit = shell.body_limit
        self.draining = False
        self.body_seconds = settings.body_seconds
        self.room = Room(settings.incoming_bytes)
        self._listener = listener
        self._shell = shell
        # Behind proxies every connection comes from one of a few addresses.
        self._per_address = None if settings.trusted_hops else settings.connections_per_address
        self._drain_seconds = settings.drain_seconds
        self._connections: set[Watched] = set()
        self._unsent: list[Watched] = []
        self._turns: Turns[Watched] = Turns()
        self._taking = False
        self._callers: dict[str, Lane] = {}
        self._acceptor: Acceptor
        self._left: asyncio.Event

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve until a signal says otherwise, and until every caller has an answer."""
        self._loop = asyncio.get_running_loop()
        self._left = asyncio.Event()
        moment = self._drain_seconds / LAME_DUCK_SHARE
        self._loop.add_signal_handler(signal.SIGTERM, self._drain, moment)
        self._loop.add_signal_handler(LEAVE_SIGNAL, self._drain, 0)
        self._acceptor = Acceptor(
            self._listener,
            lambda: Connection(self, self._loop),
            self._per_address,
            is_busy=lambda: self._taking,
            turn_away=self._too_many,
        )
        self._look()
        ready()
        await self._left.wait()

    # The connections' side.

    def opened(self, connection: Watched) -> None:
        """Take a connection into care."""
        self._connections.add(connection)
        self._acceptor.opened(connection.address)

    def closed(self, connection: Watched) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self._acceptor.closed(connection.address)
        self._leave_if_done()

    def has_work(self, connection: Watched, environ: Environ) -> None:
        """Answer a request of a connection when it is its caller's turn."""
        caller = self._caller(environ)
        self._turns.add(caller.name, connection, caller.weight)
        if not self._taking:
            self._taking = True
            self._loop.call_soon(self._take_turns)

    def _caller(self, environ: Environ) -> Lane:
        """Return who asks; what the shell said of a credential is remembered until the next look at deadlines."""
        credential = environ.get("HTTP_X_API_KEY") or environ.get("HTTP_AUTHORIZATION") or ""
        caller = self._callers.get(credential)
        if caller is None:
            caller = self._shell.lane(environ)
            if credential and len(self._callers) < REMEMBERED_CALLERS:
                self._callers[credential] = caller
        return caller

    def _take_turns(self) -> None:
        """Answer some of what waits, then see who else has come; where several callers wait, answer each once."""
        callers = self._turns.callers
        for _ in range(min(callers, TURNS) if callers > 1 else TURNS):
            if not self._turns:
                break
            connection = self._turns.next()
            try:
                connection.work()
            except Exception:  # noqa: BLE001 - Whatever it was, the others are answered.
                connection.break_off()
        if callers > 1 and self._unsent:
            self._flush()
        self._taking = bool(self._turns)
        if self._taking:
            self._loop.call_soon(self._take_turns)

    def wrote(self, connection: Watched) -> None:
        """Send what a connection wrote, together with what others write in this turn of the loop."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(connection)
        if len(self._unsent) >= SENT_TOGETHER:
            self._flush()

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        for connection in unsent:
            connection.flush()

    def _too_many(self) -> bytes:
        answer = self.refused(
            Refusal(503, "too_many_connections", "The address has as many connections as it may have.", retry_after=1),
            None,
        )
        assert isinstance(answer.body, bytes)
        return rendered_head(answer, None, keep_alive=False) + answer.body

    def _look(self) -> None:
        """Look at the deadlines: one look over all of them costs less than a timer for each."""
        now = self._loop.time()
        self._callers.clear()
        for connection in [each for each in self._connections if each.deadline <= now]:
            connection.late()
        self._loop.call_later(LOOK_SECONDS, self._look)

    # Leaving.

    def _drain(self, lame_duck: float) -> None:
        """Begin to leave: say so, after a while accept no more, then let go of who asks for nothing.

        Whoever balances the load sees an unready server before a closed port; and who came
        just before that has a moment to send a request. The last second of the drain is for
        writing down what is only in memory.
        """
        if self.draining:
            return
        self.draining = self._shell.draining = True
        seconds = self._drain_seconds
        latest = self._loop.time() + lame_duck + seconds / 4
        self.body_seconds = min(self.body_seconds, seconds / 4)
        for connection in self._connections:
            connection.hurry(latest)
        self._loop.call_later(lame_duck, self._leave)
        self._loop.call_later(lame_duck + seconds / LAME_DUCK_SHARE, self._let_go)
        self._loop.call_later(max(seconds - 1, seconds / 2), self._give_up)

    def _leave(self) -> None:
        self._acceptor.end()
        self._leave_if_done()

    def _let_go(self) -> None:
        for connection in [each for each in self._connections if each.is_idle]:
            connection.close()
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._acceptor.is_done:
            self._left.set()

    def _give_up(self) -> None:
        self._shell.close()
        os._exit(0)


def work(listener: socket.socket, shell: Shell, settings: Settings, ready: Callable[[], None]) -> None:
    """Serve with a shell until a signal says otherwise."""
    sys.setswitchinterval(SWITCH_SECONDS)
    with contextlib.closing(shell), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Worker(listener, shell, settings).serve(ready))

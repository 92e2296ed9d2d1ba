"""The resident children of a fork server: found, started, watched, ended, and what became of each.

Connections outlive nobody: whoever finds one closed asks here what happened, because only
the parent of a process knows how it ended.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final, NoReturn

from service.confinement import limits, resident
from service.confinement.board import Board
from service.confinement.strikes import Strikes

OWN_BYTES: Final = 8 << 20
"""What a child holds for itself of what it shared with the fork server at first."""

GRACE_SECONDS: Final = 1.0
"""How long a resident may go on with a request after its caller gave it up."""

ASK_SECONDS: Final = 0.5
"""How long the end of a child may be waited for after its connections closed."""

REMEMBERED: Final = 10_000
MOST_DESCRIBED: Final = 500
WATCH_SECONDS: Final = 0.25
HURRY_SECONDS: Final = 0.02

Order = dict[str, Any]
Fate = dict[str, Any]
"""``why`` a connection was lost, and more where that helps; ``service.confinement.attachment`` reads it."""


class _Resident:
    """One child, as its parent sees it."""

    def __init__(self, pid: int, control: socket.socket, board: Board, order: Order) -> None:
        self.pid = pid
        self.key: str = order["key"]
        self.control = control
        self.board = board
        self.busy_seconds: float = order["busy_seconds"]
        self.expected_bytes: int = order["expects_bytes"]
        self.connections: deque[int] = deque(maxlen=resident.MOST_CONNECTIONS)
        self.given_up: dict[tuple[int, int], float] = {}
        self.why: str | None = None
        self._inherited = limits.anonymous_memory()

    @property
    def idle(self) -> bool:
        return not self.board.busy_since and bool(self.board.last_used)

    @property
    def held_bytes(self) -> int:
        """What it has in memory for itself; until it has loaded, at least what that will take."""
        try:
            grown = limits.anonymous_memory(self.pid) - self._inherited
        except (OSError, ValueError):  # It has ended, and is not reaped yet.
            grown = 0
        return OWN_BYTES + max(grown, 0 if self.board.last_used else self.expected_bytes)

    def overdue(self, now: float) -> str | None:
        """Return why it has to be ended now, ``None`` where it has not."""
        since = self.board.busy_since
        if since and now - since > self.busy_seconds:
            return "stuck"
        running = self.board.running if since else []
        self.given_up = {origin: at for origin, at in self.given_up.items() if origin in running}
        return "abandoned" if any(now - at > GRACE_SECONDS for at in self.given_up.values()) else None


class Residents:
    """All residents, by the key of what they have loaded.

    :param fork: forks this process and returns the child's id, or raises ``OSError``; the
        child runs what it is given.
    :param budget_bytes: that residents may hold together; the one that was idle longest goes first.
    """

    def __init__(self, fork: Callable[[Callable[[], NoReturn]], int], budget_bytes: int) -> None:
        self._fork = fork
        self._budget_bytes = budget_bytes
        self._by_key: dict[str, _Resident] = {}
        self._by_pid: dict[int, _Resident] = {}
        self._giants: OrderedDict[str, int] = OrderedDict()
        self._fates: OrderedDict[int, Fate] = OrderedDict()
        self._asks: list[tuple[int, socket.socket, float]] = []
        self._attaching: list[tuple[Order, socket.socket]] = []
        self._strikes = Strikes()

    def attach(self, order: Order, channel: socket.socket) -> None:
        """Hand a connection to the resident of a key, which is started where there is none.

        :param order: ``key``, ``connection``, ``target``, ``memory_bytes``, ``busy_seconds`` and
            ``expects_bytes``, without which none is started.
        """
        key, connection = order["key"], order["connection"]
        found = self._by_key.get(key)
        refusal = None if found else self._refusal(key, order["expects_bytes"])
        if refusal:
            self._refuse(connection, channel, refusal)
        elif found or self._has_room(order["expects_bytes"]):
            self._admit(found or self._start(order), connection, channel)
        else:
            self._attaching.append((order, channel))

    def ask(self, connection: int, line: socket.socket) -> None:
        """Answer on ``line`` what became of a connection, at once or when its child has ended."""
        fate = self._fates.get(connection)
        known = any(connection in each.connections for each in self._by_pid.values())
        if fate is None and known:
            self._asks.append((connection, line, time.monotonic() + ASK_SECONDS))
        else:
            tell(line, fate or {"why": "unknown"})

    def give_up(self, key: str, connection: int, number: int) -> None:
        """Note that nobody waits for a request any more."""
        if found := self._by_key.get(key):
            found.given_up[connection, number] = time.monotonic()

    def forgive(self, key: str) -> None:
        """Forget how often the children of a key died."""
        self._strikes.forgive(key)

    def status(self) -> dict[str, Any]:
        """Return what there is: each resident's ``key``, ``pid``, ``bytes`` and ``busy``, and all bytes together."""
        bytes_by_key = {key: each.held_bytes for key, each in self._by_key.items()}
        described = [
            {"key": key, "pid": each.pid, "bytes": bytes_by_key[key], "busy": not each.idle}
            for key, each in islice(self._by_key.items(), MOST_DESCRIBED)
        ]
        return {"pid": os.getpid(), "residents": described, "bytes": sum(bytes_by_key.values())}

    def ended(self, pid: int, status: int) -> bool:
        """Note the end of a child; return whether it was a resident."""
        gone = self._by_pid.pop(pid, None)
        if gone is None:
            return False
        if self._by_key.get(gone.key) is gone:
            del self._by_key[gone.key]
        # No system call of a child's own sends a signal, so one that was killed was killed from outside.
        why = gone.why or ("killed" if status == -signal.SIGKILL else "died")
        if why in {"died", "stuck"}:
            self._strikes.count(gone.key, patience=gone.busy_seconds if why == "stuck" else 0)
        running, condemned = gone.board.running, self._strikes.out(gone.key)
        for connection in gone.connections:
            numbers = [number for origin, number in running if origin == connection]
            fate = {"why": why, "running": numbers, "together": len(running), "condemned": condemned}
            self._remember(connection, fate)
        gone.control.close()
        gone.board.close()
        self._answer_asks()
        return True

    def pause(self) -> float | None:
        """Return after how many seconds ``watch`` has to be called; ``None`` is after the next event."""
        if self._attaching or self._asks or any(each.given_up for each in self._by_key.values()):
            return HURRY_SECONDS
        return WATCH_SECONDS if self._by_pid else None

    def watch(self) -> None:
        """End what is stuck or too large, and let in who waited for room."""
        now = time.monotonic()
        for each in list(self._by_key.values()):
            if why := each.overdue(now):
                self._end(each, why)
        self._has_room(0)
        attaching, self._attaching = self._attaching, []
        for order, channel in attaching:
            if hung_up(channel):
                channel.close()
            else:
                self.attach(order, channel)
        self._answer_asks()

    def close(self) -> None:
        """End every resident."""
        for _, channel in self._attaching:
            channel.close()
        for _, line, _ in self._asks:
            line.close()
        for each in self._by_pid.values():
            os.kill(each.pid, signal.SIGKILL)
            os.waitpid(each.pid, 0)
            each.control.close()
            each.board.close()

    def _refusal(self, key: str, expects_bytes: int | None) -> Fate | None:
        if self._strikes.out(key):
            return {"why": "condemned", "condemned": True}
        if expects_bytes is None:
            return {"why": "absent"}
        size = self._giants.get(key, OWN_BYTES + expects_bytes)
        return {"why": "too_large", "bytes": size} if size > self._budget_bytes else None

    def _refuse(self, connection: int, channel: socket.socket, fate: Fate) -> None:
        self._remember(connection, fate)
        channel.close()

    def _admit(self, found: _Resident | None, connection: int, channel: socket.socket) -> None:
        if found is None:
            self._refuse(connection, channel, {"why": "refused"})
            return
        found.connections.append(connection)
        with channel:
            try:
                socket.send_fds(found.control, [str(connection).encode()], [channel.fileno()])
            except OSError:  # It is about to be reaped, or does not look at its connections.
                self._remember(connection, {"why": "refused"})

    def _start(self, order: Order) -> _Resident | None:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.setblocking(False)
        board, parent = Board(), os.getpid()
        with theirs:
            try:
                pid = self._fork(lambda: resident.live(theirs, board, order, parent))
            except OSError:
                control.close()
                board.close()
                return None
        board.keep_from_forks()
        started = _Resident(pid, control, board, order)
        self._by_key[started.key] = self._by_pid[pid] = started
        return started

    def _has_room(self, bytes_more: int) -> bool:
        """Return whether so much more fits into the budget, after ending who was idle longest, if need be."""
        held = {each.key: each.held_bytes for each in self._by_key.values()}
        idle = sorted((each for each in self._by_key.values() if each.idle), key=lambda each: each.board.last_used)
        for each in idle:
            if sum(held.values()) + bytes_more <= self._budget_bytes:
                break
            if held[each.key] > self._budget_bytes:
                self._remember_giant(each.key, held[each.key])
            self._end(each, "evicted")
            del held[each.key]
        return sum(held.values()) + bytes_more <= self._budget_bytes or not held

    def _end(self, each: _Resident, why: str) -> None:
        each.why = why
        del self._by_key[each.key]
        os.kill(each.pid, signal.SIGKILL)

    def _remember_giant(self, key: str, size: int) -> None:
        self._giants[key] = size
        if len(self._giants) > REMEMBERED:
            self._giants.popitem(last=False)

    def _remember(self, connection: int, fate: Fate) -> None:
        self._fates[connection] = fate
        while len(self._fates) > REMEMBERED:
            self._fates.popitem(last=False)

    def _answer_asks(self) -> None:
        now, asks, self._asks = time.monotonic(), self._asks, []
        for connection, line, until in asks:
            if connection in self._fates:
                tell(line, self._fates[connection])
            elif now > until:
                tell(line, {"why": "alive"})
            else:
                self._asks.append((connection, line, until))


def tell(line: socket.socket, what: dict[str, Any]) -> None:
    """Send what is told in one packet, and close the line; whoever asked may have hung up."""
    with line, contextlib.suppress(OSError):
        line.sendall(json.dumps(what).encode())


def hung_up(channel: socket.socket) -> bool:
    """Whether the other end is closed."""
    try:
        return channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True

"""The fork server: ``python -m service.confinement.server SETTINGS``, one for a machine.

It imports the modules, stays single-threaded, and forks a child for each call or
conversation that is ordered, or hands a connection to one that stays. Its environment
holds no secret and it opens no connection, so that there is nothing for a child to
inherit. It ends when the process that keeps it does. What serves is itself a fork of what
has imported, so that one that dies is replaced in milliseconds.
"""

import gc
import importlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NoReturn

from service.confinement import child, system_calls, wire
from service.confinement.residents import Residents, tell

ORDER_BYTES: Final = 1 << 16
SHORT_LIFE_SECONDS: Final = 0.5
_DESCRIPTORS: Final = {"call": 2, "converse": 3, "attach": 1, "ask": 1, "status": 1}
"""How many come with an order."""


class ForkServer:
    """Forks children on order, and reports how each ended.

    :param door: a packet socket that every process of the server sends its orders to; each
        is JSON whose ``do`` names one, with the sockets that belong to it. Each call has a
        line of its own, which tells when it has begun and how it ended; whoever closes it
        ends the child.
    :param budget_bytes: that children that stay may hold together.
    """

    def __init__(self, door: socket.socket, budget_bytes: int = 1 << 62) -> None:
        self._door = door
        self._selector = selectors.DefaultSelector()
        self._lines: dict[int, socket.socket] = {}
        self._woken, self._waker = socket.socketpair()
        self._residents = Residents(self._fork, budget_bytes)
        self._serving = True

    def serve(self) -> None:
        """Serve until every other end of the door is closed; children end with their parent."""
        for end in (self._woken, self._waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._door, selectors.EVENT_READ, self._take_order)
        self._selector.register(self._woken, selectors.EVENT_READ, self._reap)
        try:
            while self._serving:
                for key, _ in self._selector.select(self._residents.pause()):
                    key.data()
                self._residents.watch()
        finally:
            self._close()

    def stop(self) -> None:
        """Serve no more; called by a signal."""
        self._serving = False

    def _close(self) -> None:
        self._residents.close()
        for pid, line in self._lines.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            line.close()
        for end in (self._selector, self._woken, self._waker):
            end.close()

    def _take_order(self) -> None:
        packet, descriptors, _, _ = socket.recv_fds(self._door, ORDER_BYTES, max(_DESCRIPTORS.values()))
        if not packet:
            self._serving = False
            return
        order: dict[str, Any] = json.loads(packet)
        if len(descriptors) == _DESCRIPTORS.get(order["do"], 0):
            self._follow(order, [socket.socket(fileno=each) for each in descriptors[:2]], descriptors[2:])
            return
        # There was no room for more; whoever sent them sees them closed.
        for descriptor in descriptors:
            os.close(descriptor)

    def _follow(self, order: dict[str, Any], ends: Sequence[socket.socket], files: Sequence[int]) -> None:
        match order["do"]:
            case "call":
                self._call(order, *ends)
            case "converse":
                with os.fdopen(files[0], "rb", 0) as file:
                    self._call(order, *ends, file=file.fileno())
            case "attach":
                self._residents.attach(order, *ends)
            case "ask":
                self._residents.ask(order["connection"], *ends)
            case "give_up":
                self._residents.give_up(order["key"], order["connection"], order["number"])
            case "forgive":
                self._residents.forgive(order["key"])
            case "status":
                tell(ends[0], self._residents.status())

    def _call(
        self, order: dict[str, Any], channel: socket.socket, line: socket.socket, *, file: int | None = None
    ) -> None:
        parent = os.getpid()
        with channel:
            try:
                pid = self._fork(lambda: child.live(channel.fileno(), order, parent, file))
            except OSError as error:
                tell(line, {"refused": error.strerror})
                return
        self._lines[pid] = line
        self._selector.register(line, selectors.EVENT_READ, lambda: self._kill(pid, line))
        try:
            line.sendall(b'{"begun": true}')
        except OSError:
            self._kill(pid, line)

    @staticmethod
    def _fork(live: Callable[[], NoReturn]) -> int:
        """Return the process id of a child that runs ``live``."""
        pid = os.fork()
        if pid == 0:  # pragma: no cover - the child can write down no measurement.
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            live()
        return pid

    def _kill(self, pid: int, line: socket.socket) -> None:
        """End a child whose caller hung up, unless it was reaped or killed in the same round of events."""
        if self._lines.get(pid) is line and line.fileno() in self._selector.get_map():
            self._selector.unregister(line)
            os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        self._woken.recv(4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ending = os.waitstatus_to_exitcode(status)
            if not self._residents.ended(pid, ending) and (line := self._lines.pop(pid, None)):
                if line.fileno() in self._selector.get_map():
                    self._selector.unregister(line)
                tell(line, {"exit": ending})


def main(arguments: Sequence[str]) -> None:
    """Import the modules, say so, and serve.

    :param arguments: one, in JSON: the descriptors ``door`` and ``ready``, the process that
        keeps this one as ``parent``, what to ``preload``, and ``budget_bytes``.
    """
    settings = json.loads(arguments[0])
    end_with(settings["parent"])
    _raise_file_limit()
    for entry in settings["preload"]:
        prepare(entry)
    gc.collect()
    gc.freeze()
    door = socket.socket(fileno=settings["door"])
    os.write(settings["ready"], wire.READY)
    os.close(settings["ready"])
    keep_serving(door, settings["budget_bytes"])


def prepare(entry: str) -> None:
    """Import ``module``, or of ``module:function`` call the function, too."""
    module, _, function = entry.partition(":")
    imported = importlib.import_module(module)
    if function:
        getattr(imported, function)()


def keep_serving(door: socket.socket, budget_bytes: int) -> None:
    """Serve in a fork of this process, and in another where that dies: this one has everything imported, and waits.

    It returns when a fork has ended in order, or SIGTERM has made it.
    """
    parent = os.getpid()
    while True:
        begun = time.monotonic()
        pid = os.fork()
        if pid == 0:  # pragma: no cover - what serves in a fork writes down no measurement.
            _serve(door, budget_bytes, parent)
        signal.signal(signal.SIGTERM, partial(_pass_on, pid))
        _, status = os.waitpid(pid, 0)
        if status == 0:
            return
        if time.monotonic() - begun < SHORT_LIFE_SECONDS:
            time.sleep(SHORT_LIFE_SECONDS)


def _pass_on(pid: int, number: int, _frame: object) -> None:
    os.kill(pid, number)


def _serve(
    door: socket.socket, budget_bytes: int, parent: int
) -> NoReturn:  # pragma: no cover - what serves in a fork writes down no measurement.
    status = 1
    try:
        end_with(parent)
        server = ForkServer(door, budget_bytes)
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        server.serve()
        status = 0
    except BaseException:  # noqa: BLE001 - The parent's own code must not go on in here.
        traceback.print_exc()
    finally:
        os._exit(status)


def _raise_file_limit() -> None:
    """Allow as many open files as we may have: each child that stays holds one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def end_with(parent: int) -> None:
    """Have this process killed when its parent ends, also where that has happened already."""
    system_calls.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1:])

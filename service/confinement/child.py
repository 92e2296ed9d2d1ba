"""What happens in a forked child that answers one call or holds one conversation, from the fork to the exit.

It never returns.
"""

import importlib
import mmap
import os
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias

from service.confinement import limits, system_calls, wire
from service.confinement.system_calls import ALLOWED, Numbers
from service.errors import ChildFailed, ModelwardError

FAILED_TO_ANSWER: Final = 70

Reply: TypeAlias = tuple[dict[str, Any], Sequence[wire.Buffer]]
"""Header and parts of the body."""

Talk: TypeAlias = Generator[Reply, dict[str, Any], None]
"""Yields an answer, and is sent the header of the question that it answers."""


def resolve(target: str) -> Any:
    """Return the function that ``module:function`` names."""
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)


def live(
    channel: int, order: Mapping[str, Any], parent: int, file: int | None = None
) -> NoReturn:  # pragma: no cover - a confined process can write down no measurement.
    """Confine this process, run the ordered function over what arrives, answer and end.

    :param channel: descriptor of this call's own socket.
    :param order: ``target``, ``cpu_seconds`` and ``memory_bytes``.
    :param parent: process id of the fork server.
    :param file: descriptor of the file that a conversation is about, which is not empty.
    """
    status = FAILED_TO_ANSWER
    try:
        function = resolve(order["target"])
        # Mapped before memory is bounded, so that the bound says what may be used beside the file.
        data = None if file is None else mmap.mmap(file, 0, prot=mmap.PROT_READ)
        confine(channel, parent, order["memory_bytes"], cpu_seconds=order["cpu_seconds"])
        if data is None:
            wire.write_all(channel, answer(function, channel))
        else:
            converse(lambda opening: function(data, opening), channel)
        status = 0
    finally:
        os._exit(status)


def confine(
    kept: int,
    parent: int,
    memory_bytes: int,
    *,
    cpu_seconds: int | None = None,
    descriptors: int = 0,
    calls: Mapping[str, Numbers] = ALLOWED,
) -> None:  # pragma: no cover - a confined process can write down no measurement.
    """Give up everything but memory, processor time and the descriptor ``kept``."""
    system_calls.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(FAILED_TO_ANSWER)
    close_all_but(kept)
    limits.lower(memory_bytes, cpu_seconds, descriptors)
    if system_calls.available() and not system_calls.restrict(calls):
        os._exit(FAILED_TO_ANSWER)


def close_all_but(kept: int) -> None:  # pragma: no cover - a confined process can write down no measurement.
    """Close every descriptor but ``kept``, and put /dev/null under the standard three."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def answer(function: Callable[[bytes], bytes], channel: int) -> bytes:
    """Read the payload, run the function, and return the frame of its answer or its error."""
    try:
        _, payload = wire.receive(lambda most: os.read(channel, most), 1 << 62)
        return wire.pack({}, function(payload))
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller must learn of it.
        return wire.pack(failure(error))


def converse(begin: Callable[[bytes], Talk], channel: int) -> None:
    """Answer each question of a conversation, until there is nothing more to say or something fails.

    The answer to the next question is made while the caller is busy with the last one, so
    a question says only what the answer after the next has to be like.
    """
    talk = begin(_question(channel)[1])
    reply = _made(partial(next, talk))
    while reply is not None:
        question, _ = _question(channel)
        header, body = reply
        for part in (wire.head(header, *body), *body):
            wire.write_all(channel, part)
        reply = None if "error" in header else _made(partial(talk.send, question))


def _question(channel: int) -> tuple[dict[str, Any], bytes]:
    return wire.receive(lambda most: os.read(channel, most), 1 << 62)


def _made(make: Callable[[], Reply]) -> Reply | None:
    """Return a reply, or what became of it; ``None`` where there is none left."""
    try:
        return make()
    except StopIteration:
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller must learn of it.
        return failure(error), ()


def failure(error: Exception) -> dict[str, Any]:
    """Return as a header what a caller may know of an error: all of a refusal, of anything else its type."""
    if isinstance(error, ModelwardError):
        return wire.describe(error)
    if isinstance(error, MemoryError):
        short = ChildFailed("The work needs more memory than it may use.", code="child_out_of_memory")
        return wire.describe(short)
    unforeseen = ChildFailed("The work failed in an unforeseen way.", code="child_crashed")
    return wire.describe(unforeseen) | {"cause": type(error).__name__}

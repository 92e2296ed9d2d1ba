"""What code beneath a request says before it waits for another process, so that no loop waits with it."""

import asyncio
import threading

_under_way = threading.local()


class OnLoopError(BaseException):
    """The request is about to wait, and runs on the loop; nobody handles this but the shell, which begins again."""


def wait() -> None:
    """Say that the request under way is about to wait for as long as it takes.

    :raises OnLoopError: it runs on the loop, where it would hold up everybody.
    """
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the public ones raise or make a loop.
        raise OnLoopError
    _under_way.waits = True


def begin() -> None:
    """Forget what the thread's last request said."""
    _under_way.waits = False


def waited() -> bool:
    """Whether the thread's request said that it waits."""
    return bool(_under_way.waits)

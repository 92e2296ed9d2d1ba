"""Places for confined calls, shared out so that no caller can take all of them."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from service.errors import Unavailable

RETRY_SECONDS: Final = 2


class Places:
    """A number of places, of which each owner may hold all but one.

    :param count: how many there are; with a single one, everybody takes turns.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._share = max(1, count - 1)
        self._held: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def one(self, owner: str, seconds: float) -> Iterator[None]:
        """Hold a place for the block.

        :param seconds: how long to wait for it.
        :raises Unavailable: none became free.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._free and self._held[owner] < self._share, seconds):
                raise Unavailable(
                    "Every place for confined work is taken; try again.",
                    code="confinement_busy",
                    retry_after=RETRY_SECONDS,
                )
            self._free -= 1
            self._held[owner] += 1
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._held[owner] -= 1
                if not self._held[owner]:
                    del self._held[owner]
                self._changed.notify_all()

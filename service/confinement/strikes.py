"""How often the children of a key died lately."""

import time
from collections import OrderedDict, deque
from typing import Final

MOST: Final = 3
SECONDS: Final = 60.0
REMEMBERED: Final = 10_000
OUT_SECONDS: Final = 60.0
"""How long nothing is started for a key that is out; by then whoever was told has seen to it."""


class Strikes:
    """Deaths by key; ``MOST`` of them within ``SECONDS`` and the key is out for a while."""

    def __init__(self) -> None:
        self._deaths: OrderedDict[str, deque[float]] = OrderedDict()
        self._out: dict[str, float] = {}

    def count(self, key: str, *, patience: float = 0.0) -> None:
        """Count a death.

        :param patience: seconds that it took before it was ended, by which such deaths may lie further apart.
        """
        now = time.monotonic()
        deaths = self._deaths.setdefault(key, deque(maxlen=MOST))
        deaths.append(now)
        if len(self._deaths) > REMEMBERED:
            self._deaths.popitem(last=False)
        if len(deaths) == MOST and now - deaths[0] <= SECONDS + MOST * patience:
            self._out[key] = now

    def out(self, key: str) -> bool:
        """Whether nothing more is started for that key."""
        since = self._out.get(key)
        if since is not None and time.monotonic() - since > OUT_SECONDS:
            self.forgive(key)
            return False
        return since is not None

    def forgive(self, key: str) -> None:
        """Forget a key's deaths."""
        self._deaths.pop(key, None)
        self._out.pop(key, None)

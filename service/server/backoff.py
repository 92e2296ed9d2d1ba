"""When to begin again what ended too early."""

from typing import Final

FIRST_SECONDS: Final = 0.25
MOST_SECONDS: Final = 30.0


class Backoff:
    """Waits longer after each failure of a row, but not after its first one.

    Every moment is one of the same clock, in seconds.
    """

    def __init__(self) -> None:
        self.failures = 0
        self._not_before = 0.0

    def failed(self, now: float) -> float:
        """Count a failure, and return the seconds that follow it."""
        seconds = min(FIRST_SECONDS * 2 ** (self.failures - 1), MOST_SECONDS) if self.failures else 0.0
        self.failures += 1
        self._not_before = now + seconds
        return seconds

    def succeeded(self) -> None:
        """End the row of failures."""
        self.failures = 0
        self._not_before = 0.0

    def seconds_left(self, now: float) -> float:
        """Return how long to wait, 0 where it may begin now."""
        return max(self._not_before - now, 0.0)

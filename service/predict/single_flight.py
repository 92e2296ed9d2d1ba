"""One computation for all who want the same thing at the same time."""

import threading
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from service.errors import DeadlineExceeded
from service.server.waiting import OnLoopError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

PATIENCE_SECONDS: Final = 60


class _Flight(Generic[V]):
    """A computation under way; ``landed`` is there once somebody waits for it, and set once it has an end."""

    __slots__ = ("error", "landed", "value")

    def __init__(self) -> None:
        self.landed: threading.Event | None = None
        self.value: V | None = None
        self.error: BaseException | None = None


class SingleFlight(Generic[K, V]):
    """Runs one computation per key at a time; nothing of it is remembered afterwards.

    :param patience: seconds that a caller waits for the computation of another, so that one
        that hangs does not take the thread of everyone who wants the same.
    """

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._flights: dict[K, _Flight[V]] = {}

    def do(self, key: K, compute: Callable[[], V]) -> V:
        """Return what ``compute`` gives, or what the computation of another thread for ``key`` gave.

        An error goes to everyone who waited, and the next caller computes anew. Where the
        other could not compute it on the loop, this one tries itself.

        :raises DeadlineExceeded: the computation of the other thread does not end.
        """
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                own = self._flights[key] = _Flight[V]()
            elif flight.landed is None:
                flight.landed = threading.Event()
        if flight is not None:
            return self._awaited(flight, key, compute)
        try:
            own.value = value = compute()
        except BaseException as error:
            own.error = error
            raise
        finally:
            with self._lock:
                del self._flights[key]
            if own.landed is not None:
                own.landed.set()
        return value

    def _awaited(self, flight: _Flight[V], key: K, compute: Callable[[], V]) -> V:
        assert flight.landed is not None, "who waits has made it"
        if not flight.landed.wait(self._patience):
            raise DeadlineExceeded("The same call of another caller has not ended yet; try again later.")
        if isinstance(flight.error, OnLoopError):
            return self.do(key, compute)
        if flight.error is not None:
            raise flight.error
        return flight.value  # type: ignore[return-value]

"""Prometheus series that take in many observations at once.

The client library takes a lock for each bucket and sum, looks at the process's id and
writes into a file where several workers share their series: for the four series of a
prediction that is as much work as the prediction. So observations gather, and a series
takes in those of a quarter of a second together.
"""

import threading
from bisect import bisect_left
from collections import Counter as Count
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

from prometheus_client import Counter, Histogram

OTHER: Final = "other"

Child = TypeVar("Child")
Labels: TypeAlias = tuple[str | int, ...]


class Children(Generic[Child]):
    """Children of a metric by their labels; past the bound all others share one."""

    def __init__(self, metric: Any, most: int) -> None:
        self._metric = metric
        self._most = most
        self._known: dict[Hashable, Child] = {}

    def of(self, *labels: str | int) -> Child:
        """Return the child of those labels."""
        child = self._known.get(labels)
        if child is None:
            allowed: Labels = labels if len(self._known) < self._most else (OTHER,) * len(labels)
            child = self._metric.labels(*allowed)
            if allowed == labels:
                self._known[labels] = child
        return child


class TalliedCounter(Counter):
    """A counter that takes in many amounts at once."""

    def take(self, amounts: Sequence[float]) -> None:
        """Count them."""
        self.inc(sum(amounts))


class TalliedHistogram(Histogram):
    """A histogram that takes in many observations at once."""

    def take(self, amounts: Sequence[float]) -> None:
        """Observe each of them, as ``observe`` does."""
        self._sum.inc(sum(amounts))
        for index, count in Count(bisect_left(self._upper_bounds, amount) for amount in amounts).items():
            self._buckets[index].inc(count)


class Tallies:
    """The series of a metric by their labels, and what each has yet to take in.

    Until something has it gather, and calls ``settle`` now and then, it keeps nothing back.

    :param metric: with labels.
    :param most: series; all others share one.
    """

    def __init__(self, metric: TalliedCounter | TalliedHistogram, most: int) -> None:
        self.gathers = False
        self._series: Children[TalliedCounter | TalliedHistogram] = Children(metric, most)
        self._waiting: defaultdict[Labels, list[float]] = defaultdict(list)
        self._lock = threading.Lock()
        self._settling = threading.Lock()

    def add(self, amount: float, *labels: str | int) -> None:
        """Have the series of those labels take in an amount."""
        with self._lock:
            self._waiting[labels].append(amount)
        if not self.gathers:
            self.settle()

    def settle(self) -> None:
        """Have each series take in what has gathered."""
        # Whoever reads the series next must find what another thread is taking in.
        with self._settling:
            with self._lock:
                waiting, self._waiting = self._waiting, defaultdict(list)
            for labels, amounts in waiting.items():
                self._series.of(*labels).take(amounts)

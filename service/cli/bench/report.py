"""What was measured, for people and for programs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from service.cli.bench.load import Measured
from service.cli.output import Failure

SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
BUSY: Final = 0.9

COLUMNS: Final = ("what", "requests/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "errors")


@dataclass(slots=True)
class Row:
    """One kind of load, round by round."""

    models: Sequence[str]
    cached: bool
    rounds: list[Measured] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What people call it."""
        which = self.models[0] if len(self.models) == 1 else f"{len(self.models)} models in turn"
        return f"{which}, {'cached' if self.cached else 'not cached'}"

    @property
    def total(self) -> Measured:
        """All rounds together."""
        total = Measured()
        for each in self.rounds:
            total.add(each)
        return total

    @property
    def rates(self) -> list[float]:
        """Answers in a second, of each round."""
        return [each.requests_per_second for each in self.rounds]

    def document(self) -> dict[str, Any]:
        """Return the row for programs."""
        total = self.total
        latencies = zip(SHARES, total.percentiles(list(SHARES.values())), strict=True)
        return {
            "models": list(self.models),
            "cached": self.cached,
            "requests_per_second": round(median(self.rates), 1),
            "requests_per_second_of_rounds": [round(rate, 1) for rate in self.rates],
            "latency_milliseconds": dict(latencies),
            "answers": len(total.latencies),
            "errors": [
                {"status": status or None, "code": code, "count": count}
                for (status, code), count in sorted(total.errors.items())
            ],
            "seconds": round(total.seconds, 3),
            "generator_busy_share": round(total.busy / total.seconds, 2),
        }

    def cells(self) -> dict[str, str]:
        """Return the row for people, by the names of ``COLUMNS``."""
        total = self.total
        latencies = [f"{value:.2f}" for value in total.percentiles(list(SHARES.values()))]
        errors = ", ".join(f"{count:,} of {describe(*error)}" for error, count in sorted(total.errors.items()))
        cells = (self.name, f"{median(self.rates):,.0f}", *latencies, errors or "none")
        return dict(zip(COLUMNS, cells, strict=True))


def describe(status: int, code: str) -> str:
    """Return what came instead of an answer, in few words."""
    return f"{status} {code}".rstrip() if status else f"no answer ({code})"


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return what has to be known to read the figures rightly."""
    busiest = max((row.total.busy / row.total.seconds for row in rows), default=0)
    if busiest < BUSY:
        return []
    return [f"The load generator was busy {busiest:.0%} of the time; --processes gives it more of them."]


def require_answers(rows: Sequence[Row]) -> None:
    """Refuse a report in which a row has no figures.

    :raises Failure: with what came instead.
    """
    for row in rows:
        if not row.total.latencies:
            said = ", ".join(describe(*error) for error in row.total.errors) or "none came in time"
            raise Failure(f"{row.name}: not one answer; {said}.")

"""Rounds in which every case is measured between two measurements of what it is compared with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.benchmarks.asking import Case
from tests.benchmarks.load import Figures, Generator


@dataclass
class Result:
    """A case with its figures, round by round, and how many answers were wrong.

    ``references`` are the requests a second of the reference around each of the figures.
    """

    case: Case
    wrong: int = 0
    figures: list[Figures] = field(default_factory=list)
    references: list[float] = field(default_factory=list)

    @property
    def requests_per_second(self) -> float:
        """The median of the rounds."""
        return median(each.requests_per_second for each in self.figures)

    @property
    def p99_milliseconds(self) -> float:
        """The median of the rounds."""
        return median(each.p99_milliseconds for each in self.figures)

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios to the reference."""
        pairs = zip(self.figures, self.references, strict=True)
        return median(own.requests_per_second / other for own, other in pairs)

    @property
    def faults(self) -> int:
        """Answers that were wrong, or no answers."""
        return self.wrong + sum(each.errors for each in self.figures)


def compare(
    cases: Sequence[Case],
    references: Mapping[int, Case],
    generator: Generator,
    *,
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> list[Result]:
    """Measure each case in each round, and the reference with as many workers right before and after it.

    :param references: by the number of workers.
    :param seconds: of each measurement.
    :param say: told what was just measured.
    """
    results = [Result(case, case.check()) for case in cases]
    for case in (*references.values(), *cases):
        # What is asked for the first time is loaded, compiled or kept.
        generator.measure(case.url, case.requests, min(seconds, 0.5))
    for number in range(1, rounds + 1):
        for workers, reference in references.items():
            of_these = [result for result in results if result.case.workers == workers]
            before = _rate(reference, generator, seconds)
            for result in of_these:
                result.figures.append(generator.measure(result.case.url, result.case.requests, seconds))
                after = _rate(reference, generator, seconds)
                result.references.append((before + after) / 2)
                before = after
                say(f"round {number}: {_said(result)}")
    return results


def _rate(reference: Case, generator: Generator, seconds: float) -> float:
    return generator.measure(reference.url, reference.requests, seconds).requests_per_second


def _said(result: Result) -> str:
    rate, reference = result.figures[-1].requests_per_second, result.references[-1]
    return f"{result.case.name}: {rate:,.0f}/s, {rate / reference:.2f} of {reference:,.0f}/s"

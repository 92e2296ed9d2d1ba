"""The figures as tables of Markdown, and for programs."""

import os
import platform
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.comparison import Result
from tests.benchmarks.estimators import MODELS
from tests.benchmarks.goals import comparisons
from tests.benchmarks.load import CONNECTIONS
from tests.benchmarks.systems import Footprint

BEGINS, ENDS = "<!-- The tables that `python -m tests.benchmarks --readme` writes. -->", "<!-- End of the tables. -->"
LIBRARIES = ("modelward", "flask", "granian", "scikit-learn", "numpy", "onnxruntime", "treelite")
MIB = 1 << 20
WIDTH = 120

Row = Sequence[str]


@dataclass
class Report:
    """Everything that a run found.

    :param missing: what could not be measured, and why.
    """

    command: str
    generator: str
    rounds: int
    seconds: float
    results: list[Result]
    footprints: Mapping[str, Footprint] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def markdown(self) -> str:
        """Return the tables with what they mean."""
        parts = [self._conditions(), _table(self._matrix()), self._legend(), _table(self._goals())]
        parts += [_table(self._memory())] if self.footprints else []
        parts += [f"Not measured: {what}: {why}" for what, why in self.missing.items()]
        return "\n\n".join(parts) + "\n"

    def brief(self) -> str:
        """Return the tables of figures, and of the comparisons only those that miss their goal."""
        memory = [_table(self._memory())] if self.footprints else []
        return "\n\n".join([self._conditions(), _table(self._matrix()), self._legend(), self._missed(), *memory]) + "\n"

    def document(self) -> dict[str, Any]:
        """Return the same for programs, with every round."""
        return {
            "command": self.command,
            "generator": self.generator,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "connections": CONNECTIONS,
            "cases": [_document(result) for result in self.results],
            "comparisons": [asdict(each) | {"verdict": each.verdict} for each in comparisons(self.results)],
            "footprints": {name: asdict(each) for name, each in self.footprints.items()},
            "missing": dict(self.missing),
        }

    def _conditions(self) -> str:
        versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        return _wrapped(
            f"`{self.command}`, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} processors, Python "
            f"{platform.python_version()}, {versions}; {CONNECTIONS} connections of {self.generator}, medians of "
            f"{self.rounds} rounds of {self.seconds:g} s, one row of 4 columns a request, every request another one."
        )

    def _matrix(self) -> list[Row]:
        """Return a row for each system and mode, and a column for each model: the ratio to hello, and the rate."""
        columns = [slug for slug in MODELS if any(result.case.model == slug for result in self.results)]
        rows: dict[tuple[str, str, int], dict[str, Result]] = {}
        for result in self.results:
            case = result.case
            rows.setdefault((case.system, case.mode, case.workers), {})[case.model] = result
        lines: list[Row] = [("", *(MODELS[slug].name for slug in columns))]
        for workers in sorted({workers for _, _, workers in rows}):
            of_these = [result for result in self.results if result.case.workers == workers]
            hello = median(each for result in of_these for each in result.references)
            lines.append((f"Flask hello, {_workers(workers)}", *[f"1.00 ({hello:,.0f}/s)"] * len(columns)))
            for (system, mode, _), cells in ((key, cells) for key, cells in rows.items() if key[2] == workers):
                name = ", ".join(filter(None, (system, mode)))
                lines.append((name, *(_cell(cells[slug]) if slug in cells else "" for slug in columns)))
        return lines

    def _legend(self) -> str:
        return _wrapped(
            "Each cell is the ratio to a bare Flask `hello` on granian with as many workers, measured right before and "
            "right after it, and the requests a second. *Not cached* says `no-store`, *first time* looks for a kept "
            "answer in vain and keeps a new one, *cached* finds one."
        )

    def _goals(self) -> list[Row]:
        lines: list[Row] = [("what", "beside", "ratio", "goal (floor)", "")]
        for each in comparisons(self.results):
            goal, floor = each.goal.goal, each.goal.floor
            wanted = f"{goal:g}" if goal == floor else f"{goal:.2f} ({floor:.2f})"
            lines.append((each.what, each.than, f"{each.ratio:.2f}", wanted, each.verdict))
        return lines

    def _missed(self) -> str:
        """Return how many comparisons reach their goal or their floor, and the others by name."""
        every = list(comparisons(self.results))
        reached, between = (sum(each.verdict == verdict for each in every) for verdict in ("pass", "between"))
        summary = (
            f"Of {len(every)} comparisons with a goal {reached} reach it, and {between} lie between goal and floor."
        )
        others = [
            f"- {each.verdict}: {each.what}: {each.ratio:.2f} beside {each.than}, not {each.goal.floor:g}"
            for each in every
            if each.verdict in {"below", "faulty"}
        ]
        return "\n".join([summary, "", *others]) if others else summary

    def _memory(self) -> list[Row]:
        lines: list[Row] = [("", "ready after", "largest process, resident", "all processes, proportional")]
        for name, each in self.footprints.items():
            largest, total = each.resident_bytes[0], sum(each.proportional_bytes)
            lines.append((name, f"{each.start_seconds:.1f} s", f"{largest / MIB:,.0f} MiB", f"{total / MIB:,.0f} MiB"))
        return lines


def write_between_marks(file: Path, text: str) -> None:
    """Replace what stands between the two marks of a file."""
    marked = re.compile(f"{re.escape(BEGINS)}.*{re.escape(ENDS)}", re.DOTALL)
    before = file.read_text()
    if not marked.search(before):
        raise ValueError(f"{file} has no place for the tables")
    file.write_text(marked.sub(lambda _: f"{BEGINS}\n\n{text}\n{ENDS}", before))


def _document(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "system": case.system,
        "model": case.model,
        "mode": case.mode,
        "workers": case.workers,
        "requests_per_second": result.requests_per_second,
        "p99_milliseconds": result.p99_milliseconds,
        "ratio": result.ratio,
        "wrong": result.wrong,
        "rounds": [asdict(each) for each in result.figures],
        "reference_requests_per_second": result.references,
    }


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def _cell(result: Result) -> str:
    faults = f", {result.faults:,} faulty" if result.faults else ""
    return f"{result.ratio:.2f} ({result.requests_per_second:,.0f}/s{faults})"


def _workers(count: int) -> str:
    return "one worker" if count == 1 else f"{count} workers"


def _table(rows: Iterable[Row]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *body))

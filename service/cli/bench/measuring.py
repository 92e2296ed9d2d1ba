"""Rounds of loads in turn, so that what disturbs a machine for a while disturbs every row alike."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from service.cli.bench.load import Measured, Plan, Running
from service.cli.bench.report import Row

STEP_SECONDS: Final = 0.1
WARM_UP_SECONDS: Final = 0.2

Step = Callable[[str], None]
"""Called ten times a second with the name of the row that is being measured."""


@dataclass(slots=True)
class Outcome:
    """How a measurement ended.

    :param interrupted: by Ctrl-C.
    :param refusal: the status and code that made going on useless.
    """

    interrupted: bool = False
    refusal: tuple[int, str] | None = None


def measure(loads: Sequence[tuple[Row, Plan]], rounds: int, *, shown: bool, warm_up: bool) -> Outcome:
    """Run every load once a round, and add what came of it to its row, also of one that ended early.

    :param shown: show the progress, where somebody sees it.
    :param warm_up: run each for a moment first, which a plan with few requests would not last for.
    """
    seconds = rounds * sum(plan.seconds for _, plan in loads)
    with _progress(seconds, shown=shown) as step:
        for _, plan in loads if warm_up else ():
            _run(replace(plan, seconds=min(WARM_UP_SECONDS, plan.seconds)), lambda: None)
        for row, plan in list(loads) * rounds:
            measured, interrupted = _run(plan, lambda row=row: step(row.name))  # type: ignore[misc]
            row.rounds.append(measured)
            refusal = next((error for error in measured.errors if error[0] in plan.ends), None)
            if interrupted or refusal:
                return Outcome(interrupted, refusal)
    return Outcome()


def _run(plan: Plan, step: Callable[[], None]) -> tuple[Measured, bool]:
    """Return what came of a load, and whether Ctrl-C ended it."""
    running = Running(plan)
    try:
        while not running.wait(STEP_SECONDS):
            step()
    except KeyboardInterrupt:
        running.stop()
        return running.measured(), True
    return running.measured(), False


@contextmanager
def _progress(seconds: float, *, shown: bool) -> Iterator[Step]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    visible = shown and sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not visible) as progress:
        task = progress.add_task("Warming up", total=seconds)
        yield lambda name: progress.update(task, advance=STEP_SECONDS, description=name)

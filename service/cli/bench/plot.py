"""The figures of a measurement as a picture, for which the extra ``modelward[bench]`` brings matplotlib."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import click

from service.cli.bench.report import Row
from service.cli.output import Failure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES: Final = (".png", ".svg")

_CURVE: Final = [1 - 10 ** (-step / 50) for step in range(151)]
_NAMED: Final = {0.0: "0 %", 0.5: "50 %", 0.9: "90 %", 0.99: "99 %", 0.999: "99.9 %"}


def require_plot(path: Path) -> None:
    """Refuse a picture that cannot be drawn or written, before anything is measured.

    :raises click.BadParameter: the suffix is of another format.
    :raises Failure: the library or the directory is missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise click.BadParameter("A plot is a .png or an .svg file.", param_hint="--plot")
    if find_spec("matplotlib") is None:
        raise Failure("Plots are drawn by matplotlib; install it with: pip install 'modelward[bench]'")
    if not path.absolute().parent.is_dir():
        raise Failure(f"The plot cannot be written: there is no directory {path.absolute().parent}.")


def draw(rows: Sequence[Row], path: Path, title: str) -> None:
    """Draw throughput as bars, and latencies over the share of answers that were no slower.

    :param path: the file, a PNG or an SVG by its suffix.
    :raises Failure: it cannot be written.
    """
    # It takes longer to import than the rest of the command.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    figure.suptitle(title)
    throughput, latency = figure.subplots(1, 2)
    _bars(throughput, rows)
    _curves(latency, rows)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise Failure(f"{path} cannot be written ({error.strerror}).") from error


def _bars(axes: "Axes", rows: Sequence[Row]) -> None:
    for position, row in enumerate(rows):
        bar = axes.barh(position, median(row.rates), color=f"C{position}")
        axes.bar_label(bar, fmt="{:,.0f}", padding=3)
        axes.plot(row.rates, [position] * len(row.rates), "|", color="black", markersize=10)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("requests a second: median, and each round")


def _curves(axes: "Axes", rows: Sequence[Row]) -> None:
    for position, row in enumerate(rows):
        latencies = row.total.percentiles(_CURVE)
        axes.plot([_place(share) for share in _CURVE], latencies, color=f"C{position}", label=row.name)
    axes.set_xscale("log")
    axes.set_xticks([_place(share) for share in _NAMED], list(_NAMED.values()), minor=False)
    axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("share of answers that were no slower")
    axes.set_ylabel("milliseconds")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()


def _place(share: float) -> float:
    """Return where a share stands on an axis that gives each further nine as much room as the one before."""
    return 1 / (1 - share)

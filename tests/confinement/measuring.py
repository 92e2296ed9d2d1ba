"""Coverage of a fork server: its environment names no measurement, so it is asked for where modules are imported."""

from pathlib import Path
from typing import Final

from coverage import Coverage

ROOT: Final = Path(__file__).parents[2]

_measurement: Coverage | None = None


def measured(*modules: str) -> list[str]:
    """Return what a fork server is to import before it serves; where this process is measured, so is that."""
    return [f"{__name__}:begin", *modules] if Coverage.current() else list(modules)


def begin() -> None:
    """Measure this process and those that are forked from it, but for the confined, which can write nothing down."""
    global _measurement  # noqa: PLW0603 - it lasts as long as the process.
    _measurement = Coverage(config_file=str(ROOT / "pyproject.toml"), data_file=str(ROOT / ".coverage"))
    _measurement.start()

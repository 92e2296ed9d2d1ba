"""`deploy/env.example` says about each setting what `service/config.py` says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from service.config import Settings, environment_name

EXAMPLE = Path(__file__).parents[2] / "deploy" / "env.example"


def paragraphs() -> Iterator[tuple[str, str, str]]:
    """Each setting's name, default and meaning, in the file's order."""
    _introduction, *settings = EXAMPLE.read_text().strip().split("\n\n")
    for paragraph in settings:
        *meaning, assignment = paragraph.splitlines()
        name, default = assignment.removeprefix("#").split("=", 1)
        yield name, default, " ".join(line.removeprefix("# ") for line in meaning)


def written(default: Any) -> str:
    """Return a default as an environment file has it."""
    match default:
        case SecretStr():
            return default.get_secret_value()
        case bool():
            return str(default).lower()
        case tuple():
            return ",".join(default)
        case _:
            return str(default)


def test_the_example_names_every_setting_with_its_default_and_its_meaning() -> None:
    assert list(paragraphs()) == [
        (environment_name(name), written(field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]


def test_the_example_changes_nothing_as_it_stands() -> None:
    assert [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")] == []

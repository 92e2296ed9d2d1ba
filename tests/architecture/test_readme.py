"""README's tables say what the code does: settings, routes, scopes, codes and commands.

A table that differs is printed as it should be, to be pasted.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from pydantic import SecretStr

from service.api.contract import MARK
from service.app import create_app
from service.cli import COMMANDS, main
from service.config import Settings, environment_name
from service.gateway.codes import CODES
from service.gateway.errors import STATUSES
from service.gateway.guards import Guard, guard_of
from service.tenants.scopes import ROLES, Scope

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

Row = tuple[str, ...]


def settings() -> list[Row]:
    rows: list[Row] = [("variable", "default", "meaning")]
    for name, field in Settings.model_fields.items():
        assert field.description
        rows.append((f"`{environment_name(name)}`", _default(field.default), field.description))
    return rows


def _default(value: object) -> str:
    value = value.get_secret_value() if isinstance(value, SecretStr) else value
    text = str(value).lower() if isinstance(value, bool) else "" if value in ("", ()) else str(value)
    return f"`{text}`" if text else ""


def routes() -> list[Row]:
    app = create_app(Settings(secret_key=SecretStr("0123456789abcdefghijklmnopqrstuvwxyz")))
    rows: list[Row] = [("call", "scope", "does")]
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, sorted(rule.methods or ()))):
        view = app.view_functions[rule.endpoint]
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        methods = sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        rows += [(f"`{method} {path}`", _needs(guard_of(view)), getattr(view, MARK).summary) for method in methods]
    return rows


def _needs(guard: Guard | None) -> str:
    assert guard is not None
    return "public" if guard.public else f"`{guard.scope}`" if guard.scope else "any"


def scopes() -> list[Row]:
    rows: list[Row] = [("scope", *(f"`{role}`" for role in ROLES))]
    return rows + [(f"`{scope}`", *("✓" if scope in held else "" for held in ROLES.values())) for scope in Scope]


def statuses() -> list[Row]:
    titles: dict[int, list[str]] = {}
    for family, status in STATUSES.items():
        titles.setdefault(status, []).append(family.title)
    return [("status", "kind"), *((str(status), "; ".join(kinds)) for status, kinds in sorted(titles.items()))]


def codes() -> list[Row]:
    return [("code", "meaning"), *((f"`{code}`", meaning) for code, meaning in CODES.items())]


def commands() -> list[Row]:
    return [("command", "does"), *((f"`modelward {name}`", first_line(command)) for name, command in every_command())]


def every_command() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {child}", command.commands[child]) for child in command.commands)
        else:
            yield name, command


def first_line(command: click.Command) -> str:
    assert command.help
    return " ".join(command.help.split("\n\n")[0].split())


def render(rows: list[Row]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *body))


@pytest.mark.parametrize("table", [settings, routes, scopes, statuses, codes, commands])
def test_the_table_says_what_the_code_does(table: Callable[[], list[Row]]) -> None:
    expected = render(table())
    assert f"\n\n{expected}\n\n" in README, f"README's table of {table.__name__} should be:\n\n{expected}\n"


def test_every_link_to_a_file_leads_somewhere() -> None:
    for name in ("README.md", "SECURITY.md"):
        links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", (ROOT / name).read_text())
        assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_path_in_the_map_of_the_code_exists() -> None:
    cells = re.findall(r"^\| (`[a-z].*?`) \|", README, re.MULTILINE)
    paths = [path for cell in cells for path in re.findall(r"`([a-z_./]+/[a-z_./]*)`", cell)]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_two_commands_are_there_as_promised() -> None:
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert commands[:2] == [
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/modelward up",
        "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest",
    ]


def test_every_variable_that_is_named_is_a_setting() -> None:
    known = {environment_name(name) for name in Settings.model_fields}
    named = set(re.findall(r"(?<!_)MODELWARD_[A-Z_]+[A-Z]", README)) - {
        "MODELWARD_TEST_POSTGRESQL_URL",
        "MODELWARD_TEST_REDIS_URL",
    }
    assert named - known == set()

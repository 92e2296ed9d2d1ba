"""What commands print, and where to."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from service.cli.output import Failure, Output, plain
from service.errors import Finding, Rejected


@dataclass(frozen=True)
class View:
    name: str
    scopes: frozenset[str]
    created_at: datetime
    ended_at: datetime | None = None


VIEW = View("first", frozenset({"b", "a"}), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_a_view_is_rendered_as_json_would_have_it() -> None:
    assert plain(VIEW) == {
        "name": "first",
        "scopes": ["a", "b"],
        "created_at": "2026-01-02T03:04:05Z",
        "ended_at": None,
    }


def test_a_record_is_tab_separated_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    Output().record(VIEW)
    assert capsys.readouterr().out == "name\tfirst\nscopes\ta,b\ncreated_at\t2026-01-02T03:04:05Z\nended_at\t-\n"


def test_rows_have_their_names_above_them(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"slug": "acme", "revision": 3, "id": "a"}, {"slug": "beta", "revision": 1, "id": "b"}]
    Output().rows(rows, columns=["slug", "revision"])
    assert capsys.readouterr().out == "slug\trevision\nacme\t3\nbeta\t1\n"


def test_a_terminal_gets_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    Output().rows([{"slug": "acme", "name": "[bold]A[/bold]"}], columns=["slug", "name"])
    printed = capsys.readouterr().out
    assert "\t" not in printed
    assert "[bold]A[/bold]" in printed


def test_no_color_is_honoured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    Output().rows([{"slug": "acme"}], columns=["slug"])
    assert not re.search(r"\x1b\[3\d", capsys.readouterr().out)


def test_json_says_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(json=True)
    output.note("a remark")
    output.rows([], columns=["slug"])
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ('{\n  "data": []\n}\n', "")


def test_quiet_prints_only_what_a_script_would_use(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(quiet=True)
    output.note("a remark")
    output.record({"slug": "acme", "api_key": "mw_x"}, brief="mw_x")
    output.record({"report": 1})
    output.rows([{"slug": "acme"}, {"slug": "beta"}], columns=["slug"])
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("mw_x\nacme\nbeta\n", "")


def test_remarks_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Output().rows([], columns=["slug"])
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "There are none.\n")


def test_a_refusal_names_each_finding() -> None:
    failure = Failure.of(Rejected("Refused.", findings=[Finding("steps[0]", "not allowed"), Finding("coef_", "NaN")]))
    assert failure.message == "Refused.\n  steps[0]: not allowed\n  coef_: NaN"

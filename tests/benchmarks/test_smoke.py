"""The benchmark works: everything is measured, and every answer is right. How fast it is, no test says."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from tests.benchmarks.asking import CACHED, FIRST, FRESH, MODES, Case
from tests.benchmarks.comparison import Result, compare
from tests.benchmarks.goals import BARE, MEMORY, comparisons
from tests.benchmarks.load import Figures, OwnGenerator
from tests.benchmarks.overload import FLOODS, Tenants, table
from tests.benchmarks.overload import measure as measure_flood
from tests.benchmarks.report import BEGINS, ENDS, Report, write_between_marks
from tests.benchmarks.running import Wanted, server_of, started
from tests.benchmarks.scale import Size, measure
from tests.benchmarks.systems import ModelwardSystem
from tests.servers.modelward import ROOT


@dataclass(frozen=True)
class Ran:
    report: Report
    system: ModelwardSystem


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """One round of one model, in the embedded form, which still runs."""
    directory = tmp_path_factory.mktemp("benchmark")
    wanted = Wanted(("logistic",), MODES, redis=False, peers=(), peers_directory=directory)
    said: list[str] = []
    with started(wanted, directory, said.append) as field:
        results = compare(field.cases, field.references, OwnGenerator(), rounds=1, seconds=0.3, say=said.append)
        assert len([line for line in said if line.startswith("round 1")]) == len(results)
        yield Ran(Report("a test", OwnGenerator.name, 1, 0.3, results, field.footprints), field.modelward[0])


@pytest.fixture(scope="module")
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    """A server with an honest tenant beside its own."""
    directory = tmp_path_factory.mktemp("flooded")
    with ExitStack() as stack:
        system = ModelwardSystem(MEMORY, server_of(stack, directory / "server"), 1)
        system.start_up()
        yield Tenants(system, directory)


@pytest.fixture(scope="module")
def report(ran: Ran) -> Report:
    """What was found."""
    return ran.report


def test_everything_is_measured_and_right(report: Report) -> None:
    systems = [(result.case.system, result.case.mode) for result in report.results]
    usual = "Flask and the usual extensions, memory"
    assert systems == [(BARE, ""), (usual, ""), (MEMORY, FRESH), (MEMORY, FIRST), (MEMORY, CACHED)]
    assert {result.faults for result in report.results} == {0}
    assert min(result.requests_per_second for result in report.results) > 0
    assert min(result.ratio for result in report.results) > 0


def test_the_report_is_a_table_and_a_document(report: Report) -> None:
    text = report.markdown()
    for system in ("Flask hello, one worker", "bare Flask", f"{MEMORY}, {CACHED}"):
        assert f"\n| {system} | " in text
    document = orjson.loads(orjson.dumps(report.document()))
    assert len(document["cases"]) == 5
    assert {case["than"] for case in document["comparisons"]} == {"Flask hello", "bare Flask, LogisticRegression"}
    footprint = document["footprints"][MEMORY]
    assert 0 < footprint["proportional_bytes"][0] <= footprint["resident_bytes"][0]


def test_the_readme_has_one_place_for_the_tables(report: Report, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.count(BEGINS) == readme.count(ENDS) == 1
    copy = tmp_path / "README.md"
    copy.write_text(readme)
    write_between_marks(copy, report.brief())
    assert copy.read_text().split(BEGINS)[0] == readme.split(BEGINS)[0]
    assert copy.read_text().split(ENDS)[1] == readme.split(ENDS)[1]
    assert report.brief() in copy.read_text()
    assert "comparisons with a goal" in copy.read_text()
    copy.write_text("nothing")
    with pytest.raises(ValueError, match="no place"):
        write_between_marks(copy, "")


def measured(system: str, model: str, mode: str, ratio: float, errors: int = 0) -> Result:
    case = Case(system, model, mode, 1, "http://127.0.0.1:1", [], lambda: 0)
    return Result(case, 0, [Figures(1000 * ratio, 1, 2, errors)], [1000])


@pytest.mark.parametrize(
    ("ratio", "errors", "verdict"), [(0.6, 0, "pass"), (0.4, 0, "between"), (0.34, 0, "below"), (0.6, 1, "faulty")]
)
def test_a_ratio_is_held_against_goal_and_floor(ratio: float, errors: int, verdict: str) -> None:
    (compared,) = comparisons([measured(MEMORY, "svc", FRESH, ratio, errors)])
    assert compared.verdict == verdict


def test_modelward_is_compared_with_the_bare_application_and_with_other_servers() -> None:
    others = [measured(BARE, "forest", "", 0.05), measured("MLServer", "forest", "", 0.04)]
    compared = list(comparisons([*others, measured(MEMORY, "forest", FRESH, 0.6)]))
    assert [(each.than, round(each.ratio, 6), each.verdict) for each in compared] == [
        ("Flask hello", 0.6, "pass"),
        ("bare Flask, RandomForest(100)", 12, "pass"),
        ("MLServer, RandomForest(100)", 15, "pass"),
    ]
    isolated = [measured(BARE, "neighbours", "", 0.2), measured(MEMORY, "neighbours", FRESH, 0.15)]
    assert [each.verdict for each in comparisons(isolated)] == ["below"]


def test_many_tenants_are_measured_beside_one(ran: Ran) -> None:
    size, budget = Size(tenants=5, models=2, hot=3), 1 << 30
    found = measure(ran.system, ran.system, size, budget, OwnGenerator(), 1, 0.3, lambda _: None)
    document = found.document()
    assert (document["models"], document["errors"]) == (10, 0)
    assert found.throughput > 0
    assert 0 < found.loaded_bytes <= budget
    assert found.versions_loaded >= size.tenants
    assert "3 of 10 models of 5 tenants" in found.table()


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_measured_beside_an_honest_caller(flooded: Tenants, name: str, long: bool) -> None:
    found = measure_flood(flooded, name, OwnGenerator(), 1, 60 if long else 1, lambda _: None)
    document = found.document()
    assert document["victim_failures"] == 0
    assert document["victim_p99_ratio"] > 0  # type: ignore[operator]
    assert document["refusals_without_retry_after"] == 0
    # Whether requests of the others wait for their turn or are refused, depends on how fast the machine is.
    assert document["refusals_probed"] if name == "limited" else document["goodput_ratio"]
    assert (document["goodput_ratio"] is None) == (name == "limited")
    assert f"| {name} |" in table([found])
    print(f"\n{table([found])}")

"""What every test may use."""

from collections.abc import Generator, Iterator

import pytest
from threadpoolctl import threadpool_limits

from tests.servers.modelward import ROOT, logs

LONGEST = ("tests/processes/", "tests/parity/", "tests/cli/")

pytest_plugins = ["tests.servers.fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests over random faults at their full length")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep those together that share a server, and let the longest begin, whatever order chance gave the others.

    Where tests are run by several processes (``-n 2 --dist loadgroup``), those of a file stay in one.
    """

    def group(item: pytest.Item) -> str:
        shared = "production" in getattr(item, "fixturenames", ())
        return "production" if shared else str(item.path.relative_to(ROOT))

    items.sort(key=lambda item: (group(item) != "production", not group(item).startswith(LONGEST)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the full length of a test over random faults was asked for, instead of a short form."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Run scikit-learn as a confined child does, whose environment says so: threads that spin wait for each other."""
    with threadpool_limits(limits=1):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the servers had logged."""
    report = yield
    if report.failed and (logged := logs()):
        report.sections.append(("The servers' logs", logged))
    return report

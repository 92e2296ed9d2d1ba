"""Every estimator of scikit-learn that can be served answers as scikit-learn does here; none ends the server.

The list of what is served and how it runs is printed at the end of the long form, and shown
with ``-s`` in the short one. The short form tries every third, and calls the application
in this process; the long one tries them all, on a server with two workers over HTTP.
"""

from collections.abc import Iterator

import pytest

from tests.parity import estimators
from tests.parity.comparing import Line, Service, line, table
from tests.parity.serving import in_process, over_http

pytestmark = pytest.mark.filterwarnings("ignore:Class PassiveAggressive:FutureWarning")

NAMES = estimators.names()
SHORT_STEP = 3

NOT_SERVED = {
    "Birch": "skops cannot write it",
    **dict.fromkeys(estimators.WITHOUT_PREDICT, "has no predict"),
}
"""What is refused, and why; everything else that can have rows has to be served."""


@pytest.fixture(scope="module")
def lines(request: pytest.FixtureRequest) -> Iterator[list[Line]]:
    """The list, which is printed when it is complete."""
    found: list[Line] = []
    yield found
    capture = request.config.pluginmanager.getplugin("capturemanager")
    if request.config.getoption("--long"):
        with capture.global_and_fixture_disabled():
            print(f"\n{table(found)}")
    else:
        print(f"\n{table(found)}")


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Where the estimators are uploaded to."""
    directory = tmp_path_factory.mktemp("parity")
    if not request.config.getoption("--long"):
        with in_process(directory) as called:
            yield called
        return
    settings = {
        "database_url": request.getfixturevalue("postgresql_url_of_module"),
        "redis_url": request.getfixturevalue("redis_server").url,
        "workers": 2,
    }
    with over_http(directory, settings) as served:
        yield served


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every estimator that can have rows, or every third."""
    names = [name for name in NAMES if name not in estimators.NO_ROWS]
    metafunc.parametrize("name", names if metafunc.config.getoption("--long") else names[::SHORT_STEP])


def test_an_estimator_answers_as_scikit_learn_does(name: str, service: Service, lines: list[Line]) -> None:
    found = line(estimators.case(name, NAMES[name]), service)
    lines.append(found)
    assert found.wrong == ()
    assert NOT_SERVED.get(name, "") in found.why
    assert bool(found.outputs) == (name not in NOT_SERVED)

"""A warm prediction asks the database nothing."""

import re
from collections.abc import Callable

from tests.processes.calling import Caller, Load
from tests.processes.conftest import Installation
from tests.processes.estimators import constant
from tests.servers.postgresql import StoppablePostgresql

PREDICTIONS = 1000

WINDOWS = 5
"""In the first ones a worker may not have heard of the model yet."""

_STATEMENT = re.compile(r"(?:statement|execute [^:]*): (.*)")
_BY_THE_CLOCK = re.compile(r"\b(epoch|usage_counters)\b|^SELECT tenants\.id .* FOR KEY SHARE$")
_OF_TRANSACTIONS = re.compile(r"BEGIN|COMMIT|ROLLBACK|DEALLOCATE|SELECT set_config|SELECT 1|;")


def statements(server: StoppablePostgresql, offset: int) -> list[str]:
    """What the server was asked since its log had that length; transactions' own words are left out."""
    with server.log.open(errors="replace") as log:
        log.seek(offset)
        found = _STATEMENT.findall(log.read().replace("\n\t", " "))
    return [text for text in found if not _OF_TRANSACTIONS.match(text)]


def ask(caller: Caller, number: int):
    return caller.predict("quiet", [[number / 1000, 1.0]])


def test_warm_predictions_ask_the_database_nothing(
    production: Installation,
    postgresql_of_production: StoppablePostgresql,
    caller: Callable[[Installation, str], Caller],
) -> None:
    owner = caller(production, "acme")
    assert owner.move("quiet", owner.uploaded("quiet", constant(1.0))["version"]).status_code == 200
    with Load(lambda: production.caller("acme"), ask) as load:
        for _ in range(WINDOWS):
            began = postgresql_of_production.log.stat().st_size
            load.wait_for(PREDICTIONS)
            asked = statements(postgresql_of_production, began)
            # By the clock, each worker looks at the epochs and writes down the usage of tenants that are still there.
            by_the_clock = [text for text in asked if _BY_THE_CLOCK.search(text)]
            if by_the_clock == asked:
                break
    assert load.refused() == []
    assert [text for text in asked if text not in by_the_clock] == []
    assert len(by_the_clock) < PREDICTIONS / 10

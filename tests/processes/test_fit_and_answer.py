"""A fit over HTTP ends when its caller stops waiting, and only one that is answered counts."""

import random

from service.server.deadlines import MOST_MILLISECONDS
from tests.processes.conftest import Installation

ROWS = 10_000


def test_a_caller_who_stops_waiting_gets_a_504_and_is_charged_nothing(production: Installation) -> None:
    draw = random.Random(3)
    # Labels that nothing explains take a support vector machine far longer than the caller waits.
    body = {
        "X": [[draw.random() for _ in range(8)] for _ in range(ROWS)],
        "y": [draw.randrange(2) for _ in range(ROWS)],
    }
    small = {"X": [[1], [2]], "y": [1, 2]}
    with production.caller("globex") as globex:
        late = globex.client.post("/support_vector_machine", json=body, headers={"X-Request-Timeout-Ms": "300"})
        assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
        answered = globex.client.post(
            "/linear_regression", json=small, headers={"X-Request-Timeout-Ms": str(MOST_MILLISECONDS)}
        )
        assert answered.status_code == 200, answered.text
        used = {each["model"]: each["rows"] for each in globex.every("/v1/usage")}
    assert used.get("_SVC", 0) == 0
    assert used["_LinearRegression"] == 2

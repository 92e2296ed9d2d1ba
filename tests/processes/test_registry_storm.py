"""Everybody changes the same model at once: each change is made whole or refused, and what is left fits together."""

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from tests.processes.calling import Caller
from tests.processes.conftest import Installation
from tests.processes.estimators import constant

MODEL = "storm"
ALIAS = f"/v1/models/{MODEL}/aliases/production"
CALLERS = 4


def change(caller: Caller, draw: random.Random) -> int:
    """Make one change that may be refused, and return its status."""
    version = draw.randrange(1, 8)
    client = caller.client
    calls = {
        "upload": lambda: caller.upload(MODEL, constant(float(draw.randrange(3)))),
        "promote": lambda: caller.move(MODEL, version),
        "expect": lambda: client.put(ALIAS, json={"version": version, "expected": draw.randrange(1, 8)}),
        "roll back": lambda: client.post(f"{ALIAS}/rollback"),
        "remove": lambda: client.delete(ALIAS),
        "purge": lambda: client.delete(f"/v1/models/{MODEL}/versions/{version}", params={"purge": "true"}),
        "describe": lambda: client.patch(f"/v1/models/{MODEL}", json={}, headers={"If-Match": f'"{version}"'}),
        "delete": lambda: client.delete(f"/v1/models/{MODEL}", headers={"If-Match": f'"{version}"'}),
    }
    return calls[draw.choice(list(calls))]().status_code


def test_what_is_changed_by_all_at_once_stays_whole(production: Installation, long: bool) -> None:
    def storm(seed: int) -> set[int]:
        draw = random.Random(seed)
        with production.caller("acme") as caller:
            return {change(caller, draw) for _ in range(200 if long else 25)}

    with production.caller("acme") as acme:
        acme.uploaded(MODEL, constant(1.0), alias="production")
        with ThreadPoolExecutor(CALLERS) as pool:
            statuses = set().union(*pool.map(storm, range(CALLERS)))
        assert statuses <= {200, 201, 204, 404, 409, 412}
        acme.uploaded(MODEL, constant(1.0), alias="production")
        moves = acme.every(f"{ALIAS}/history")
    for later, earlier in pairwise(moves):
        assert later["sequence"] == earlier["sequence"] + 1
        assert later["from_version"] == earlier["to_version"]
    found = production.server.json("sweep", "--dry-run", "--older-than-seconds", "0")
    assert (found["orphaned"], found["missing"], found["miscounted"]) == ([], [], [])

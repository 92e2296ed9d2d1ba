"""Three real models of two tenants answer what scikit-learn answers, before and after a rollback."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.processes.calling import Caller
from tests.processes.conftest import Installation
from tests.processes.estimators import Case, forest_case, regression_case, text_case

TOLERANCE = 1e-9

Make = Callable[[int], Case]


def assert_answers(caller: Caller, case: Case, version: int, at: str = "") -> None:
    """Compare every output, for rows as lists and as objects, with scikit-learn's own."""
    expected = case.expected()
    for rows in (case.rows, case.objects):
        response = caller.predict(case.name, rows, case.outputs, at)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["version"] == version
        assert list(answer["outputs"]) == case.outputs
        for output in case.outputs:
            if output == "predict" and isinstance(expected[output][0], str | int):
                assert answer["outputs"][output] == expected[output]
            else:
                np.testing.assert_allclose(answer["outputs"][output], expected[output], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("make", [text_case, regression_case, forest_case])
def test_two_tenants_models_answer_as_scikit_learn_does_and_roll_back(
    production: Installation, caller: Callable[[Installation, str], Caller], make: Make
) -> None:
    tenants = {slug: caller(production, slug) for slug in ("acme", "globex")}
    seeds = {"acme": (1, 2), "globex": (3, 4)}
    cases = {slug: [make(seed) for seed in seeds[slug]] for slug in tenants}
    for slug, tenant in tenants.items():
        for number, case in enumerate(cases[slug], start=1):
            assert tenant.uploaded(case.name, case.artifact)["version"] == number
            assert tenant.move(case.name, number).status_code == 200
    for slug, tenant in tenants.items():
        first, second = cases[slug]
        assert_answers(tenant, second, 2)
        assert_answers(tenant, first, 1, "/versions/1")
        assert_answers(tenant, second, 2, "/aliases/production")
        back = tenant.client.post(f"/v1/models/{first.name}/aliases/production/rollback", json={"reason": "worse"})
        assert back.status_code == 200, back.text
        assert_answers(tenant, first, 1, "/aliases/production")
        assert_answers(tenant, second, 2, "/versions/2")

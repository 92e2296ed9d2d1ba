"""A compiled form that gives a wrong answer is found by live traffic, and taken out of every worker."""

from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import skops.io
from sklearn.datasets import load_diabetes
from sklearn.neural_network import MLPRegressor

import service.artifacts.tables  # noqa: F401 - versions refer to them
from service.database import PLATFORM, Database
from service.registry.tables import Version
from service.tenants.epochs import Epochs
from tests.processes.conftest import METRICS_TOKEN, Installation
from tests.servers.modelward import Modelward
from tests.servers.subprocesses import wait_until

FRESH = {"Cache-Control": "no-store"}


def admit_what_rounds(url: str, tenant_id: str) -> None:
    """Have the version's row name a form in float32, as a gate would that had not seen the difference."""
    database = Database(url)
    with database.write(PLATFORM) as session:
        Epochs(database, interval=1, stale_seconds=1).bump(session, tenant_id)
        row = session.get_one(Version, (tenant_id, "net", 1))
        chosen = {"one": "onnx-float32", "many": "onnx-float32"}
        row.runtime = row.runtime | {"methods": {"predict": row.runtime["methods"]["predict"] | chosen}}
    database.dispose()


def answered_by(installation: Installation, rows: Any) -> set[str]:
    """Ask over several connections, so that every worker is asked, and return the names of what answered."""
    found = set()
    for _ in range(12):
        with installation.caller("acme") as caller:
            response = caller.client.post("/v1/models/net/predict", json={"inputs": rows}, headers=FRESH)
            assert response.status_code == 200, response.text
            found.add(response.headers["Modelward-Runtime"])
    return found


def test_a_form_that_differs_on_live_rows_is_taken_out_of_every_worker(
    tmp_path: Path, production_settings: dict[str, object]
) -> None:
    X, y = load_diabetes(return_X_y=True)
    network = MLPRegressor(hidden_layer_sizes=(8,), random_state=0, max_iter=50, tol=1.0).fit(X, y)
    server = Modelward(tmp_path, **production_settings, shadow_share=1.0)
    installation = Installation(server)
    installation.tenant("acme")
    server.start()
    try:
        with installation.caller("acme") as caller:
            assert caller.uploaded("net", skops.io.dumps(network))["runtime"]["policy"] == "exact"
            admit_what_rounds(str(production_settings["database_url"]), installation.ids["acme"])
            rows = X[:3].tolist()
            wait_until(lambda: answered_by(installation, rows) == {"native"}, "scikit-learn answers everywhere")
            answer = caller.client.post("/v1/models/net/predict", json={"inputs": rows}, headers=FRESH).json()
            np.testing.assert_allclose(answer["outputs"]["predict"], network.predict(X[:3]), rtol=1e-9)
            shown = caller.client.get("/v1/models/net/versions/1").json()["runtime"]
            assert "onnx-float32" in shown["withdrawn"]
            trail = caller.client.get("/v1/audit", params={"action": "runtime.withdraw"}).json()["data"]
            assert [(event["actor"], event["target"]) for event in trail] == [("system", "models/net/versions/1")]
            headers = {"Authorization": f"Bearer {METRICS_TOKEN}"}
            metrics = httpx2.get(f"{server.url}/metrics", headers=headers, verify=False).text
            assert 'modelward_shadow_checks_total{result="different"}' in metrics
            assert "is out of net of acme, version 1" in server.log.read_text()
    finally:
        server.stop()

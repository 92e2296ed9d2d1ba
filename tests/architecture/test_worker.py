"""What a worker is made of when it has served models in every compiled form: no scikit-learn, no converter."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from tests.api.callers import SECRET, World
from tests.registry.workers import artifact

X, y = load_iris(return_X_y=True)
MODELS = {
    "linear": (LogisticRegression(max_iter=1000), {"numpy", "onnx"}),
    "kernel": (make_pipeline(StandardScaler(), SVC()), {"numpy"}),
    "forest": (RandomForestClassifier(5, random_state=0), {"onnx", "treelite"}),
    "categories": (HistGradientBoostingClassifier(max_iter=5, categorical_features=[0]), {"treelite"}),
    "graph": (GaussianNB(), {"onnx"}),
}
FOREIGN = ("sklearn", "skops", "skl2onnx", "onnx", "joblib", "service.runtimes.derivation")

WORKER = """
import json, sys
from service.app import create_app
from service.config import Settings

directory, secret, api_key, foreign, *models = sys.argv[1:]
app = create_app(Settings(data_dir=directory, secret_key=secret))
client, ran = app.test_client(), {}
for model in models:
    body = {"inputs": [[5.0, 3.0, 1.0, 0.0]]}
    answer = client.post(f"/v1/models/{model}/predict", json=body, headers={"X-API-Key": api_key})
    ran[model] = answer.headers.get("Modelward-Runtime", answer.text)
app.extensions["modelward"].close()
print(json.dumps({"ran": ran, "foreign": [name for name in foreign.split() if name in sys.modules]}))
"""


def test_a_worker_that_served_every_compiled_form_has_imported_nothing_that_makes_them(tmp_path: Path) -> None:
    world = World(tmp_path)
    acme = world.acme
    for name, (estimator, _) in MODELS.items():
        uploaded = acme.upload(name, artifact(estimator.fit(np.round(X), y)))
        assert uploaded.status_code == 201, uploaded.text
    world.close()
    command = [sys.executable, "-c", WORKER, str(tmp_path), SECRET, str(acme.api_key), " ".join(FOREIGN), *MODELS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    for name, (_, forms) in MODELS.items():
        assert told["ran"][name] in forms, told
    assert told["foreign"] == []

"""The models as a service of BentoML, in whose environment this program runs."""

import os
from pathlib import Path

import bentoml
import joblib
import numpy as np


@bentoml.service
class Models:
    """Predicts with each of the models."""

    def __init__(self) -> None:
        files = Path(os.environ["MODELS_DIRECTORY"]).glob("*.joblib")
        self.models = {file.stem: joblib.load(file) for file in files}

    @bentoml.api
    def predict(self, model: str, inputs: np.ndarray) -> np.ndarray:
        """Return the labels of some rows."""
        return self.models[model].predict(inputs)

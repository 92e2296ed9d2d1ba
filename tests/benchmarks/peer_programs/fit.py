"""Fits the models with the scikit-learn of another server's environment, in which this program runs.

``python fit.py FORM DIRECTORY SLUG…`` writes each model as ``joblib`` or as ``mlflow`` keeps it.
"""

import runpy
import sys
from pathlib import Path

MODELS = runpy.run_path(str(Path(__file__).parents[1] / "estimators.py"))["MODELS"]


def main(form: str, directory: str, *slugs: str) -> None:
    """Fit and write."""
    for slug in slugs:
        fitted = MODELS[slug].fitted()
        if form == "joblib":
            import joblib  # noqa: PLC0415 - each environment has what its own form needs

            joblib.dump(fitted, Path(directory, f"{slug}.joblib"))
        else:
            import mlflow.sklearn  # noqa: PLC0415 - as above

            mlflow.sklearn.save_model(fitted, str(Path(directory, slug)), serialization_format="cloudpickle")


if __name__ == "__main__":
    main(*sys.argv[1:])

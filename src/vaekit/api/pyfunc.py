"""The model that MLflow is given: a bundle that answers ``predict``; MLflow makes it from code, without a pickle."""

from __future__ import annotations

from typing import Any

__all__ = ["pyfunc_model"]


def pyfunc_model() -> Any:
    """A `mlflow.pyfunc.PythonModel` whose artefact ``bundle`` answers queries.

    ``predict(frame)`` scores the rows of a frame; ``params={"query": "impute", "draws": 5}`` asks another query, with
    its options. The answer is a frame of pandas.
    """
    from mlflow.pyfunc import PythonModel

    class BundleModel(PythonModel):  # type: ignore[misc, unused-ignore]
        def load_context(self, context: Any) -> None:
            from vaekit.api.model import load

            self.model = load(context.artifacts["bundle"])

        def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> Any:
            options = dict(params or {})
            return self.model.query(options.pop("query", "score"), model_input, **options).to_pandas()

    return BundleModel()

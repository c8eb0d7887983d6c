"""What an MLflow model of convgrid runs when it is loaded: this file lies in the model, and convgrid does not.

It needs mlflow, numpy, pandas and torch, which takes seconds to import and is not needed where MLflow runs this file
to store it. Shapes: B batch, K predictions of an image.
"""

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow asks for type hints, which it has none of for arrays

    class Predictions(PythonModel):
        """From raw images (B, C, H, W) to a table: the class or the labels, and a column a prediction."""

        def load_context(self, context: Any) -> None:
            """Read the program, and what its predictions are."""
            import torch

            kept = {"convgrid.json": ""}
            self.program = torch.export.load(context.artifacts["program"], extra_files=kept).module()
            self.meta = json.loads(kept["convgrid.json"])

        def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  (MLflow's own returns nothing)
            self, context: Any, model_input: np.ndarray, params: Any = None
        ) -> pd.DataFrame:
            """Ask the program."""
            import torch

            images = torch.from_numpy(np.ascontiguousarray(model_input))
            with torch.inference_mode():
                predictions = self.program(images).numpy()
            table = pd.DataFrame(predictions, columns=self.meta["columns"])
            names = self.meta["profile"]["names"]
            if self.meta["answer"] == "class":
                table.insert(0, "class", [names[best] for best in predictions.argmax(1)])
            if self.meta["answer"] == "labels":
                told = predictions > self.meta["threshold"]
                table.insert(0, "labels", [", ".join(np.asarray(names)[row]) for row in told])
            return table


set_model(Predictions())

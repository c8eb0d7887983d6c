"""The few lines of Python that load a model, as its card shows them."""

from convgrid.model.metadata import Metadata
from convgrid.system.text import one_line


def example(meta: Metadata, format_: str, place: str) -> str:
    """Write a program that loads a model and asks it.

    Args:
        format_: A name in `export_formats.FORMATS`, or "mlflow".
        place: Its file, or its address.

    Returns:
        Python, which runs as it is where the model lies.
    """
    head, predictions = {
        "torch_export": (
            ["import torch"],
            [f'program = torch.export.load("{place}").module()', "predictions = program(torch.from_numpy(images))"],
        ),
        "onnx": (
            ["import onnxruntime"],
            [
                f'session = onnxruntime.InferenceSession("{place}", providers=["CPUExecutionProvider"])',
                '(predictions,) = session.run(None, {"images": images})',
            ],
        ),
        "safetensors": (
            ["from pathlib import Path", "import torch", "from convgrid.model.export_formats import read"],
            [
                f'model = read(Path("{place}"))  # its metadata hold the layers, for a program without convgrid',
                "predictions = model.predict(torch.from_numpy(images))",
            ],
        ),
        "mlflow": (["import mlflow"], [f'model = mlflow.pyfunc.load_model("{place}")', "print(model.predict(images))"]),
    }[format_]
    profile = meta.profile
    shape = ", ".join(map(str, profile.shape))
    larger = ", or larger" if meta.slides else ""
    images = f"images = np.zeros((2, {shape}), np.{profile.dtype})  # yours: any number of them{larger}"
    shown = [] if format_ == "mlflow" else _shown(meta)
    return "\n".join(["import numpy as np", *head, "", images, *predictions, *shown]) + "\n"


def _shown(meta: Metadata) -> list[str]:
    names = f"names = {list(meta.profile.names)!r}"
    if meta.slides:
        return [names, "print(predictions.shape)  # images, names, rows, columns"]
    match meta.profile.task:
        case "classification":
            return [names, "print([names[row.argmax()] for row in predictions], predictions)"]
        case "multilabel":
            told = f"[[name for name, value in zip(names, row) if value > {meta.threshold:g}] for row in predictions]"
            return [names, f"print({told}, predictions)"]
        case "regression":
            return [f"print(predictions)  # {one_line(', '.join(meta.profile.names))}"]

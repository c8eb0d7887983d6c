"""What a trial's model consists of in MLflow: made in a process that has torch, put there by one that does without."""

from pathlib import Path

import numpy as np

PROGRAM, CARD, META, INPUT_EXAMPLES = "program.pt2", "model_card.md", "convgrid.json", "examples.npy"
ADDRESS = "models:/{model_id}"  # in the card, before MLflow gives the model one


def make(folder: Path, place: Path) -> None:
    """Make a trial's model: its program, held against the trained network, its card, and what MLflow is told of it.

    Args:
        folder: The trial's, with `best.ckpt`.
        place: An empty folder for the parts.

    Raises:
        ConvgridError: If the folder does not make a model.
        OSError: If a part cannot be written.
    """
    from convgrid.model.card import card  # these import torch, which takes 2 s
    from convgrid.model.export import write
    from convgrid.model.trained_model import load

    trained = load(folder)
    write(trained, "torch_export", place / PROGRAM, trained.images)
    (place / CARD).write_text(card(folder, trained.meta, "mlflow", ADDRESS), encoding="utf-8")
    (place / META).write_text(trained.meta.dumps(), encoding="utf-8")
    np.save(place / INPUT_EXAMPLES, trained.images[:2].numpy())

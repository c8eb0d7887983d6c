"""How alike two models predict, such as a trained one and the one in its exported file.

Shapes: B batch, K predictions of an image.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convgrid.errors import ModelError
from convgrid.model.answers import answers_of
from convgrid.model.export_formats import InferenceModel
from convgrid.model.trained_model import is_close

PREDICTION_BATCH = 64


@dataclass(frozen=True)
class Agreement:
    """How alike two models predict.

    Args:
        largest: Difference of a prediction.
        same: Images with the same class or labels; None of numbers.
    """

    largest: float
    same: int | None
    count: int

    def __str__(self) -> str:
        answers = "" if self.same is None else f", the same answer to {self.same} of {self.count}"
        return f"largest difference {self.largest:.2g}{answers}"


def ask(model: InferenceModel, images: Tensor) -> Tensor:
    """Predict, some images at a time.

    Args:
        images: Shape (B, C, H, W), as its training had them.

    Returns:
        Shape (B, K).
    """
    with torch.inference_mode():
        return torch.cat([model.predict(some) for some in images.split(PREDICTION_BATCH)])


def hold_against(model: InferenceModel, original: InferenceModel, images: Tensor) -> Agreement:
    """Compare a model that was read from a file with the one that was written: one image alone, all, and a large one.

    Args:
        images: Real ones, shape (B, C, H, W).

    Returns:
        How alike they are.

    Raises:
        ModelError: If they differ by more than rounding.
    """
    expected, found = ask(original, images), ask(model, images)
    with torch.inference_mode():
        alone = model.predict(images[:1])
    pairs = [(found, expected), (alone, expected[:1])]
    if model.meta.slides:
        tiled = images[:1].repeat(1, 1, 2, 3)
        with torch.inference_mode():
            pairs.append((model.map(tiled), original.map(tiled)))
    largest = max((mine - other).abs().max().item() for mine, other in pairs)
    if not all(is_close(mine, other) for mine, other in pairs):
        raise ModelError(
            f"The predictions of the exported model differ from those of the trained one by up to {largest:.3g}, "
            "so nothing is written. The format does not support one of the layers. Use another --format."
        )
    answers = [answers_of(predictions, model.meta) for predictions in (found, expected)]
    same = None if model.meta.answer is None else sum(map(_equal, *answers))
    return Agreement(largest, same, len(images))


def _equal(a: Any, b: Any) -> bool:
    return a == b

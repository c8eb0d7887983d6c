"""What two models say of the same images, and what one says in words.

Shapes: B batch, K predictions of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convgrid.errors import ModelError
from convgrid.model.formats import Model
from convgrid.model.meta import Meta
from convgrid.model.trained import is_close

BATCH = 64


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


def ask(model: Model, images: Tensor) -> Tensor:
    """Predict, some images at a time.

    Args:
        images: Shape (B, C, H, W), as its training had them.

    Returns:
        Shape (B, K).
    """
    with torch.inference_mode():
        return torch.cat([model.predict(some) for some in images.split(BATCH)])


def hold_against(model: Model, original: Model, images: Tensor) -> Agreement:
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


def answers_of(predictions: Tensor, meta: Meta) -> list[Any]:
    """Put predictions into words.

    Args:
        predictions: Shape (B, K).

    Returns:
        For each image its class, its labels, or None where numbers say it all.
    """
    names = meta.profile.names
    match meta.profile.task:
        case "classification":
            return [names[best] for best in predictions.argmax(-1).tolist()]
        case "multilabel":
            told = (predictions > meta.threshold).tolist()
            return [[name for name, is_told in zip(names, row, strict=True) if is_told] for row in told]
        case "regression":
            return [None] * len(predictions)


def _equal(a: Any, b: Any) -> bool:
    return a == b


def best_of(predictions: Sequence[float], meta: Meta, most: int = 3) -> list[tuple[str, float]]:
    """Rank the classes or labels of an image; numbers stay in their order.

    Args:
        predictions: Of one image, K.
        most: How many to keep of a ranking.

    Returns:
        Names with their predictions.
    """
    pairs = list(zip(meta.profile.names, predictions, strict=True))
    return pairs if meta.kind == "number" else sorted(pairs, key=lambda pair: -pair[1])[:most]

"""Predictions in words: the class, the labels, the best few.

Shapes: B batch, K predictions of an image.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from convgrid.model.metadata import Metadata


def answers_of(predictions: Tensor, meta: Metadata) -> list[Any]:
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


def best_of(predictions: Sequence[float], meta: Metadata, most: int = 3) -> list[tuple[str, float]]:
    """Rank the classes or labels of an image; numbers stay in their order.

    Args:
        predictions: Of one image, K.
        most: How many to keep of a ranking.

    Returns:
        Names with their predictions.
    """
    pairs = list(zip(meta.profile.names, predictions, strict=True))
    return pairs if meta.kind == "number" else sorted(pairs, key=lambda pair: -pair[1])[:most]

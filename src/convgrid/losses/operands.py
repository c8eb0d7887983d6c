"""The two operands of a loss, brought to one type and shape."""

from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-7  # Keras' backend epsilon: the least that a logarithm or a denominator sees


def widened(predictions: Tensor, *, steep: bool = False) -> Tensor:
    """Take halves to float32, in which squares of 1e4 and epsilons of 1e-7 exist; other types stay.

    Args:
        predictions: Any shape, floating.
        steep: Whether the loss can be steeper than 65504, the largest float16. The gradient then ends there: one that
            overflows is NaN after the next multiplication by 0. Other losses overflow only when a gradient scaler
            scales too far, which it has to see.

    Returns:
        The shape of the predictions, float32 or float64.

    Example:
        >>> widened(torch.tensor([1e4], dtype=torch.float16)) ** 2
        tensor([100000000.])
    """
    if steep and predictions.dtype == torch.float16:
        return _Saturating.apply(predictions)
    return predictions.float() if predictions.dtype in (torch.float16, torch.bfloat16) else predictions


def paired(predictions: Tensor, targets: Tensor, *, steep: bool = False) -> tuple[Tensor, Tensor]:
    """Bring targets to the type and shape of the widened predictions.

    Args:
        predictions: Shape (B, T).
        targets: Shape (B, T), or (B,) where T is 1; of any type.
        steep: As in `widened`.

    Returns:
        Both of shape (B, T) and the same type.

    Raises:
        ValueError: If the shapes differ otherwise: broadcasting them would give a number that means nothing.

    Example:
        >>> paired(torch.tensor([[0.5], [0.1]]), torch.tensor([1, 0]))[1]
        tensor([[1.],
                [0.]])
    """
    if predictions.shape[-1] == 1 and targets.dim() == predictions.dim() - 1:
        targets = targets.unsqueeze(-1)
    if targets.shape != predictions.shape:
        raise ValueError(f"targets of shape {tuple(targets.shape)} do not go with {tuple(predictions.shape)} scores.")
    wide = widened(predictions, steep=steep)
    return wide, targets.to(wide.dtype)


class _Saturating(torch.autograd.Function):
    """Float16 to float32, with a gradient that ends at the largest float16."""

    generate_vmap_rule = True

    @staticmethod
    def forward(half: Tensor) -> Tensor:
        return half.float()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing is kept: the gradient needs no input."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        most = torch.finfo(torch.float16).max
        return gradient.clamp(-most, most).half()

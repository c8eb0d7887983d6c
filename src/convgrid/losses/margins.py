"""Losses that want scores right by a margin, and no more than that.

Shapes: B batch, U output units, C classes.
"""

import torch
from torch import Tensor

from convgrid.losses.operands import paired


def hinge(predictions: Tensor, targets: Tensor) -> Tensor:
    """Charge scores for what they lack of the target's side, with a margin of 1.

    Mean over U of max(1 - t p, 0).

    Args:
        predictions: Scores, shape (B, U).
        targets: -1 or 1; or 0 or 1 throughout the batch, which mean the same; shape (B, U).

    Returns:
        One value an example, in the scores' unit, shape (B,).

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> hinge(torch.tensor([[0.5], [0.5], [2.0]]), torch.tensor([[1.0], [-1.0], [1.0]]))
        tensor([0.5000, 1.5000, 0.0000])

    Source: keras.losses.hinge.
    """
    return _shortfalls(predictions, targets).mean(-1)


def squared_hinge(predictions: Tensor, targets: Tensor) -> Tensor:
    """Charge scores for what they lack of the target's side, squared.

    Mean over U of max(1 - t p, 0)^2.

    Args:
        predictions: Scores, shape (B, U).
        targets: -1 or 1; or 0 or 1 throughout the batch, which mean the same; shape (B, U).

    Returns:
        One value an example, in the scores' unit squared, shape (B,).

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> squared_hinge(torch.tensor([[0.5], [0.5], [2.0]]), torch.tensor([[1.0], [-1.0], [1.0]]))
        tensor([0.2500, 2.2500, 0.0000])

    Source: keras.losses.squared_hinge.
    """
    return _shortfalls(predictions, targets).square().mean(-1)


def categorical_hinge(predictions: Tensor, targets: Tensor) -> Tensor:
    """Charge the true class for what its score lacks of 1 above the best other.

    max(1 + max over C of (1 - t) p - sum over C of t p, 0). The true class takes part in the first maximum with 0, so
    that others below 0 count as 0.

    Args:
        predictions: Scores, shape (B, C).
        targets: One-hot rows, shape (B, C).

    Returns:
        One value an example, in the scores' unit, shape (B,).

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> categorical_hinge(torch.tensor([[2.0, 1.5, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
        tensor([0.5000])

    Source: keras.losses.categorical_hinge.
    """
    predictions, targets = paired(predictions, targets)
    true = (targets * predictions).sum(-1)
    other = ((1 - targets) * predictions).amax(-1)
    return _positive(other - true + 1)


def _shortfalls(predictions: Tensor, targets: Tensor) -> Tensor:
    predictions, targets = paired(predictions, targets)
    binary = ((targets == 0) | (targets == 1)).all()  # of all ones, 2t - 1 is t
    return _positive(1 - torch.where(binary, 2 * targets - 1, targets) * predictions)


def _positive(x: Tensor) -> Tensor:
    return torch.maximum(x, x.new_zeros(()))  # its gradient at 0 is 1/2, as Keras'; clamp's is 1, relu's 0

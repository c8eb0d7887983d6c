"""Losses for numbers: how far predictions are from targets.

Shapes: B batch, T target columns.
"""

import math

from torch import Tensor
from torch.nn import functional

from convgrid.losses.operands import EPSILON, paired


def mean_squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Average the squared errors.

    Mean over T of (p - t)^2.

    Args:
        predictions: Shape (B, T).
        targets: Shape (B, T).

    Returns:
        One value an example, in the targets' unit squared, shape (B,).

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> mean_squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
        tensor([2.])

    Source: keras.losses.mean_squared_error.
    """
    predictions, targets = paired(predictions, targets)
    return (predictions - targets).square().mean(-1)


def mean_absolute_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Average the absolute errors.

    Mean over T of |p - t|.

    Args:
        predictions: Shape (B, T).
        targets: Shape (B, T).

    Returns:
        One value an example, in the targets' unit, shape (B,).

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> mean_absolute_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
        tensor([1.])

    Source: keras.losses.mean_absolute_error.
    """
    predictions, targets = paired(predictions, targets)
    return (predictions - targets).abs().mean(-1)


def mean_absolute_percentage_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Average the absolute errors in percent of the targets.

    100 times the mean over T of |p - t| / max(|t|, 1e-7). A target of 0 therefore costs 1e9 times the error: finite,
    but nothing to train on.

    Args:
        predictions: Shape (B, T).
        targets: Shape (B, T), not 0.

    Returns:
        One value an example in percent, shape (B,).

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> mean_absolute_percentage_error(torch.tensor([[3.0]]), torch.tensor([[4.0]]))
        tensor([25.])

    Source: keras.losses.mean_absolute_percentage_error.
    """
    predictions, targets = paired(predictions, targets, steep=True)
    return 100 * ((predictions - targets) / targets.abs().clamp(min=EPSILON)).abs().mean(-1)


def mean_squared_logarithmic_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Average the squared errors of the logarithms, so that a factor costs the same at any size.

    Mean over T of (log(1 + p) - log(1 + t))^2, with p and t at least 1e-7; below that the gradient is 0.

    Args:
        predictions: Positive, shape (B, T).
        targets: 0 or above, shape (B, T).

    Returns:
        One value an example, no unit, shape (B,).

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> mean_squared_logarithmic_error(torch.tensor([[1.0], [100.0]]), torch.tensor([[3.0], [201.0]]))
        tensor([0.4805, 0.4805])

    Source: keras.losses.mean_squared_logarithmic_error.
    """
    predictions, targets = paired(predictions, targets)
    return (predictions.clamp(min=EPSILON).log1p() - targets.clamp(min=EPSILON).log1p()).square().mean(-1)


def logcosh(predictions: Tensor, targets: Tensor) -> Tensor:
    """Square small errors and take large ones as they are.

    Mean over T of log(cosh(p - t)), computed as x + log(1 + exp(-2x)) - log 2, which does not overflow.

    Args:
        predictions: Shape (B, T).
        targets: Shape (B, T).

    Returns:
        One value an example, about |p - t| - log 2 for large errors, shape (B,).

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> logcosh(torch.tensor([[1.0], [50.0]]), torch.tensor([[0.0], [0.0]]))
        tensor([ 0.4338, 49.3069])

    Source: keras.losses.log_cosh.
    """
    predictions, targets = paired(predictions, targets)
    errors = predictions - targets
    return (errors + functional.softplus(-2 * errors) - math.log(2)).mean(-1)


def poisson(predictions: Tensor, targets: Tensor) -> Tensor:
    """Score rates by how likely they make the counts, up to a constant of the counts.

    Mean over T of p - t log(p + 1e-7). Rates below 0, where Keras gives NaN, count as 0 and have no gradient.

    Args:
        predictions: Rates, 0 or above, shape (B, T).
        targets: Counts, 0 or above, shape (B, T).

    Returns:
        One value an example in nats, least at p = t, shape (B,).

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> poisson(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0]]))
        tensor([1.5000])

    Source: keras.losses.poisson.
    """
    predictions, targets = paired(predictions, targets, steep=True)
    rates = predictions.clamp(min=0)
    return (rates - targets * (rates + EPSILON).log()).mean(-1)


def cosine_proximity(predictions: Tensor, targets: Tensor) -> Tensor:
    """Minus the cosine of the angle between prediction and target: -1 where they point the same way.

    - sum over T of p t / (|p| |t|), with lengths of at least 1e-7; a vector of zeros gives 0.

    Args:
        predictions: Shape (B, T), with T of 2 or more.
        targets: Shape (B, T).

    Returns:
        One value in [-1, 1] an example, shape (B,).

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> cosine_proximity(torch.tensor([[2.0, 0.0], [3.0, 4.0]]), torch.tensor([[5.0, 0.0], [0.0, 1.0]]))
        tensor([-1.0000, -0.8000])

    Source: keras.losses.cosine_similarity.
    """
    predictions, targets = paired(predictions, targets, steep=True)
    return -(_unit(predictions) * _unit(targets)).sum(-1)


def _unit(vectors: Tensor) -> Tensor:
    # Bounding the square, not its root: the root's gradient at 0 is infinite, and Keras' there NaN.
    return vectors * vectors.square().sum(-1, keepdim=True).clamp(min=EPSILON**2).rsqrt()

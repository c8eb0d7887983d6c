"""What is optimised: one value an example, meaning what Keras' loss of the same name means.

Shapes: B batch, C classes, T target columns. Predictions are probabilities, or scores where `from_logits` is true.
"""

from torch import Tensor
from torch.nn import functional

from convgrid.errors import ConfigError

EPSILON = 1e-7  # Keras' backend epsilon: the least probability that a logarithm sees


def mean_squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Average the squared errors: mean over T of (p - t)^2.

    Args:
        predictions: Shape (B, T).
        targets: Shape (B, T).

    Returns:
        One value an example, in the targets' unit squared, shape (B,).

    Example:
        >>> import torch
        >>> mean_squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
        tensor([2.])

    Source: keras.losses.mean_squared_error.
    """
    return (predictions - targets).square().mean(-1)


def categorical_crossentropy(
    predictions: Tensor, targets: Tensor, *, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy against a distribution: - sum over C of t log p, in nats.

    Smoothing by s replaces t by (1 - s) t + s / C. Probabilities are first divided by their sum. Classes give the same
    as one-hot rows, faster.

    Args:
        predictions: Probabilities, or scores, shape (B, C).
        targets: Distributions over the classes, shape (B, C); or classes in [0, C), shape (B,), int64.
        from_logits: Whether the predictions are scores.
        label_smoothing: Share of the target spread evenly over the classes, in [0, 1].

    Returns:
        One value an example in nats, shape (B,).

    Raises:
        ConfigError: If label_smoothing is not in [0, 1].

    Example:
        >>> import torch
        >>> categorical_crossentropy(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.6931])

    Source: keras.losses.categorical_crossentropy.
    """
    if not 0 <= label_smoothing <= 1:
        raise ConfigError(f"loss.label_smoothing={label_smoothing} must be in [0, 1]: it is a share of the target.")
    log_probabilities = _log_probabilities(predictions, from_logits)
    if targets.dim() == log_probabilities.dim():
        losses = -(targets * log_probabilities).sum(-1)
    else:
        losses = functional.nll_loss(log_probabilities, targets, reduction="none")
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * log_probabilities.mean(-1)
    return losses


def sparse_categorical_crossentropy(predictions: Tensor, targets: Tensor, *, from_logits: bool = False) -> Tensor:
    """Cross-entropy against a class: - log p[t], in nats.

    Args:
        predictions: Probabilities, or scores, shape (B, C).
        targets: Classes in [0, C), shape (B,), int64.
        from_logits: Whether the predictions are scores.

    Returns:
        One value an example in nats, shape (B,).

    Example:
        >>> import torch
        >>> sparse_categorical_crossentropy(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
        tensor([0.6931])

    Source: keras.losses.sparse_categorical_crossentropy.
    """
    return functional.nll_loss(_log_probabilities(predictions, from_logits), targets, reduction="none")


def _log_probabilities(predictions: Tensor, from_logits: bool) -> Tensor:
    if from_logits:
        return predictions.log_softmax(-1)
    probabilities = predictions / predictions.sum(-1, keepdim=True)
    return probabilities.clamp(EPSILON, 1 - EPSILON).log()

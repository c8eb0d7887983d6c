"""Losses for probabilities of classes, in nats.

Shapes: B batch, C classes, U output units. Predictions are probabilities, or scores where `from_logits` is true: those
are exact at any size, while a probability below 1e-7 counts as 1e-7 and has no gradient.
"""

from torch import Tensor
from torch.nn import functional

from convgrid.errors import ConfigError
from convgrid.losses.operands import EPSILON, paired, widened


def categorical_crossentropy(
    predictions: Tensor, targets: Tensor, *, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy against a distribution over classes.

    - sum over C of t log p. Smoothing by s replaces t by (1 - s) t + s / C. Classes give the same as one-hot rows,
    faster. Probabilities are first divided by their sum.

    Args:
        predictions: Probabilities, or scores, shape (B, C).
        targets: Distributions over the classes, shape (B, C); or classes in [0, C), shape (B,).
        from_logits: Whether the predictions are scores.
        label_smoothing: Share of the target spread evenly over the classes, in [0, 1].

    Returns:
        One value an example in nats, shape (B,).

    Raises:
        ConfigError: If label_smoothing is not in [0, 1].
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> categorical_crossentropy(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.6931])

    Source: keras.losses.categorical_crossentropy.
    """
    _check_share(label_smoothing)
    log_probabilities = _log_probabilities(predictions, from_logits)
    if targets.dim() < predictions.dim():
        losses = functional.nll_loss(log_probabilities, targets.long(), reduction="none")
    else:
        log_probabilities, targets = paired(log_probabilities, targets)
        losses = -(targets * log_probabilities).sum(-1)
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * log_probabilities.mean(-1)
    return losses


def sparse_categorical_crossentropy(predictions: Tensor, targets: Tensor, *, from_logits: bool = False) -> Tensor:
    """Cross-entropy against a class.

    - log p[t]. Probabilities are first divided by their sum.

    Args:
        predictions: Probabilities, or scores, shape (B, C).
        targets: Classes in [0, C), shape (B,) or (B, 1).
        from_logits: Whether the predictions are scores.

    Returns:
        One value an example in nats, shape (B,).

    Example:
        >>> import torch
        >>> sparse_categorical_crossentropy(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))
        tensor([0.6931])

    Source: keras.losses.sparse_categorical_crossentropy.
    """
    classes = targets.squeeze(-1) if targets.dim() == predictions.dim() else targets
    return functional.nll_loss(_log_probabilities(predictions, from_logits), classes.long(), reduction="none")


def binary_crossentropy(
    predictions: Tensor, targets: Tensor, *, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of each output unit by itself, against yes or no.

    Mean over U of - t log p - (1 - t) log(1 - p). Smoothing by s replaces t by (1 - s) t + s / 2.

    Args:
        predictions: Probabilities, or scores of a sigmoid, shape (B, U).
        targets: 0 or 1, or probabilities, shape (B, U).
        from_logits: Whether the predictions are scores.
        label_smoothing: Share of the target moved to 1/2, in [0, 1].

    Returns:
        One value an example in nats, shape (B,).

    Raises:
        ConfigError: If label_smoothing is not in [0, 1].
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> binary_crossentropy(torch.tensor([[0.5, 0.75]]), torch.tensor([[1.0, 1.0]]))
        tensor([0.4904])

    Source: keras.losses.binary_crossentropy.
    """
    _check_share(label_smoothing)
    predictions, targets = paired(predictions, targets, steep=not from_logits)
    targets = targets * (1 - label_smoothing) + label_smoothing / 2
    if from_logits:
        return functional.binary_cross_entropy_with_logits(predictions, targets, reduction="none").mean(-1)
    # functional.binary_cross_entropy refuses to run under autocast.
    probabilities = predictions.clamp(EPSILON, 1 - EPSILON)
    return -(targets * probabilities.log() + (1 - targets) * (-probabilities).log1p()).mean(-1)


def kullback_leibler_divergence(predictions: Tensor, targets: Tensor, *, from_logits: bool = False) -> Tensor:
    """What the predicted distribution costs beyond the target's own entropy.

    Sum over C of t log(t / p), with t and p in [1e-7, 1]. Keras has no from_logits here: of scores, log p is
    log-softmax, unbounded, so that it has a gradient where the softmax is 0.

    Args:
        predictions: Probabilities, or scores, shape (B, C).
        targets: Distributions over the classes, shape (B, C).
        from_logits: Whether the predictions are scores.

    Returns:
        One value an example in nats, shape (B,).

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> kullback_leibler_divergence(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.6931])

    Source: keras.losses.kl_divergence.
    """
    predictions, targets = paired(predictions, targets, steep=not from_logits)
    targets = targets.clamp(EPSILON, 1)
    log_probabilities = predictions.log_softmax(-1) if from_logits else predictions.clamp(EPSILON, 1).log()
    return (targets * (targets.log() - log_probabilities)).sum(-1)


def _check_share(label_smoothing: float) -> None:
    if not 0 <= label_smoothing <= 1:
        raise ConfigError(f"loss.label_smoothing={label_smoothing} must be in [0, 1]: it is a share of the target.")


def _log_probabilities(predictions: Tensor, from_logits: bool) -> Tensor:
    if from_logits:
        return widened(predictions).log_softmax(-1)
    probabilities = widened(predictions, steep=True)
    total = probabilities.sum(-1, keepdim=True)
    # A sum of 0, which is NaN in Keras, divides nothing.
    return (probabilities / total.where(total != 0, 1)).clamp(EPSILON, 1 - EPSILON).log()

"""The pair of loss and task at work: scores and targets to losses, predictions and metrics.

Shapes: B batch, C classes, T target columns, U output units.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from convgrid.targets import Fit, Task


class Objective(nn.Module):
    """What a network's scores are optimised for, and what they mean in the data's units.

    Args:
        loss: From (predictions or scores, targets) to one value an example.
        task: Of the data.
        fit: How the loss goes with the task.
        targets: The training split's, which a scale is fitted on; classes (B,) or numbers (B, T).

    Example:
        >>> from convgrid.losses import mean_squared_error
        >>> from convgrid.targets import fit
        >>> prices = torch.tensor([[100.0], [300.0]])
        >>> objective = Objective(mean_squared_error, "regression", fit("mean_squared_error", "regression"), prices)
        >>> objective.predictions(torch.tensor([[1.0]]))
        tensor([[300.]])
    """

    def __init__(self, loss: Callable[..., Tensor], task: Task, fit: Fit, targets: Tensor) -> None:
        super().__init__()
        self.loss, self.fit = loss, fit
        self.task: Task = task
        if fit.form == "standardize":
            spread = targets.std(0, correction=0)
            self.register_buffer("mean", targets.mean(0))
            self.register_buffer("std", torch.where(spread > 0, spread, 1.0))

    def losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        """What is optimised, one value an example.

        Args:
            scores: Shape (B, U).
            targets: The data's, classes (B,) or numbers (B, T).

        Returns:
            Shape (B,).
        """
        encoded = self._encode(targets, scores)
        if self.fit.from_scores:
            return self.loss(scores, encoded, from_logits=True)
        return self.loss(self._link(scores), encoded)

    def predictions(self, scores: Tensor) -> Tensor:
        """Turn scores into probabilities (B, C), or numbers in the data's units (B, T).

        Args:
            scores: Shape (B, U).

        Returns:
            Shape (B, C) or (B, T).
        """
        linked = self._link(scores)
        return linked * self._buffer("std") + self._buffer("mean") if self.fit.form == "standardize" else linked

    def metric(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Whether each image is classified correctly, or its mean absolute error in the data's units.

        Args:
            scores: Shape (B, U).
            targets: The data's, classes (B,) or numbers (B, T).

        Returns:
            One value an image; their mean is the metric that `convgrid.targets.METRICS` names. Shape (B,).
        """
        predictions = self.predictions(scores)
        if self.task == "classification":
            return (predictions.argmax(-1) == targets).float()
        return (predictions - targets).abs().mean(-1)

    def _encode(self, targets: Tensor, scores: Tensor) -> Tensor:
        match self.fit.form:
            case "one_hot":
                return functional.one_hot(targets, scores.shape[-1]).to(scores.dtype)
            case "standardize":
                return (targets - self._buffer("mean")) / self._buffer("std")
            case "index":
                return targets

    def _link(self, scores: Tensor) -> Tensor:
        return scores.softmax(-1) if self.fit.link == "softmax" else scores

    def _buffer(self, name: str) -> Tensor:
        return cast(Tensor, self.get_buffer(name))

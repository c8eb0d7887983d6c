"""The pair of loss and task at work: scores and targets to losses and predictions.

Shapes: B batch, C classes or labels, T target columns, U output units.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from convgrid.losses import categorical_crossentropy, sparse_categorical_crossentropy
from convgrid.objective.fit import Fit, Task
from convgrid.scales import Mean, Scale, Standardize

SCALES = {"standardize": Standardize, "mean": Mean}


class Objective(nn.Module):
    """What a network's scores are optimised for, and what they mean in the data's units.

    Args:
        loss: From (predictions or scores, targets) to one value an example; one that takes scores and has an argument
            `from_logits` is told so by it.
        fit: How the loss goes with the task.
        targets: The training split's, which a scale is fitted on; classes (B,), labels (B, C) or numbers (B, T).
        make_scale: Fits a scale of numbers to predict; None takes the one that suits the loss.
        class_weights: What the loss of each class counts in training; None for all alike.

    Raises:
        DataError: If the scale cannot take the targets.

    Example:
        >>> from convgrid.losses import mean_squared_error
        >>> from convgrid.objective.fit import fit
        >>> prices = torch.tensor([[100.0], [300.0]])
        >>> objective = Objective(mean_squared_error, "regression", fit("mean_squared_error", "regression"), prices)
        >>> objective.predictions(torch.tensor([[1.0]]))
        tensor([[300.]])
    """

    class_weights: Tensor | None

    def __init__(
        self,
        loss: Callable[..., Tensor],
        task: Task,
        fit: Fit,
        targets: Tensor,
        make_scale: Callable[[Tensor], nn.Module] | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.loss = partial(loss, from_logits=True) if fit.from_scores and _takes_from_logits(loss) else loss
        self.fit = fit
        self.task: Task = task
        if fit.form == "numbers":
            self.scale = (make_scale or SCALES[fit.scale])(targets)
        # Not among the weights of checkpoints and models: it is fitted on the same data again, and predicts nothing.
        weights = None if class_weights is None else torch.tensor(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def losses(self, scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """What is optimised, one value an example: its loss times its weight and, in training mode, that of its class.

        Their plain mean, sum(weight * loss) / B, is Keras' of `sample_weight` and `class_weight`.

        Args:
            scores: Shape (B, U).
            targets: The data's, classes (B,), labels (B, C) or numbers (B, T).
            weights: The data's, shape (B,); None for all alike.

        Returns:
            Shape (B,).

        Source: keras.Model.fit and evaluate.
        """
        losses = self._unweighted(scores, targets)
        if self.training and self.class_weights is not None:
            losses = losses * self.class_weights[targets]
        return losses if weights is None else losses * weights

    @property
    def is_crossentropy(self) -> bool:
        """Whether a loss is - log softmax(scores)[class], whatever the class."""
        function, options = _unwrapped(self.loss)
        return (
            function in (categorical_crossentropy, sparse_categorical_crossentropy)
            and self.fit.from_scores
            and not options.get("label_smoothing", 0)
            and self.fit.form == "index"
            and self.class_weights is None
        )

    def _unweighted(self, scores: Tensor, targets: Tensor) -> Tensor:
        if self.fit.in_units:
            return self.loss(self.predictions(scores), targets)
        encoded = self._encode(targets, scores)
        return self.loss(scores if self.fit.from_scores else self._link(scores), encoded)

    def predictions(self, scores: Tensor) -> Tensor:
        """Turn scores into one value a class or label, probabilities where the link gives them, or into numbers.

        Args:
            scores: Shape (B, U).

        Returns:
            Shape (B, C), or (B, T) in the data's units.
        """
        linked = self._link(scores)
        if self.fit.form == "numbers":
            return self._scale().decode(linked)
        if self.fit.one_unit and linked.shape[-1] == 1:
            return torch.cat((1 - linked if self.fit.link == "sigmoid" else -linked, linked), -1)
        return linked

    def _encode(self, targets: Tensor, scores: Tensor) -> Tensor:
        match self.fit.form:
            case "index":
                return targets
            case "numbers":
                return self._scale().encode(targets).float()  # after it is scaled: times in seconds need float64
            case form:
                rows = self._rows(targets, scores.shape[-1]).to(scores.dtype)
                return 2 * rows - 1 if form == "signs" else rows

    def _rows(self, targets: Tensor, units: int) -> Tensor:
        """0 and 1 for each unit, (B, U)."""
        if self.task == "multilabel":
            return targets
        return targets.unsqueeze(-1) if units == 1 else functional.one_hot(targets, units)

    def _link(self, scores: Tensor) -> Tensor:
        match self.fit.link:
            case "identity":
                return scores
            case "softmax":
                return scores.softmax(-1)
            case "sigmoid":
                return scores.sigmoid()
            case "softplus":
                return functional.softplus(scores)

    def _scale(self) -> Scale:
        return cast(Scale, self.scale)


def _unwrapped(function: Callable[..., Tensor]) -> tuple[Callable[..., Tensor], dict[str, object]]:
    """A function and what partials set of it: Python joins two of them only while nobody has looked at `__dict__`."""
    options: dict[str, object] = {}
    while isinstance(function, partial):
        function, options = function.func, {**function.keywords, **options}
    return function, options


def _takes_from_logits(loss: Callable[..., Tensor]) -> bool:
    try:
        return "from_logits" in inspect.signature(loss).parameters
    except ValueError:  # some of torch's built-ins have no signature
        return False

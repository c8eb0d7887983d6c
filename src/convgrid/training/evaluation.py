"""What a predictor makes of a whole part of the data: metrics, confusions, examples, and what it predicts worst.

Losses and predictions stay on the device until the part has been seen, and leave it once.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, cast

import torch
from torch import Tensor

from convgrid.augment import Augment
from convgrid.data import Chunk, ImageData, pick_examples
from convgrid.objective.metrics import confusion, evaluate, measurable
from convgrid.objective.predictor import Behind, Predictor
from convgrid.system.seeding import derive
from convgrid.training.recipe import Recipe
from convgrid.training.worst import Worst, find_worst

AugmentedView = Callable[[Tensor, Tensor], Tensor]  # of images and targets


class Evaluation:
    """Sees a part chunk by chunk, then measures it.

    Args:
        predictor: In evaluation mode while it is asked.

    Attributes:
        confusions: Of classes, the images of "val" and "test" by class and by prediction, (C, C).
        examples: A few validation images, and what was predicted of them the last time.
        worst: The test images that are predicted worst.
    """

    def __init__(self, predictor: Predictor | Behind, data: ImageData) -> None:
        self._predictor, self._data = predictor, data
        self.confusions: dict[str, Tensor] = {}
        self.examples: dict[str, Tensor] = {}
        self.worst: Worst | None = None

    def begin(self, views: Sequence[AugmentedView] = ()) -> None:
        """Start with a part.

        Args:
            views: Of its images, whose predictions are averaged with that of the image itself.
        """
        self._views = views
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def see(self, chunk: Chunk) -> None:
        """Predict a chunk, whose loss is that of the images as they are."""
        objective = self._predictor.objective
        for images, targets, weights in chunk:
            scores = self._predictor.scores(images).float()
            predictions = self._averaged(objective.predictions(scores), images, targets)
            self._seen.append((objective.losses(scores, targets, weights), predictions, targets))

    def finish(self, part: Literal["val", "test"]) -> dict[str, float]:
        """Measure all that was seen.

        Returns:
            By name, such as "val/accuracy".
        """
        losses, predictions, targets = map(torch.cat, zip(*self._seen, strict=True))
        self._seen.clear()
        task, row = self._predictor.objective.task, self._predictor.objective.fit
        if task == "classification":
            self.confusions[part] = confusion(predictions, targets).cpu()
        if part == "val":
            places, images = self._examples
            self.examples = {"images": images, "predictions": predictions[places.to(predictions.device)].cpu()}
        else:
            self.worst = find_worst(predictions, targets, task, row)
        names = measurable(task, row, self._data.num_classes, self._targets(part))
        found = {"loss": losses.double().mean().item(), **evaluate(names, task, row, predictions, targets)}
        return {f"{part}/{name}": value for name, value in found.items()}

    @cached_property
    def _examples(self) -> tuple[Tensor, Tensor]:
        return pick_examples(self._data.validation)

    def _targets(self, part: Literal["val", "test"]) -> Tensor:
        split = self._data.validation if part == "val" else self._data.test
        assert split is not None
        return split.targets

    def _averaged(self, predictions: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """The mean of what is predicted of the images and of their views."""
        views = (self._predictor.scores(view(images, targets)).float() for view in self._views)
        return sum(map(self._predictor.objective.predictions, views), predictions) / (1 + len(self._views))


def make_views(recipe: Recipe, device: torch.device) -> list[AugmentedView]:
    """Make the views of test images beside the image itself.

    Returns:
        One each for `trainer.test_views` above 1, with draws of its own: more views leave the first ones as they are.
    """
    return [_view(recipe, device, number) for number in range(1, recipe.test_views)]


def _view(recipe: Recipe, device: torch.device, number: int) -> AugmentedView:
    augment = cast(Augment, recipe.augment).views()  # the user's own has such a method, too
    draws = torch.Generator(device)
    draws.manual_seed(derive(recipe.seed, "test views", number))
    return lambda images, targets: augment(images, targets, draws)[0]

"""What the settings name for a training: found and bound once, and tried before data is read."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property, wraps
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from convgrid.config import Settings, component, fit_of
from convgrid.errors import ConfigError, gather, refuse
from convgrid.objective.fit import Fit, Task, num_outputs
from convgrid.objective.objective import Objective
from convgrid.optimizers import ELEMENTWISE
from convgrid.schedules import Progress
from convgrid.system.device import check_precision, find_device


class Components:
    """Functions and classes with the config's values set, each bound when it is first asked for.

    What makes a module or an object (`make_...`) is called anew for each use: one that was tried is not trained.

    Args:
        settings: Name them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def make_optimizer(self) -> Callable[[list[dict[str, Any]]], torch.optim.Optimizer]:
        """From parameter groups to an optimizer."""
        return self._bound("optimizer")

    @cached_property
    def schedule(self) -> Callable[[Progress], float]:
        """From a `Progress` to a factor on the learning rate."""
        return self._bound("schedule")

    @cached_property
    def loss(self) -> Callable[..., Tensor]:
        """From (predictions or scores, targets) to one value an example."""
        return self._bound("loss")

    @cached_property
    def make_scale(self) -> Callable[[Tensor], nn.Module] | None:
        """Fits what `target` names; None takes the scale that suits the loss."""
        return self._bound("target") if component(self._settings, "target") else None

    @cached_property
    def make_augment(self) -> Callable[[], Any] | None:
        """Gives what changes images; None where nothing does."""
        return self._bound("augment") if component(self._settings, "augment") else None

    def is_elementwise(self) -> bool:
        """Whether the optimizer treats every number by itself."""
        chosen = component(self._settings, "optimizer")
        return chosen is not None and chosen.target in ELEMENTWISE

    def fit(self, task: Task, count: int | None = None) -> Fit:
        """How the loss goes with a task.

        Args:
            task: The data's, which only the data tells for certain.
            count: Classes, labels, or columns of numbers; None where only the data tells.

        Raises:
            ConfigError: If they do not go together.
        """
        return fit_of(self._settings, task, count)

    def check(self) -> None:
        """Use every component once on next to nothing, so that a value out of its range is told before data is read.

        Raises:
            ConvgridError: With all that the components refuse.
        """
        trainer = self._settings.trainer
        uses: list[Callable[[], object]] = [
            lambda: check_precision(trainer.precision, find_device(trainer.accelerator)),
            self._try_optimizer,
            self._try_schedule,
            self._try_activation,
            self._try_loss,
            self._try_augment,
            self._try_dropout,
        ]
        refuse(gather(uses))

    def _bound(self, group: str) -> Callable[..., Any]:
        found = component(self._settings, group)
        assert found is not None
        return found.bind()

    def _task(self) -> Task:
        return self._settings.data.task

    def _try_optimizer(self) -> None:
        groups = [{"params": [torch.zeros(1)], "kernels": True}]
        self._try("optimizer", lambda: self.make_optimizer(groups), torch.optim.Optimizer)

    def _try_schedule(self) -> None:
        epochs = self._settings.trainer.max_epochs
        self._try("schedule", lambda: self.schedule(Progress(0, 1, epochs, ())), float, Real, Tensor)

    def _try_activation(self) -> None:
        self._try("activation", lambda: self._bound("activation")(torch.zeros(1, 1)), Tensor)

    def _try(self, group: str, use: Callable[[], object], *kinds: type) -> Any:
        """Whatever comes of a function or class that is not what the group is made of, say so in a line."""
        found = component(self._settings, group)
        assert found is not None
        with found.blamed():
            made = use()
        return found.checked(made, *kinds)

    def _try_augment(self) -> None:
        if self.make_augment is None:
            return
        made = self._try("augment", self.make_augment, object)
        name, shape = self._settings.choices["augment"], self._settings.data.shape
        images = torch.zeros(2, *shape, dtype=torch.uint8)
        targets = torch.zeros(2, dtype=torch.int64) if self._task() == "classification" else torch.zeros(2, 1)
        pair = self._try("augment", lambda: made(images, targets, torch.Generator()), tuple)
        changed = self._try("augment", lambda: (lambda changed, _targets: changed)(*pair), Tensor)
        if changed.shape != images.shape or changed.dtype not in (torch.uint8, torch.float32):
            kind = f"{changed.dtype} of shape {list(changed.shape)}".removeprefix("torch.")
            raise ConfigError(
                f"augment={name} makes {kind} of {list(images.shape)}. It must keep the shape, in float32."
            )
        views = self._settings.trainer.test_views
        if views > 1 and not hasattr(made, "views"):
            raise ConfigError(
                f"trainer.test_views={views} needs a method views, and augment={name} has none. Leave it out."
            )
        if views > 1:
            self._try("augment", made.views, object)
        self._try_kept_views(made, name)

    def _try_kept_views(self, made: Any, name: str) -> None:
        """Views are kept of single images, which nothing of others may be mixed into."""
        views = self._settings.data.views
        if views and not hasattr(made, "views"):
            raise ConfigError(f"data.views={views} needs a method views, and augment={name} has none. Leave it out.")
        if views and self._try("augment", made.views, object) != made:
            raise ConfigError(
                f"data.views={views} keeps each image by itself, and augment={name} hides parts or mixes images. "
                "Leave out cutout, mixup and cutmix."
            )

    def _try_loss(self) -> None:
        task, name = self._task(), self._settings.choices["loss"]
        row = self.fit(task)
        count = max(2, row.least_outputs)
        targets = torch.zeros(2, dtype=torch.int64) if task == "classification" else torch.ones(2, count)
        scores = torch.zeros(2, num_outputs(row, count))
        scale, make_scale = component(self._settings, "target"), self.make_scale

        @wraps(self.loss)  # whose arguments decide what it is given
        def loss(*given: Any, **options: Any) -> Tensor:
            return self._try("loss", lambda: self.loss(*given, **options), Tensor)

        with nullcontext() if scale is None else scale.blamed():
            objective = Objective(loss, task, row, targets, make_scale)
            objective.predictions(scores)
            found = objective.losses(scores, targets)
        if found.shape != (2,):
            raise ConfigError(
                f"loss={name} gives {list(found.shape)} values for 2 examples. It must give one value an example: "
                "average over an example's outputs, not over the batch."
            )

    def _try_dropout(self) -> None:
        if component(self._settings, "layer/dropout") is None:
            return
        made: nn.Module = self._try("layer/dropout", self._bound("layer/dropout"), nn.Module)
        if not any(hasattr(module, "generator") for module in made.modules()):
            raise ConfigError(
                f"layer/dropout={self._settings.choices['layer/dropout']} has no attribute generator. Set it to None "
                "and draw from it: the training puts one there for each epoch, so that a run can be repeated and "
                "resumed."
            )

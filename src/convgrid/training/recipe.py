"""How to train, in plain values and functions: all that a learner needs of the settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convgrid.augment import Mixed
from convgrid.runs.trial import best_epoch
from convgrid.schedules import Progress

Augmentation = Callable[[Tensor, Tensor | None, torch.Generator], tuple[Tensor, Tensor | Mixed | None]]
History = Sequence[Mapping[str, float]]  # the metrics of each finished epoch


@dataclass(frozen=True)
class Recipe:
    """How to train: what the groups `optimizer`, `schedule`, `trainer` and the keys beside them say.

    Args:
        make_optimizer: From parameter groups to an optimizer.
        schedule: From a `Progress` to a factor on the learning rate.
        batch_size: Images an optimizer step.
        seed: Key of every draw.
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".
        patience: Epochs without improvement after which training stops; 0 never stops early.
        gradient_clip_norm: Largest global norm of the gradient; 0 does not clip.
        l1: Weight of the kernels' sum of absolute values in `train/loss`.
        l2: Weight of the kernels' sum of squares in `train/loss`.
        augment: From images, targets and a generator to augmented ones; None leaves them.
        accumulate: Parts that a batch is divided into, whose gradients add up, where memory is short.
        balanced: Whether an epoch's images are drawn with replacement, every class equally often.
        test_views: Views of each test image whose predictions are averaged; the first is the image itself.
        precision: As Lightning's: "32-true", "bf16-mixed", "16-mixed".
        detect_anomaly: Whether the way back is searched for the operation that made a NaN.
        is_flat: Whether the optimizer may step on all weights as one tensor: it treats every number by itself, and no
            layer gives its parameters other tensors or takes their gradients.
        frozen: Names of the layers that are not trained.
        loaded: Names of the layers that weights were loaded into, frozen ones included.
        loaded_lr: Factor on the learning rate of the loaded layers.
        freeze_epochs: Epochs at first in which the loaded layers are not trained.
    """

    make_optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
    schedule: Callable[[Progress], float]
    batch_size: int
    max_epochs: int
    seed: int
    metric: str
    mode: str
    patience: int = 0
    gradient_clip_norm: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    augment: Augmentation | None = None
    accumulate: int = 1
    balanced: bool = False
    test_views: int = 1
    precision: str = "32-true"
    detect_anomaly: bool = False
    is_flat: bool = False
    frozen: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()
    loaded_lr: float = 1.0
    freeze_epochs: int = 0

    def resting(self, epoch: int) -> tuple[str, ...]:
        """Name the layers that are not trained in an epoch, counted from 0."""
        return (*self.frozen, *self.loaded) if epoch < self.freeze_epochs else self.frozen

    def factors(self, steps: range, steps_per_epoch: int, history: History) -> list[float]:
        """What the schedule makes of the learning rate.

        Args:
            steps: The next ones, counted from the training's first.

        Returns:
            A factor for each step.
        """
        sign = -1 if self.mode == "max" else 1
        to_lower = tuple(sign * metrics[self.metric] for metrics in history)
        return [self.schedule(Progress(step, steps_per_epoch, self.max_epochs, to_lower)) for step in steps]

    def is_patience_over(self, history: History) -> bool:
        """Whether too many epochs have passed since the best one."""
        if not self.patience or not history:
            return False
        return len(history) - 1 - best_epoch(history, self.metric, self.mode) >= self.patience

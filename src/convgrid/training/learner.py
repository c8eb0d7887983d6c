"""A network, an objective and an optimizer become a LightningModule, and a Trainer that fits it.

Lightning costs 1 ms a batch, as much as a small network's step: one Lightning batch is a chunk of many optimizer steps.
"""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from convgrid.augment import Augment, Mixed, mixed_losses
from convgrid.data import Batch, Batches, Chunk, ImageData, Split, batches, pick_examples
from convgrid.errors import TrainingError
from convgrid.network.build import kernels
from convgrid.objective.metrics import confusion, measurable, measure
from convgrid.objective.predictor import Predictor
from convgrid.optimizers import bare_step
from convgrid.runs.trial import BEST, LAST, best_epoch
from convgrid.schedules import Progress
from convgrid.system.seeding import derive
from convgrid.training.checkpoints import LAYOUT, Files, Keep, Send, readable
from convgrid.training.flat import flatten
from convgrid.training.tape import Tape, crossentropy
from convgrid.training.worst import Worst, find_worst

STEPS_PER_CHUNK = 64
EVALUATION_BATCH, EVALUATION_PIXELS = 512, 2**19  # images of 32x32; of larger ones fewer, to save memory

Augmentation = Callable[[Tensor, Tensor | None, torch.Generator], tuple[Tensor, Tensor | Mixed | None]]


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


class Learner(L.LightningModule):
    """Training of one predictor on one data set; nothing in it is global, nothing is logged in a step.

    Args:
        data: What it is trained on.

    Attributes:
        history: One mapping of metrics a finished epoch.
        tested: The metrics of the test part.
        confusions: Of classes, the images of "val" and "test" by class and by prediction, (C, C).
        examples: A few validation images, and what was predicted of them in the last epoch.
        worst: The test images that are predicted worst.
    """

    def __init__(self, predictor: Predictor, data: ImageData, recipe: Recipe) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.predictor, self.data, self.recipe = predictor, data, recipe
        self.kernels = kernels(predictor.network)
        self.drawing = [module for module in predictor.modules() if hasattr(module, "generator")]
        self.flat: list[nn.Parameter] = []  # what the optimizer steps on, where that is not the parameters themselves
        self.history: list[dict[str, float]] = []
        self.tested: dict[str, float] = {}
        self.confusions: dict[str, Tensor] = {}
        self.examples: dict[str, Tensor] = {}
        self.worst: Worst | None = None
        self.steps_done = 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Tell kernels, which may decay, from all others; a group of the optimizer becomes one tensor where it may."""
        decaying = {id(kernel) for kernel in self.kernels}
        others = [parameter for parameter in self.predictor.parameters() if id(parameter) not in decaying]
        groups = [{"params": self.kernels, "kernels": True}, {"params": others, "kernels": False}]
        groups = [group for group in groups if group["params"]]
        optimizer = self.recipe.make_optimizer(groups)
        if self.recipe.is_flat:  # group by group as the optimizer has them, which is one where nothing decays
            self.flat = [flatten(group["params"]) for group in optimizer.param_groups]
            kinds = [group["kernels"] for group in optimizer.param_groups]
            groups = [{"params": [whole], "kernels": kind} for whole, kind in zip(self.flat, kinds, strict=True)]
            optimizer = self.recipe.make_optimizer(groups)
        self._tape = self._recorded()
        self._is_crossentropy = self.recipe.augment is None and self.predictor.objective.is_crossentropy
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]  # what the schedule's factor applies to, kept in checkpoints
        return optimizer

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, in place where they are views of one."""
        for whole in self.flat:
            assert whole.grad is not None
            whole.grad.zero_()
        if not self.flat:
            super().zero_grad(set_to_none)

    def train_dataloader(self) -> Batches:
        """Shuffle by the seed and the number of finished epochs."""
        return self._batches(
            self.data.train,
            self.recipe.batch_size,
            lambda: derive(self.recipe.seed, "shuffle", len(self.history)),
            balanced=self.recipe.balanced,
            prepare=self.predictor.normalised if self.recipe.augment is None else None,
        )

    def val_dataloader(self) -> Batches:
        """Keep the stored order."""
        return self._batches(self.data.validation, self._evaluation_batch())

    def test_dataloader(self) -> Batches:
        """Keep the stored order."""
        assert self.data.test is not None
        return self._batches(self.data.test, self._evaluation_batch())

    def on_train_start(self) -> None:
        """Stop a resumed run at once where its last epoch was the end."""
        self.trainer.should_stop = self._is_patience_over()

    def on_train_epoch_start(self) -> None:
        """Key the draws of dropout and augmentation by this epoch."""
        draws = self._generator("dropout")
        for module in self.drawing:
            setattr(module, "generator", draws)  # noqa: B010  (the user's own module may declare it, too)
        self._augment_draws = self._generator("augment")
        self._train_loss = torch.zeros((), device=self.device)

    def training_step(self, chunk: Chunk, _: int) -> None:
        """Take an optimizer step for every minibatch of a chunk."""
        optimizer, scaler = self._bare_optimizer()
        is_bare = self.recipe.is_flat and not scaler.is_enabled()
        step = bare_step(optimizer) if is_bare else partial(scaler.step, optimizer)
        losses: list[Tensor] = []
        for factor, batch in zip(self._factors(len(chunk)), chunk, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            losses += self._backward(batch, scaler) if self._tape is None else [self._on_tape(batch, self._tape)]
            if self.recipe.gradient_clip_norm:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(self.predictor.parameters(), self.recipe.gradient_clip_norm)
            step()
            scaler.update()
            torch.clear_autocast_cache()  # it would keep this step's weights for the chunk's next steps
        self._train_loss += torch.cat(losses).sum()
        self.steps_done += len(chunk)

    def on_validation_epoch_start(self) -> None:
        """Start to gather, for each batch, losses, predictions and targets."""
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self._views: list[Callable[[Tensor, Tensor], Tensor]] = []

    def validation_step(self, chunk: Chunk, _: int) -> None:
        """Gather a chunk's; they stay on the device."""
        objective = self.predictor.objective
        for images, targets, weights in chunk:
            scores = self.predictor.scores(images).float()
            predictions = self._averaged(objective.predictions(scores), images, targets)
            self._seen.append((objective.losses(scores, targets, weights), predictions, targets))

    def on_validation_epoch_end(self) -> None:
        """Finish an epoch's metrics: the only time that they leave the device."""
        train_loss = self._train_loss.item() / len(self.data.train)
        if not math.isfinite(train_loss):
            raise TrainingError(
                f"train/loss became {train_loss} in epoch {len(self.history) + 1}: the training diverged. "
                "Lower optimizer.lr, add schedule.warmup_epochs=1 or set trainer.gradient_clip_norm=1."
            )
        self.history.append({"train/loss": train_loss, **self._metrics("val", self.data.validation)})
        self.trainer.should_stop = self._is_patience_over()

    def on_test_epoch_start(self) -> None:
        """Likewise, and make the views of test images, each with draws of its own."""
        self.on_validation_epoch_start()
        self._views = [self._view(number) for number in range(1, self.recipe.test_views)]

    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        """Keep the test metrics."""
        assert self.data.test is not None
        self.tested = self._metrics("test", self.data.test)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what a resumed run needs beside weights and optimizer."""
        checkpoint |= {"history": self.history, "steps_done": self.steps_done, "confusions": self.confusions}
        # What a model that is made of this checkpoint is held against; a GPU rounds otherwise than a CPU.
        checkpoint |= {"examples": self.examples, "device": self.device.type, "layout": LAYOUT}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        self.history, self.steps_done = checkpoint["history"], checkpoint["steps_done"]

    @cached_property
    def _examples(self) -> tuple[Tensor, Tensor]:
        return pick_examples(self.data.validation)

    def _backward(self, batch: Batch, scaler: torch.amp.GradScaler) -> list[Tensor]:
        """Add the gradient of a batch's mean loss, part by part where the whole does not fit into memory."""
        parts, size, seen = self.recipe.accumulate, len(batch.images), []
        self.zero_grad()
        for part in (batch,) if parts == 1 else batch.split(math.ceil(size / parts)):
            images, losses_of = self._augmented(part)
            losses = losses_of(self.predictor.network(images))
            if self.recipe.l1 or self.recipe.l2:
                losses = losses + self._penalty()
            scaler.scale(losses).backward(torch.full_like(losses, 1 / size))  # a mean, there and back, costs 25 us
            seen.append(losses.detach())
        return seen

    def _on_tape(self, batch: Batch, tape: Tape) -> Tensor:
        """Write the gradient of a batch's mean loss without autograd, but for that of most losses."""
        images, losses_of = self._augmented(batch)
        scores = tape.forward(images)
        size = len(images)
        if self._is_crossentropy and batch.weights is None:
            losses, gradient = crossentropy(scores, batch.targets, scores.new_full((size,), 1 / size))
        else:
            losses = losses_of(scores.requires_grad_().clone())  # the user's own may change them in place
            (gradient,) = torch.autograd.grad(losses, scores, torch.full_like(losses, 1 / size))
        tape.backward(gradient)
        return losses.detach()

    def _augmented(self, batch: Batch) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """A batch's normalised images, and what makes losses of their scores."""
        predictor, augment = self.predictor, self.recipe.augment
        images, targets, weights = batch
        if augment is None:  # the images come normalised
            return images, lambda scores: predictor.objective.losses(scores, targets, weights)
        images, mixed = augment(images, targets, self._augment_draws)
        assert mixed is not None
        return predictor.normalised(images), lambda scores: mixed_losses(
            partial(predictor.objective.losses, scores), mixed, weights
        )

    def _view(self, number: int) -> Callable[[Tensor, Tensor], Tensor]:
        augment = cast(Augment, self.recipe.augment).views()  # the user's own has such a method, too
        draws = torch.Generator(self.device)
        draws.manual_seed(derive(self.recipe.seed, "test views", number))
        return lambda images, targets: augment(images, targets, draws)[0]

    def _averaged(self, predictions: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """The mean of what is predicted of the images and of their views."""
        views = (self.predictor.scores(view(images, targets)).float() for view in self._views)
        return sum(map(self.predictor.objective.predictions, views), predictions) / (1 + len(self._views))

    def _generator(self, purpose: str) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(derive(self.recipe.seed, purpose, len(self.history)))

    def _is_patience_over(self) -> bool:
        recipe, epochs = self.recipe, len(self.history)
        if not recipe.patience or not epochs:
            return False
        return epochs - 1 - best_epoch(self.history, recipe.metric, recipe.mode) >= recipe.patience

    def _factors(self, num_steps: int) -> list[float]:
        """What the schedule makes of the learning rate in each of the next steps."""
        per_epoch = math.ceil(len(self.data.train) / self.recipe.batch_size)
        steps, history = range(self.steps_done, self.steps_done + num_steps), self._objective_to_lower()
        return [self.recipe.schedule(Progress(step, per_epoch, self.recipe.max_epochs, history)) for step in steps]

    def _recorded(self) -> Tape | None:
        """The network's tape; None where autograd does more than it can, or is not slower."""
        recipe = self.recipe
        others = recipe.l1 or recipe.l2 or recipe.accumulate > 1 or recipe.detect_anomaly
        others = others or any(
            True for _ in self.predictor.objective.parameters()
        )  # the user's own target may have some
        if not recipe.is_flat or others or recipe.precision != "32-true" or self.device.type != "cpu":
            return None
        return Tape.record(self.predictor.network)

    def _objective_to_lower(self) -> tuple[float, ...]:
        """The objective of each epoch, signed so that lower is better."""
        sign = -1 if self.recipe.mode == "max" else 1
        return tuple(sign * metrics[self.recipe.metric] for metrics in self.history)

    def _evaluation_batch(self) -> int:
        """Images that are evaluated at once: no more at a time than memory has for training them, or than pay."""
        pixels = self.predictor.mean[0, 0].numel()
        return max(self.recipe.batch_size, min(EVALUATION_BATCH, EVALUATION_PIXELS // pixels))

    def _batches(
        self,
        split: Split,
        size: int,
        seed: Callable[[], int] | None = None,
        *,
        balanced: bool = False,
        prepare: Callable[[Tensor], Tensor] | None = None,
    ) -> Batches:
        return batches(
            split.to(self.device),
            batch_size=size,
            device=self.device,
            seed=seed,
            steps_per_chunk=STEPS_PER_CHUNK,
            balanced=balanced,
            prepare=prepare,
        )

    def _bare_optimizer(self) -> tuple[torch.optim.Optimizer, torch.amp.GradScaler]:
        """Without Lightning's wrappers, which cost 0.1 ms a step; its scaler (16-mixed), or one that does nothing."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        optimizer = cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False))
        return optimizer, scaler or torch.amp.GradScaler(enabled=False)

    def _penalty(self) -> Tensor | float:
        """Keras' kernel regularisers: l1 sum |w| + l2 sum w^2."""
        l1, l2 = self.recipe.l1, self.recipe.l2
        penalty = l1 * sum(kernel.abs().sum() for kernel in self.kernels) if l1 else 0.0
        return penalty + l2 * sum(kernel.square().sum() for kernel in self.kernels) if l2 else penalty

    def _metrics(self, part: str, split: Split) -> dict[str, float]:
        """All of a part's; only now do they leave the device."""
        losses, predictions, targets = map(torch.cat, zip(*self._seen, strict=True))
        self._seen.clear()
        task, row = self.predictor.objective.task, self.predictor.objective.fit
        if task == "classification":
            self.confusions[part] = confusion(predictions, targets).cpu()
        if part == "val":
            places, images = self._examples
            self.examples = {"images": images, "predictions": predictions[places.to(predictions.device)].cpu()}
        if part == "test":
            self.worst = find_worst(predictions, targets, task, row)
        names = measurable(task, row, self.data.num_classes, split.targets)
        found = {"loss": losses.double().mean().item(), **measure(names, task, row, predictions, targets)}
        return {f"{part}/{name}": value for name, value in found.items()}


def train(
    learner: Learner, folder: Path, *, device: str, callbacks: Sequence[Callback] = (), send: Send | None = None
) -> dict[str, float]:
    """Fit a learner from its last checkpoint on, and test the best epoch's weights, which it has afterwards.

    Args:
        learner: What is trained, in place.
        folder: Where `last.ckpt` and `best.ckpt` are kept.
        device: "cpu" or "cuda".
        callbacks: What else to do, such as to show the progress.
        send: Takes the history after each epoch, once its checkpoint is written.

    Returns:
        The test metrics; none where the data has no test part.

    Raises:
        TrainingError: If the loss is no longer finite, or a checkpoint cannot be read.
        DiskError: If a checkpoint cannot be written.
    """
    recipe = learner.recipe
    with _quiet():
        trainer = L.Trainer(
            accelerator=device,
            devices=1,
            precision=recipe.precision,  # pyright: ignore[reportArgumentType]  (a checked text)
            max_epochs=recipe.max_epochs,
            callbacks=[*callbacks, Keep(folder, recipe.metric, recipe.mode, lambda: learner.history, send)],
            plugins=Files(),
            detect_anomaly=recipe.detect_anomaly,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(learner, ckpt_path=readable(folder / LAST), weights_only=True)
        best = torch.load(folder / BEST, map_location=learner.device, weights_only=True)
        learner.load_state_dict(best["state_dict"])
        learner.confusions = best["confusions"]
        if learner.data.test is not None:
            trainer.test(learner, verbose=False)
        return learner.tested


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out Lightning's advertisements and one deprecation of its own."""
    # MLflow imports Lightning by its older name, which then takes over the log.
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "pytorch_lightning")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)

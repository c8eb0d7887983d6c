"""A network, an objective and an optimizer become a LightningModule, and a Trainer that fits it.

Lightning costs 1 ms a batch, as much as a small network's step: one Lightning batch is a chunk of many optimizer steps.
"""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from convgrid.data import Batches, Chunk, ImageData, Split, batches
from convgrid.data.loader import Turns
from convgrid.data.stored import Stored
from convgrid.errors import DivergenceError
from convgrid.objective.predictor import Behind, Predictor
from convgrid.runs.best import is_finite
from convgrid.runs.trial import BEST, LAST, best_epoch
from convgrid.system.seeding import derive
from convgrid.training.checkpoints import LAYOUT, DirectIO, Keep, Send
from convgrid.training.evaluation import Evaluation, make_views
from convgrid.training.recipe import Recipe
from convgrid.training.steps import Steps

STEPS_PER_CHUNK = 64
PREDICTOR = "predictor."  # what names of weights start with in a checkpoint
EVALUATION_BATCH, EVALUATION_PIXELS = 512, 2**19  # images of 32x32; of larger ones fewer, to save memory


class Seen(NamedTuple):
    """What steps and evaluation see: a predictor and its images, or the part of it behind frozen layers and features.

    Args:
        predictor: Shares the learner's weights.
        train: Or views of it, one an epoch in turn.
    """

    predictor: Predictor | Behind
    train: Split | Stored | Sequence[Stored]
    validation: Split | Stored
    test: Split | Stored | None


class Learner(L.LightningModule):
    """Training of one predictor on one data set, as Lightning's loops ask for it: `steps` and `evaluation` do the work.

    Nothing in it is global, nothing is logged in a step.

    Args:
        data: What it is trained on.

    Attributes:
        history: One mapping of metrics a finished epoch.
        tested: The metrics of the test part.
        steps: Takes the optimizer steps; made once the predictor is on its device.
        evaluation: Of the parts that are not trained on.
    """

    steps: Steps

    def __init__(self, predictor: Predictor, data: ImageData, recipe: Recipe) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.predictor, self.data, self.recipe = predictor, data, recipe
        self._seen: Seen | None = None
        self.evaluation = Evaluation(predictor, data)
        self.history: list[dict[str, float]] = []
        self.tested: dict[str, float] = {}
        self.steps_done = 0

    @property
    def seen(self) -> Seen:
        """What steps and evaluation see; raw images, as long as nobody says otherwise."""
        data = self.data
        return self._seen or Seen(self.predictor, data.train, data.validation, data.test)

    @property
    def is_partial(self) -> bool:
        """Whether checkpoints leave out frozen layers, of which only features are seen."""
        return self._seen is not None

    def look_at(self, seen: Seen) -> None:
        """See something else than raw images, before the training begins."""
        self._seen, self.evaluation = seen, Evaluation(seen.predictor, self.data)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Lightning asks when the predictor is on its device, and keeps the optimizer's state in checkpoints."""
        self.steps = Steps(self.seen.predictor, self.recipe, self.device)
        return self.steps.optimizer

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Lightning clears gradients as well, before the first epoch: views must stay what they are."""
        self.steps.clear_gradients()

    def train_dataloader(self) -> Batches | Turns:
        """Shuffle by the seed and the number of finished epochs."""
        views = self.seen.train
        if isinstance(views, Split | Stored):
            return self._train_batches(views)
        return Turns([self._train_batches(view) for view in views], lambda: len(self.history))

    def _train_batches(self, split: Split | Stored) -> Batches:
        return self._batches(
            split,
            self.recipe.batch_size,
            lambda: derive(self.recipe.seed, "shuffle", len(self.history)),
            balanced=self.recipe.balanced,
            prepare=self.seen.predictor.normalised if self.recipe.augment is None else None,
        )

    def val_dataloader(self) -> Batches:
        """Keep the stored order."""
        return self._batches(self.seen.validation, self._evaluation_batch())

    def test_dataloader(self) -> Batches:
        """Keep the stored order."""
        assert self.seen.test is not None
        return self._batches(self.seen.test, self._evaluation_batch())

    def on_train_start(self) -> None:
        """Stop a resumed run at once where its last epoch was the end."""
        self.trainer.should_stop = self.recipe.is_patience_over(self.history)

    def on_train_epoch_start(self) -> None:
        """Start the epoch that the history lacks."""
        self.steps.begin_epoch(len(self.history))
        self._rest(self.recipe.resting(len(self.history)))
        self._train_loss = torch.zeros((), device=self.device)

    def _rest(self, resting: Sequence[str]) -> None:
        """What is not trained is in evaluation mode: a norm would learn, and forget, within a few batches."""
        rested = self.recipe.loaded if self.recipe.freeze_epochs else ()
        for name in dict.fromkeys((*rested, *resting)):
            self.predictor.network.get_submodule(name).train(name not in resting)

    def training_step(self, chunk: Chunk, _: int) -> None:
        """Take an optimizer step for every minibatch of a chunk."""
        steps_per_epoch = math.ceil(len(self.data.train) / self.recipe.batch_size)
        ahead = range(self.steps_done, self.steps_done + len(chunk))
        factors = self.recipe.factors(ahead, steps_per_epoch, self.history)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)  # of 16-mixed only
        self._train_loss += self.steps.take(chunk, factors, scaler or torch.amp.GradScaler(enabled=False))
        self.steps_done += len(chunk)

    def on_validation_epoch_start(self) -> None:
        """Look at the images as they are."""
        self.evaluation.begin()

    def validation_step(self, chunk: Chunk, _: int) -> None:
        """Predict a chunk."""
        self.evaluation.see(chunk)

    def on_validation_epoch_end(self) -> None:
        """Finish an epoch's metrics: the only time that they leave the device."""
        train_loss = self._train_loss.item() / len(self.data.train)
        if not math.isfinite(train_loss):
            raise DivergenceError(
                f"train/loss became {train_loss} in epoch {len(self.history) + 1}: the training diverged. "
                "Lower optimizer.lr, add schedule.warmup_epochs=1 or set trainer.gradient_clip_norm=1."
            )
        self.history.append({"train/loss": train_loss, **self.evaluation.finish("val")})
        self.trainer.should_stop = self.recipe.is_patience_over(self.history)

    def on_test_epoch_start(self) -> None:
        """Look at views of the images, too."""
        self.evaluation.begin(make_views(self.recipe, self.device))

    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        """Keep the test metrics."""
        self.tested = self.evaluation.finish("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what a resumed run needs beside weights and optimizer."""
        seen = self.evaluation
        checkpoint |= {"history": self.history, "steps_done": self.steps_done, "confusions": seen.confusions}
        # What a model that is made of this checkpoint is held against; a GPU rounds otherwise than a CPU.
        checkpoint |= {"examples": seen.examples, "device": self.device.type, "layout": LAYOUT}
        if self.is_partial:  # frozen layers are what they were, and may be large
            changing = (f"{PREDICTOR}{name}" for name in self.seen.predictor.state_dict())
            checkpoint["state_dict"] = {name: checkpoint["state_dict"][name] for name in changing}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back, with the weights that it leaves out."""
        checkpoint["state_dict"] = self.whole(checkpoint["state_dict"])
        self.history, self.steps_done = checkpoint["history"], checkpoint["steps_done"]

    def whole(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add to the weights of a checkpoint what it leaves out: that of frozen layers."""
        return {name: state.get(name, weight) for name, weight in self.state_dict().items()}

    def _evaluation_batch(self) -> int:
        """Images that are evaluated at once: no more at a time than memory has for training them, or than pay."""
        pixels = self.predictor.mean[0, 0].numel()
        return max(self.recipe.batch_size, min(EVALUATION_BATCH, EVALUATION_PIXELS // pixels))

    def _batches(
        self,
        split: Split | Stored,
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
        DivergenceError: If the loss is no longer finite, or the objective never was.
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
            plugins=[DirectIO(), LightningEnvironment()],  # one device: no cluster is looked for
            detect_anomaly=recipe.detect_anomaly,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        last = folder / LAST
        trainer.fit(learner, ckpt_path=last if last.exists() else None, weights_only=True)
        _check_result(learner)
        best = torch.load(folder / BEST, map_location=learner.device, weights_only=True)
        learner.load_state_dict(learner.whole(best["state_dict"]))
        learner.evaluation.confusions = best["confusions"]
        if learner.data.test is not None:
            trainer.test(learner, verbose=False)
        return learner.tested


def _check_result(learner: Learner) -> None:
    """Refuse to call a training finished of which nothing can be said."""
    metric = learner.recipe.metric
    found = learner.history[best_epoch(learner.history, metric, learner.recipe.mode)][metric]
    if not is_finite(found):
        raise DivergenceError(
            f"{metric} was {found} in every epoch: the predictions are no numbers that count. "
            "Lower optimizer.lr, or look at the validation images and their targets."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out Lightning's advertisements, its hint at srun, and one deprecation of its own."""
    # MLflow imports Lightning by its older name, which then takes over the log.
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "pytorch_lightning")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")
        warnings.filterwarnings("ignore", "The `srun` command is available")
        warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")  # those that are frozen
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:  # a notebook's process goes on after a training that failed
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

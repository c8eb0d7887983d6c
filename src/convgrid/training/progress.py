"""What the user sees of a training: a bar in a terminal, a line an epoch elsewhere."""

import time

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from convgrid.objective.glossary import METRICS
from convgrid.terminal import epoch_line
from convgrid.training.learner import Learner


class Bar(Callback):
    """One bar over all epochs, with loss, metric and time left."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[metrics]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
        )
        self._progress = Progress(*columns, console=console, transient=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show it."""
        assert isinstance(pl_module, Learner)
        chunks = int(trainer.num_training_batches)
        epochs = pl_module.recipe.max_epochs
        self._task = self._progress.add_task(
            "", total=chunks * epochs, completed=chunks * len(pl_module.history), metrics=""
        )
        self._describe(pl_module)
        self._progress.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Move it by a chunk."""
        self._progress.advance(self._task)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the epoch's metrics."""
        self._describe(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Clear it."""
        self._progress.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Clear it."""
        self._progress.stop()

    def _describe(self, learner: L.LightningModule) -> None:
        assert isinstance(learner, Learner)
        epochs, done = learner.recipe.max_epochs, len(learner.history)
        metric = learner.recipe.metric
        now = learner.history[-1] if done else {}
        metrics = "  ".join(f"{name} {now[name]:.4f}" for name in ("train/loss", metric) if name in now)
        self._progress.update(self._task, description=f"epoch {min(done + 1, epochs)}/{epochs}", metrics=metrics)


class Lines(Callback):
    """One line an epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the time."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the epoch."""
        assert isinstance(pl_module, Learner)
        history = pl_module.history
        seconds = time.perf_counter() - self._started
        line = epoch_line(len(history), pl_module.recipe.max_epochs, _shown(pl_module), seconds)
        self._console.print(line, highlight=False, soft_wrap=True)


def _shown(learner: Learner) -> dict[str, float]:
    """Of the last epoch: the losses, the task's first metric, and what is best."""
    first = next(iter(METRICS[learner.predictor.objective.task]))
    names = dict.fromkeys(("train/loss", "val/loss", f"val/{first}", learner.recipe.metric))
    return {name: learner.history[-1][name] for name in names}

"""What the user sees of a training: a bar in a terminal, one output in a notebook, a line an epoch elsewhere."""

import time

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from convgrid.objective.glossary import METRICS
from convgrid.system.notebook import InPlace, NotebookConsole
from convgrid.terminal import BAR_WIDTH, duration, epoch_line
from convgrid.training.learner import Learner

NOTEBOOK_REDRAW_INTERVAL = 0.2  # seconds after which a notebook's output is drawn again at the earliest


def shown_on(console: Console) -> list[Callback]:
    """What shows a training.

    Args:
        console: A terminal, a notebook's, or one that keeps every line.

    Returns:
        For Lightning to call.
    """
    if isinstance(console, NotebookConsole):
        return [Output(InPlace())]
    return [Lines(console), *([Bar(console)] if console.is_terminal else [])]


class Bar(Callback):
    """One bar over all epochs, with loss, metric and time left."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR_WIDTH),
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


class Output(Callback):
    """One output of a notebook: a bar over all epochs with the time left, and the last epoch below it, which stays."""

    def __init__(self, place: InPlace) -> None:
        self._place, self._drawn, self._line = place, 0.0, ""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show it."""
        assert isinstance(pl_module, Learner)
        chunks = int(trainer.num_training_batches)
        self._total, self._before = chunks * pl_module.recipe.max_epochs, chunks * len(pl_module.history)
        self._done, self._started = self._before, time.perf_counter()
        self._draw()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the time."""
        self._epoch_started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Move the bar by a chunk."""
        self._done += 1
        if time.perf_counter() - self._drawn >= NOTEBOOK_REDRAW_INTERVAL:
            self._draw()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the epoch."""
        assert isinstance(pl_module, Learner)
        seconds = time.perf_counter() - self._epoch_started
        self._line = epoch_line(len(pl_module.history), pl_module.recipe.max_epochs, _shown(pl_module), seconds)
        self._draw()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the last epoch."""
        self._place.update(Text(self._line))

    def _draw(self) -> None:
        self._drawn = time.perf_counter()
        head, done = Table.grid(padding=(0, 1)), self._done - self._before
        left = (self._drawn - self._started) / done * (self._total - self._done) if done else None
        head.add_row(
            ProgressBar(self._total, self._done, width=BAR_WIDTH), "" if left is None else f"{duration(left)} left"
        )
        self._place.update(Group(head, Text(self._line)))


def _shown(learner: Learner) -> dict[str, float]:
    """Of the last epoch: the losses, the task's first metric, and what is best."""
    first = next(iter(METRICS[learner.predictor.objective.task]))
    names = dict.fromkeys(("train/loss", "val/loss", f"val/{first}", learner.recipe.metric))
    return {name: learner.history[-1][name] for name in names}

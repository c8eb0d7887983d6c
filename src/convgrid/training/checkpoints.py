"""Checkpoints: what is written after each epoch, and what a training goes on from."""

import io
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from convgrid.errors import DiskError, TrainingError
from convgrid.runs.trial import BEST, LAST, best_epoch
from convgrid.training.recipe import History

LAYOUT = 3  # of what a checkpoint holds of the optimizer: one state for all weights of a group

Send = Callable[[History], None]


def broken(checkpoint: Path) -> str:
    """Say why a checkpoint cannot be read.

    Args:
        checkpoint: Its file, which need not exist.

    Returns:
        The cause, in a line; "" where it reads, or is missing.
    """
    try:
        found = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return ""
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError) as error:
        return str(error).partition("\n")[0]
    return "" if found.get("layout") == LAYOUT else "it is of an earlier version of convgrid"


def readable(checkpoint: Path) -> Path | None:
    """Find out whether there is something to go on from.

    Args:
        checkpoint: Its file, which need not exist.

    Returns:
        The file; None where it does not exist yet.

    Raises:
        TrainingError: If it cannot be read.
    """
    cause = broken(checkpoint)
    if cause:
        raise TrainingError(f"{checkpoint} cannot be read: {cause}. Remove it to start this run over.")
    return checkpoint if checkpoint.exists() else None


class DirectIO(TorchCheckpointIO):
    """Checkpoints straight to where they belong; Lightning's own pass through TMPDIR, which may be full, or far."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Write a file.

        Args:
            storage_options: None; Lightning's of other kinds of storage.

        Raises:
            OSError: If it cannot be written; a part of it may be there.
        """
        content = io.BytesIO()  # which torch writes faster than it writes files, and whose errors it does not hide
        torch.save(checkpoint, content)
        Path(path).write_bytes(content.getbuffer())


class Keep(Callback):
    """Write a checkpoint at every epoch's end, and hand on the metrics only then: what was sent is never trained again.

    Args:
        folder: Where `last.ckpt` and `best.ckpt` are kept.
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".
        history: Gives one mapping of metrics for every epoch so far.
    """

    def __init__(
        self, folder: Path, metric: str, mode: str, history: Callable[[], History], send: Send | None = None
    ) -> None:
        self._folder, self._metric, self._mode, self._history, self._send = folder, metric, mode, history, send

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A reader, and a process that goes on, sees an old checkpoint or a new one, never a part."""
        history = self._history()
        partial = self._folder / "partial.ckpt"
        try:
            trainer.save_checkpoint(partial)
            if best_epoch(history, self._metric, self._mode) == len(history) - 1:
                copy = self._folder / "copy.ckpt"
                shutil.copyfile(partial, copy)
                copy.replace(self._folder / BEST)
            partial.replace(self._folder / LAST)
        except OSError as error:
            raise DiskError(f"{self._folder} cannot be written: {error.strerror}. Make room, then resume.") from None
        if self._send is not None:
            self._send(history)

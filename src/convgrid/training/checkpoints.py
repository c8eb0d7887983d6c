"""Checkpoints: what is written after each epoch, and what a training goes on from."""

import io
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from convgrid.errors import DiskError, RunError, TrainingError
from convgrid.runs.checkpoint import read_checkpoint
from convgrid.runs.files import replacing, sync, sync_is_due, sync_names
from convgrid.runs.trial import BEST, LAST, best_epoch
from convgrid.training.recipe import History

PREVIOUS = "previous.ckpt"  # the state before the last one, until that would outlive a power cut
EARLIER = "cannot be read: it is of an earlier version of convgrid"
LAYOUT = 3  # of what a checkpoint holds of the optimizer: one state for all weights of a group

Send = Callable[[History], None]


def settle(folder: Path, metric: str, mode: str, *, start_over: bool) -> str:
    """Leave in a folder the last whole state of a training, with the weights of its best epoch; or nothing.

    Args:
        folder: The trial's, which need not have any state.
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".
        start_over: Whether a state of an earlier version is given up.

    Returns:
        What was wrong and from where it goes on, in a line; "" where nothing was.

    Raises:
        TrainingError: If the state is of an earlier version, and is not to be given up.
    """
    states, faults = [folder / name for name in (LAST, PREVIOUS)], []
    for file in filter(Path.exists, states):
        try:
            state = read_checkpoint(file)
            fault = _complete(folder, file, state, metric, mode)
        except RunError as error:
            state, fault = {}, str(error).rstrip(".")
        if fault == f"{file} {EARLIER}" and not start_over:
            raise TrainingError(f"{fault}. Remove it to start this run over.")
        if not fault:
            if file.name == PREVIOUS:
                _remove(folder / LAST)
                file.replace(folder / LAST)
            return f"{'; '.join(faults)}. It goes on after epoch {len(state['history'])}." if faults else ""
        faults.append(fault)
    for file in (*states, folder / BEST) if faults else ():
        _remove(file)
    return f"{'; '.join(faults)}. The training starts over." if faults else ""


def _complete(folder: Path, file: Path, state: Mapping[str, Any], metric: str, mode: str) -> str:
    """Why a whole state cannot be gone on from; "" where the best epoch's weights are there, or it has them itself."""
    if state.get("layout") != LAYOUT:
        return f"{file} {EARLIER}"
    best = best_epoch(state["history"], metric, mode) + 1
    try:
        if len(read_checkpoint(folder / BEST)["history"]) >= best:
            return ""
        fault = f"{folder / BEST} is of another training"
    except FileNotFoundError:
        fault = f"{folder / BEST} is missing"
    except RunError as error:
        fault = str(error).rstrip(".")
    if best < len(state["history"]):
        return fault
    with replacing(folder / BEST) as copy:
        shutil.copyfile(file, copy)
    return ""


def _remove(file: Path) -> None:
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)


def complete_best(folder: Path, whole: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Write the best epoch's weights with those of frozen layers, which a training over features leaves out.

    Args:
        folder: The trial's; it need not have any weights.
        whole: Adds what is missing.

    Raises:
        OSError: If they cannot be written.
    """
    file = folder / BEST
    try:
        best = torch.load(file, weights_only=True)
    except FileNotFoundError:
        return
    state = whole(best["state_dict"])
    if state.keys() != best["state_dict"].keys():
        with replacing(file) as partial:
            DirectIO().save_checkpoint({**best, "state_dict": state}, partial)


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

        self._is_lasting = (folder / LAST).exists()  # whether the last state would outlive a power cut
        self._needs_best = self._is_lasting  # whether the state that would outlive it has its best weights elsewhere

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A reader, and a process that goes on, sees an old checkpoint or a new one, never a part."""
        history = self._history()
        is_best = best_epoch(history, self._metric, self._mode) == len(history) - 1
        try:
            self._write(trainer, is_best=is_best)
        except OSError as error:
            raise DiskError(f"{self._folder} cannot be written: {error.strerror}. Make room, then resume.") from None
        if self._send is not None:
            self._send(history)

    def _write(self, trainer: L.Trainer, *, is_best: bool) -> None:
        """The disk is waited for once in 5 s at most, and where it would lose the best weights of a lasting state."""
        last, best = self._folder / LAST, self._folder / BEST
        is_lasting = sync_is_due(LAST) or (is_best and self._needs_best)
        with replacing(last) as partial:
            trainer.save_checkpoint(partial)
            if is_best:
                with replacing(best) as copy:
                    shutil.copyfile(partial, copy)
                    if is_lasting:
                        sync(copy)
            elif is_lasting:
                sync(best)
            if is_lasting:
                sync(partial)
            if self._is_lasting or not (self._folder / PREVIOUS).exists():
                with suppress(FileNotFoundError):  # before the second epoch
                    last.replace(self._folder / PREVIOUS)
        self._is_lasting = is_lasting
        if is_lasting:
            sync_names(self._folder)
            self._needs_best = not is_best

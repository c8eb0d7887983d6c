"""A finished run trained for more epochs, in a folder of its own: as if it had been started with that many."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from convgrid.config import Settings
from convgrid.errors import RunError, TrainingError
from convgrid.runs.checkpoint import read_checkpoint
from convgrid.runs.files import replacing
from convgrid.runs.trial import BEST, LAST, METRICS_LOG, read_record, read_settings
from convgrid.schedules import Progress


def check_longer(path: Path, settings: Settings, schedule: Callable[[Progress], float]) -> None:
    """Refuse more epochs for a finished run where a training of that many would have gone another way.

    Args:
        path: The finished run's folder.
        settings: Of the new run, which has more epochs.
        schedule: What the settings name.

    Raises:
        TrainingError: If its last state is gone, patience ended it, or its learning rates hang on the number of epochs.
    """
    fault = _fault(path, settings, schedule)
    if fault:
        raise TrainingError(
            f"resume={settings.resume} trainer.max_epochs={settings.trainer.max_epochs}: {fault}. "
            f"Start a new run from its weights instead, with arch.weights={settings.resume}."
        )


def _fault(path: Path, settings: Settings, schedule: Callable[[Progress], float]) -> str:
    planned = read_settings(path).trainer.max_epochs
    try:
        state = read_checkpoint(path / LAST)
    except FileNotFoundError:
        why = "a sweep keeps none" if read_record(path).get("sweep") else "it was removed"
        return f"{path} has no {LAST} to go on from ({why})"
    except RunError as error:
        return str(error).rstrip(".")
    if len(state["history"]) < planned:
        return f"trainer.patience={settings.trainer.patience} ended {path} after epoch {len(state['history'])}"
    if _hangs_on_length(schedule, state, _to_lower(path, state["history"]), (planned, settings.trainer.max_epochs)):
        return (
            f"schedule={settings.choices['schedule']} goes by the number of epochs, so that {path} was trained with "
            f"other learning rates than a run of {settings.trainer.max_epochs} epochs has"
        )
    return ""


def _hangs_on_length(
    schedule: Callable[[Progress], float], state: Mapping[str, Any], to_lower: list[float], lengths: tuple[int, int]
) -> bool:
    """Whether a step that was taken would have had another learning rate in a training of the other length."""
    steps_per_epoch = state["steps_done"] // len(to_lower)
    return any(
        len({schedule(Progress(step, steps_per_epoch, length, seen)) for length in lengths}) > 1
        for epoch in range(len(to_lower))
        for seen in [tuple(to_lower[:epoch])]
        for step in range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch)
    )


def _to_lower(path: Path, history: list[dict[str, float]]) -> list[float]:
    metric, mode = read_record(path)["objective"]
    return [metrics[metric] * (-1 if mode == "max" else 1) for metrics in history]


def copy_state(path: Path, to: Path) -> None:
    """Put into a new run's folder what it goes on from; the state itself last, so that a part of it counts for nothing.

    Args:
        path: The finished run's folder, which stays as it is.
        to: The new one's.
    """
    for name in (METRICS_LOG, BEST, LAST):
        with replacing(to / name) as copy:
            shutil.copyfile(path / name, copy)

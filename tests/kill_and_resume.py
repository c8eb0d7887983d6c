"""Train, SIGKILL the training at a moment, resume it: what the run came to, for every moment."""

import contextlib
import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from conftest import compose_settings
from convgrid.runs.find import find_to_resume
from convgrid.training.checkpoints import Keep
from convgrid.training.learner import Learner
from convgrid.training.trial import run
from forks import fork

EPOCHS = 4
SILENT = Console(file=io.StringIO())

Moment = Callable[[], None]


def before(owner: Any, name: str, is_now: Callable[..., bool]) -> Moment:
    """Die when a method is called."""

    def arm() -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if is_now(*args):
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(owner, name, wrapped)

    return arm


def after(owner: Any, name: str, is_now: Callable[..., bool]) -> Moment:
    """Die when a method is done."""

    def arm() -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if is_now(*args):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, wrapped)

    return arm


def epochs_done(count: int) -> Callable[..., bool]:
    return lambda *args: any(isinstance(arg, Learner) and len(arg.history) == count for arg in args)


MOMENTS: dict[str, Moment] = {
    "never": lambda: None,
    "before the first step": before(Learner, "training_step", epochs_done(0)),
    "in the second epoch": after(Learner, "training_step", epochs_done(1)),
    "between a validation and its checkpoint": after(Learner, "on_validation_epoch_end", epochs_done(2)),
    "between the best and the last checkpoint": after(shutil, "copyfile", lambda *_: folder_has("last.ckpt")),
    "after a checkpoint": after(Keep, "on_train_epoch_end", epochs_done(2)),
    "after the last checkpoint": after(Keep, "on_train_epoch_end", epochs_done(EPOCHS)),
    "in the test": before(Learner, "on_test_epoch_end", lambda *_: True),
}


def run_folder() -> Path:
    return next(Path("runs").iterdir())


def folder_has(name: str) -> bool:
    return (run_folder() / name).exists()


def in_child(work: Callable[[], object]) -> int:
    """How a fork ended: below 0, the signal that killed it."""
    child = fork(work)
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def result() -> dict[str, Any]:
    last, best = (torch.load(run_folder() / name, weights_only=True) for name in ("last.ckpt", "best.ckpt"))
    return {
        "history": last["history"],
        "best epoch": len(best["history"]),
        "weights": sum(weights.double().sum().item() for weights in best["state_dict"].values()),
        "test": json.loads((run_folder() / "run.json").read_text())["metrics"],
    }


def kill_and_resume(folder: Path, overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What each run came to, by the moment at which it was killed; each has a folder of its own below one."""
    settings = compose_settings("tracking=none", f"trainer.max_epochs={EPOCHS}", *overrides)
    results = {}
    for moment, arm in MOMENTS.items():
        (own := folder / moment).mkdir()
        with contextlib.chdir(own):
            status = in_child(lambda arm=arm: (arm(), run(settings, SILENT)))
            had_checkpoint = folder_has("last.ckpt")
            if status:
                assert in_child(lambda: run(settings, SILENT, find_to_resume(str(run_folder())))) == 0
            results[moment] = {"signal": -status, "had checkpoint": had_checkpoint, **result()}
    return results

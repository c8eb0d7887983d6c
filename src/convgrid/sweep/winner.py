"""What a sweep's winner gets in MLflow beside its values is made by a process that has torch already, as workers do."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

from convgrid.runs import BEST, TRACKED, read_tracked
from convgrid.sweep.executor import start

LONGEST = 60.0  # seconds; then the writer tries, and tells what is wrong


@contextmanager
def made_aside(winner: Path | None) -> Iterator[Callable[[], Path | None]]:
    """Make a winner's curves and the parts of its model, while the caller goes on.

    Args:
        winner: The trial's folder; None where nothing is to be made.

    Yields:
        Waits until they are made, and gives the folder with the model's parts, which is there until the end; None
        where they were not, for whatever reason.
    """
    with ExitStack() as stack:
        made = _nothing
        with suppress(OSError, ValueError):  # no room, or a broken file: the writer tells
            if winner is not None and _lacks_model(winner):
                place = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
                process = start(_make, winner, place)
                stack.callback(process.join)
                stack.callback(process.kill)
                made = partial(_wait, process, place)
        yield made


def _nothing() -> None:
    """No parts."""


def _wait(process: BaseProcess, place: Path) -> Path | None:
    process.join(LONGEST)
    return place if process.exitcode == 0 else None


def _lacks_model(folder: Path) -> bool:
    """Whether one is to be stored: that of a sweep that is started again is there."""
    known = read_tracked(folder / TRACKED).values()
    return (folder / BEST).exists() and all(place.get("model") is None for place in known)


def _make(folder: Path, place: Path) -> None:
    from convgrid.model.parts import make
    from convgrid.tracking.curves import draw_curves

    silence = os.open(os.devnull, os.O_WRONLY)  # whatever a component of a person's own prints
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    draw_curves(folder)
    make(folder, place)

"""What a sweep's winner gets in MLflow beside its values is made by a process that has torch already, as workers do."""

import os
import tempfile
from contextlib import ExitStack, suppress
from functools import cached_property
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from convgrid.runs import BEST, TRACKED, read_tracked
from convgrid.sweep.executor import start

LONGEST = 60.0  # seconds; then the writer tries, and tells what is wrong


class Maker:
    """Makes a winner's curves and the parts of its model in a process of its own, while the sweep's goes on."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def warm_up(self) -> None:
        """Let the process import what it needs, before there is a winner. Returns at once."""
        with suppress(OSError):  # no room, or no process: the writer makes what is not made
            _ = self._connection

    def begin(self, winner: Path) -> None:
        """Make a winner's. Returns at once.

        Args:
            winner: The trial's folder.
        """
        with suppress(OSError, ValueError):  # as above, or a broken file, of which the writer tells
            if _lacks_model(winner):
                self._connection.send((winner, self._place))

    def parts(self) -> Path | None:
        """Wait for what was begun.

        Returns:
            The folder with the model's parts, until `close`; None where they were not made, for whatever reason.
        """
        with suppress(OSError, EOFError):
            if "_connection" in self.__dict__:
                self._connection.send(None)  # nothing more comes
                if self._connection.poll(LONGEST):
                    return self._connection.recv()
        return None

    def close(self) -> None:
        """End the process, and remove the parts."""
        self._stack.close()

    @cached_property
    def _place(self) -> Path:
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))

    @cached_property
    def _connection(self) -> Connection:
        _ = self._place  # is removed after the process's end
        ours, theirs = Pipe()
        process = start(_make, theirs)
        theirs.close()
        self._stack.callback(process.join)
        self._stack.callback(process.kill)
        return ours  # pyright: ignore[reportReturnType]  (Windows' pipes are of another class)


def _lacks_model(folder: Path) -> bool:
    """Whether one is to be stored: that of a sweep that is started again is there."""
    known = read_tracked(folder / TRACKED).values()
    return (folder / BEST).exists() and all(place.get("model") is None for place in known)


def _make(sweep: Connection) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)  # whatever a component of a person's own prints
    os.dup2(silence, 1)
    os.dup2(silence, 2)

    import torch.export._trace  # noqa: F401  (else the first export imports it)

    from convgrid.model.parts import make
    from convgrid.tracking.curves import draw_curves

    wanted = sweep.recv()
    if wanted is not None:
        folder, place = wanted
        draw_curves(folder)
        make(folder, place)
        sweep.send(place)

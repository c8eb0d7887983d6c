"""What a sweep's winner gets in MLflow beside its values is made by a process that has torch already, as workers do."""

import os
import tempfile
from contextlib import ExitStack, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from convgrid.runs.trial import BEST, TRACKED, read_tracked
from convgrid.system.processes import start

ARTIFACTS_TIMEOUT = 60.0  # seconds; then the writer tries, and tells what is wrong


class WinnerArtifacts:
    """Makes a winner's curves and the parts of its model in a process of its own, while the sweep's goes on.

    Seconds from the last trial's end to that of a sweep, each way thrice in turns: 1.2, and 2.0 without `warm_up`, 5.7
    where the writer makes them.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._connection: Connection | None = None
        self._place = Path()

    def warm_up(self) -> None:
        """Let the process import what it needs, before there is a winner. Returns at once."""
        with suppress(OSError):  # no room, or no process: the writer makes what is not made
            self._started()

    def begin(self, winner: Path) -> None:
        """Make a winner's. Returns at once."""
        with suppress(OSError):  # as above
            if _lacks_model(winner):
                self._started().send((winner, self._place))

    def parts(self) -> Path | None:
        """Wait for what was begun.

        Returns:
            The folder with the model's parts, until `close`; None where they were not made, for whatever reason.
        """
        if self._connection is None:
            return None
        with suppress(OSError):  # it has made them, and ended
            self._connection.send(None)  # nothing more comes
        with suppress(OSError, EOFError):
            if self._connection.poll(ARTIFACTS_TIMEOUT):
                return self._connection.recv()
        return None

    def close(self) -> None:
        """End the process, and remove the parts."""
        self._stack.close()

    def _started(self) -> Connection:
        if self._connection is None:
            self._place = Path(self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            ours, theirs = Pipe()
            process = start(_make, theirs)
            theirs.close()
            self._stack.callback(process.join)
            self._stack.callback(process.kill)
            self._connection = ours  # pyright: ignore[reportAttributeAccessIssue]  (Windows' pipes are of another class)
        return self._connection  # pyright: ignore[reportReturnType]  (likewise)


def _lacks_model(folder: Path) -> bool:
    """Whether one is to be stored: that of a sweep that is started again is there."""
    known = read_tracked(folder / TRACKED).values()
    return (folder / BEST).exists() and all(place.get("model") is None for place in known)


def _make(sweep: Connection) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)  # whatever a component of the user's own prints
    os.dup2(silence, 1)
    os.dup2(silence, 2)

    from convgrid.system.torch_internals import import_exporter  # torch takes seconds to import, in this process only

    import_exporter()
    from convgrid.model.mlflow_parts import make
    from convgrid.tracking.learning_curves import draw_curves

    wanted = sweep.recv()
    if wanted is not None:
        folder, place = wanted
        draw_curves(folder)
        make(folder, place)
        sweep.send(place)

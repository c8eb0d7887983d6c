"""The one process of a run or a sweep that writes to MLflow: training never waits for the store, whatever it does.

It is told of folders, and reads there what is new. What it could not send stays there for `convgrid sync`.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgrid.config import Settings
from convgrid.runs.trial import is_finished, read_record

if TYPE_CHECKING:
    from convgrid.training.trial import Follow

STARTS = 4  # of a writer that dies every time
SECONDS_TO_END = 5.0  # seconds to end in
FLUSH = 60.0  # seconds that the store has at the end for what it lacks

# The store is tried again here, so that one call ends in seconds and arrives once; nothing is printed over the display.
MLFLOW_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def start_writer(settings: Settings, sweep: Path | None = None) -> "Writer | None":
    """Start the process that brings folders to the tracking store.

    Args:
        settings: Say where that is.
        sweep: The sweep's folder; None for a single run.

    Returns:
        Its handle; None where nothing is tracked.
    """
    tracking = settings.tracking
    if tracking.uri is None:
        return None
    return Writer(
        settings.values["tracking"]["uri"],  # not its secrets, which `ps` would show
        tracking.experiment,
        sweep,
        system_metrics=tracking.system_metrics,
        register=tracking.register,
    )


@contextmanager
def following(settings: Settings) -> Iterator["Follow"]:
    """Start the writer of a single run, which imports MLflow while the caller imports torch; it ends with the block.

    Yields:
        With the run's folder, a context: the folder is sent while it is trained in, and left when the store has it all.
    """
    writer = start_writer(settings)
    try:
        yield partial(_followed, writer=writer)
    finally:
        if writer is not None:
            writer.end()


@contextmanager
def _followed(folder: Path, writer: "Writer | None") -> Iterator[Callable[[], None]]:
    """Gives what to call when there is news; waits a while at the end for what is left."""
    if writer is None:
        yield lambda: None
        return

    def tell() -> None:
        writer.tell(folder)
        _print_notes(writer.notes())

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        try:
            yield tell
        finally:
            writer.tell(folder, whole=True, parts=_parts_of_model(folder, Path(place)))
            writer.close(FLUSH)
            _print_notes(writer.notes())


def _parts_of_model(folder: Path, place: Path) -> Path | None:
    """Made here, where torch is: the writer would take seconds to import it, and does so where they cannot be made."""
    if not is_finished(read_record(folder)):
        return None
    with suppress(Exception), warnings.catch_warnings(action="ignore"):  # the writer tells what is wrong
        from convgrid.model.mlflow_parts import make

        make(folder, place)
        return place
    return None


def _print_notes(notes: list[str]) -> None:
    for note in notes:
        print(note, file=sys.stderr)


class Writer:
    """Starts the process, tells it of news, and starts it again should it die.

    Args:
        uri: A store such as "sqlite:///mlflow.db", or a tracking server's address.
        experiment: Name of the experiment.
        sweep: The sweep's folder; None for a single run.
        system_metrics: Whether the use of processor, memory, disk, network and GPUs is noted as well.
        register: Name of the model in the registry; None for none.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        sweep: Path | None = None,
        *,
        system_metrics: bool = False,
        register: str | None = None,
    ) -> None:
        self._options = json.dumps(
            {
                "uri": uri,
                "experiment": experiment,
                "sweep": str(sweep) if sweep else None,
                "system_metrics": system_metrics,
                "register": register,
            }
        )
        self._sweep = sweep
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        self._told: dict[Path, dict[str, Any]] = {}
        self._notes: list[str] = []
        self._unsent: list[Path] | None = None
        self._starts, self._is_given_up = 0, False
        self._start()

    def tell(self, folder: Path, *, whole: bool = False, is_member: bool = True, parts: Path | None = None) -> None:
        """Say that a trial's folder has news; a running trial is followed until it ends. Returns at once.

        Args:
            folder: The trial's, with a `run.json`.
            whole: Whether its weights, its model and its pictures are sent as well.
            is_member: Whether it is one of this sweep's trials; not so what `runs.set_right` found.
            parts: Of its model; None where the writer is to make them, which takes it a while.
        """
        place = str(parts) if parts else None
        self._told[folder] = {"folder": str(folder), "whole": whole, "is_member": is_member, "parts": place}
        if self._is_up():
            self._write(self._told[folder])

    def notes(self) -> list[str]:
        """Take what the user should know, a sentence each, told once. Returns at once.

        Returns:
            Such as that the store takes nothing at the moment.
        """
        if not self._log.closed:
            self._is_up()
        self._listen(0.0)
        notes, self._notes = self._notes, []
        return notes

    def close(self, timeout: float) -> list[Path]:
        """Send the rest, the sweep's end included, and end the process.

        Args:
            timeout: Seconds that this may take, but for a few to end in.

        Returns:
            Folders of which the store lacks something; `convgrid sync` sends it.
        """
        deadline, asked = time.monotonic() + timeout, None
        while self._unsent is None and time.monotonic() < deadline + SECONDS_TO_END and self._is_up():
            if asked is not self._process:  # a new process does not know it yet
                asked = self._process
                self._write({"close": max(0.0, deadline - time.monotonic())})
            self._listen(0.1)
        self.end()
        known = [*self._told, *([self._sweep] if self._sweep else [])]
        return known if self._unsent is None else self._unsent

    def end(self) -> None:
        """End the process: it has ended, or hangs in a call to the store, or there is nothing to send."""
        if not self._log.closed:
            self._process.kill()
            self._process.communicate()
            self._log.close()

    def _is_up(self) -> bool:
        """Whether the process runs, perhaps again; its last words are heard first."""
        if self._process.poll() is None:
            return True
        self._listen(0.0)
        if self._unsent is not None or self._is_given_up:
            return False
        if self._starts == STARTS:
            self._is_given_up = True
            self._notes.append(
                f"Nothing is sent to MLflow: {self._last_words()}. What is in runs/ is sent by: python -m convgrid sync"
            )
            return False
        self._process.communicate()  # closes its pipes
        self._start()
        for message in self._told.values():
            self._write(message)
        return True

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"its process ended with {self._process.returncode}"

    def _start(self) -> None:
        self._starts += 1
        self._process = subprocess.Popen(  # noqa: S603  (this very program)
            [sys.executable, "-c", "from convgrid.tracking.writer_process import serve; serve()", self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**MLFLOW_ENVIRONMENT, **os.environ},
            process_group=0,  # Ctrl-C is for the training, which then closes the writer
        )
        self._partial = b""

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died: whatever comes next starts it again
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _listen(self, timeout: float) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.closed:
            return
        while select.select([self._process.stdout], [], [], timeout)[0]:
            read = os.read(self._process.stdout.fileno(), 65536)
            if not read:
                time.sleep(timeout)  # it is about to end
                return
            *lines, self._partial = (self._partial + read).split(b"\n")
            for line in lines:
                self._hear(json.loads(line))
            timeout = 0.0

    def _hear(self, message: dict[str, Any]) -> None:
        if "note" in message:
            self._notes.append(message["note"])
        else:
            self._unsent = [Path(folder) for folder in message["unsent"]]

"""The one process of a sweep that writes to MLflow: training never waits for the store, whatever happens to it.

It is told of folders, and reads there what is new. What it could not send stays there for the next sweep.
"""

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

STARTS = 4  # of a writer that dies every time
GRACE = 5.0  # seconds to end in

# The store is tried again here, so that one call ends in seconds; and nothing is printed over the sweep's display.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class Writer:
    """Starts the process, tells it of news, and starts it again should it die.

    Args:
        uri: A store such as "sqlite:///mlflow.db", or a tracking server's address.
        experiment: Name of the experiment.
        sweep: The sweep's folder; the process logs its troubles to `writer.log` in it.
    """

    def __init__(self, uri: str, experiment: str, sweep: Path) -> None:
        self._words, self._sweep = [uri, experiment, str(sweep)], sweep
        self._log = sweep / "writer.log"
        self._told: dict[Path, dict[str, Any]] = {}
        self._notes: list[str] = []
        self._unsent: list[Path] | None = None
        self._starts, self._is_given_up = 0, False
        self._start()

    def tell(self, folder: Path, *, weights: bool = False, is_member: bool = True) -> None:
        """Say that a trial's folder has news; a running trial is followed until it ends. Returns at once.

        Args:
            folder: The trial's, with a `run.json`.
            weights: Whether its `best.ckpt` is stored in MLflow as well.
            is_member: Whether it is one of this sweep's trials; not so what `runs.set_right` found.
        """
        self._told[folder] = {"folder": str(folder), "weights": weights, "is_member": is_member}
        if self._is_up():
            self._write(self._told[folder])

    def notes(self) -> list[str]:
        """Take what a person should know, a sentence each, told once. Returns at once.

        Returns:
            Such as that the store takes nothing at the moment.
        """
        self._listen(0.0)
        notes, self._notes = self._notes, []
        return notes

    def close(self, timeout: float) -> list[Path]:
        """Send the rest, the sweep's end included, and end the process.

        Args:
            timeout: Seconds that this may take, but for a few to end in.

        Returns:
            Folders of which the store lacks something; the sweep, started again, sends it.
        """
        deadline, asked = time.monotonic() + timeout, None
        while self._unsent is None and time.monotonic() < deadline + GRACE and self._is_up():
            if asked is not self._process:  # a new process does not know it yet
                asked = self._process
                self._write({"close": max(0.0, deadline - time.monotonic())})
            self._listen(0.1)
        self._process.kill()  # it has ended, or hangs in a call to the store
        self._process.communicate()
        return [*self._told, self._sweep] if self._unsent is None else self._unsent

    def _is_up(self) -> bool:
        """Whether the process runs, perhaps again; its last words are heard first."""
        if self._process.poll() is None:
            return True
        self._listen(0.0)
        if self._unsent is not None or self._is_given_up:
            return False
        if self._starts == STARTS:
            self._is_given_up = True
            self._notes.append(f"Nothing is sent to MLflow: {self._log} says why. The folders of the sweep keep all.")
            return False
        self._process.communicate()  # closes its pipes
        self._start()
        for message in self._told.values():
            self._write(message)
        return True

    def _start(self) -> None:
        self._starts += 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  (this very program)
                [sys.executable, "-c", "from convgrid.sweep.sender import serve; serve()", *self._words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**ENVIRONMENT, **os.environ},
                process_group=0,  # Ctrl-C is for the sweep, which then closes the writer
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

"""How many nodes are on their way, and when to ask for more: a launcher, asked in a thread, since it takes seconds."""

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from convgrid.errors import ConvgridError
from convgrid.sweep.executors.interface import Launcher

LAUNCHER_POLL_INTERVAL = 3.0  # seconds between two questions to a launcher
LAST_ANSWER_TIMEOUT = 10.0  # seconds for the last question to be answered
SETTLED = 2  # answers in a row by which nobody waits, before that is believed


class Supply:
    """Keeps as many nodes as were asked for, as long as those that come get something done.

    Args:
        command: What a node process runs.
        logs: Where to what it prints goes.
        nodes: How many are wanted.
    """

    def __init__(self, launcher: Launcher, command: Sequence[str], logs: Path, nodes: int) -> None:
        self._launcher, self._command, self._logs, self._wanted = launcher, command, logs, nodes
        self._notes: list[str] = []
        self._waiting, self._answers = nodes, 0  # as last told, and how often since the last start
        self._to_start, self._has_joined = 0, False
        self._has_come, self._has_progressed = False, False  # anybody, anything, since the last start
        self._refused: Counter[str] = Counter()
        self._failure = ""
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="convgrid-launcher", daemon=True)
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Ask for the nodes.

        Raises:
            ConvgridError: If they are refused.
        """
        self._wanted = self._launcher.start(self._command, self._wanted, self._logs)
        self._thread.start()

    def joined(self) -> None:
        """A node has come."""
        self._has_joined = self._has_come = True

    def refused(self, host: str) -> None:
        """A node was sent away."""
        self._refused[host] += 1

    def progressed(self) -> None:
        """An epoch or a trial has ended since the last start."""
        self._has_progressed = True

    def look(self, *, nodes: int, has_free: bool) -> None:
        """Ask for more nodes where some have ended, and those there are have all they can do.

        Args:
            nodes: How many are there.
            has_free: Whether a worker waits for something to do.
        """
        with self._lock:
            missing = self._wanted - max(self._waiting, nodes)
            is_due = self._has_come and self._has_progressed and self._answers >= SETTLED and not self._to_start
            if missing > 0 and is_due and not has_free:
                self._to_start, self._has_come, self._has_progressed = missing, False, False

    def hopeless(self) -> str:
        """Why nobody comes any more; "" where somebody may. Asked where nobody is there."""
        with self._lock:
            if self._waiting > 0 or self._answers < SETTLED or self._to_start:
                return ""
        if self._failure:
            return f"no node is left, and no more can be had: {self._failure.rstrip('.')}"
        if self._refused:
            return "every node was refused, as told above"
        if not self._has_joined:
            return f"no node has come, and none is on its way. See what they print: {self._logs}"
        return f"no node is left, and none is on its way. See what they print: {self._logs}. Start the sweep again"

    def notes(self) -> list[str]:
        """Take what the user should know."""
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def end(self) -> None:
        """Take back all that was asked for."""
        self._ends.set()
        if self._thread.is_alive():
            self._thread.join(timeout=LAST_ANSWER_TIMEOUT)
        self._launcher.stop()

    def _ask(self) -> None:
        while not self._ends.is_set():
            self._start()
            waiting, notes = self._launcher.waiting(), self._launcher.notes()
            with self._lock:
                self._waiting = waiting
                self._answers = self._answers + 1 if waiting < max(1, self._wanted) else 0
                self._notes += notes
            self._ends.wait(LAUNCHER_POLL_INTERVAL)

    def _start(self) -> None:
        with self._lock:
            count = self._to_start
        if count:
            taken, told = count, ""
            try:
                taken = self._launcher.start(self._command, count, self._logs)
            except ConvgridError as error:
                self._failure = str(error)
                told = f"No more nodes can be had: {self._failure.rstrip('.')}."
            with self._lock:
                self._wanted -= count - taken
                if taken:
                    self._notes.append(told or f"Asked for {taken} more node{'s' * (taken > 1)}: so many have ended.")
                self._to_start, self._answers = 0, 0

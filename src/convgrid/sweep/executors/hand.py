"""Machines that the user brings: a command to be started on each of them, by ssh or otherwise."""

import shlex
from collections.abc import Sequence
from pathlib import Path


class Hand:
    """Says what to start; on how many machines, and when, is up to the user.

    Example:
        >>> hand = Hand()
        >>> hand.start(["python", "-m", "convgrid", "node", "/shared/sweeps/1f0c/scheduler.json"], 1, Path("nodes"))
        1
        >>> hand.notes()
        ['Start on each machine: python -m convgrid node /shared/sweeps/1f0c/scheduler.json']
    """

    def __init__(self) -> None:
        self._notes: list[str] = []

    def start(self, command: Sequence[str], nodes: int, logs: Path) -> int:
        """Say what to start on each machine."""
        self._notes.append(f"Start on each machine: {shlex.join(command)}")
        return nodes

    def waiting(self) -> int:
        """The user may start one at any time."""
        return 1

    def notes(self) -> list[str]:
        """Take the line that says what to start."""
        notes, self._notes = self._notes, []
        return notes

    def stop(self) -> None:
        """Node processes end by themselves when the sweep does."""

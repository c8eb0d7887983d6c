"""What the scheduler asks of those who train, and what is asked of those who bring machines."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from convgrid.sweep.messages import Began, Ended, EpochEnded, Job, Noted

LAUNCHER_GRACE = 5.0  # seconds for node processes to end by themselves at the end


@dataclass(frozen=True)
class Died:
    """A worker's process ended by itself or was killed.

    Args:
        exitcode: Its exit status; below 0, the signal that killed it.
    """

    exitcode: int


@dataclass(frozen=True)
class Lost:
    """A worker has left with its node: its trial is not to blame, and goes on elsewhere.

    Args:
        reason: Why, in a line that names the node.
        announced: Whether the node said so, as one that is preempted does; a node that fell silent did not.
    """

    reason: str
    announced: bool = False


Event = Began | Noted | EpochEnded | Ended | Died | Lost


@dataclass(eq=False)
class Worker:
    """One process that trains, and what it is doing.

    Args:
        number: Its place, counted from 0; no two have the same.
        host: The name of its machine; "" for the scheduler's.
        job: What it is doing; None while it is free.
        since: When it was given the job, in seconds of the monotonic clock.
        folder: Of the trial, once it has it.
    """

    number: int
    host: str = ""
    job: Job | None = None
    since: float = 0.0
    folder: str = ""


class Workers(Protocol):
    """Those who train, near or far."""

    def free(self) -> Collection[Worker]:
        """The workers that have nothing to do."""
        ...

    def busy(self) -> Collection[Worker]:
        """The workers that have a job."""
        ...

    def give(self, worker: Worker, job: Job) -> None:
        """Hand a job to a free worker."""
        ...

    def release(self, worker: Worker) -> None:
        """Take note that a worker's job is over: it is free, if it still is there."""
        ...

    def answer(self, worker: Worker, word: str) -> None:
        """Say to a worker that asked whether to go on.

        Args:
            word: "go on" or "prune".
        """
        ...

    def events(self, timeout: float) -> Iterator[tuple[Worker, Event]]:
        """Wait for news.

        Args:
            timeout: Seconds after which there are none.

        Yields:
            A worker and what it said. After `Died` it waits to be replaced, after `Lost` it is no more.
        """
        ...

    def interrupt(self, worker: Worker) -> None:
        """Ask a worker to end its trial with what it has."""
        ...

    def kill(self, worker: Worker) -> None:
        """End a worker's process at once; its death is told."""
        ...

    def replace(self, worker: Worker) -> None:
        """Put a fresh process in the place of one that is dead, or is to be killed."""
        ...

    def set_aside(self, worker: Worker, reason: str) -> bool:
        """Give nothing more to the node of a worker whose disk is full.

        Args:
            reason: What the user is told.

        Returns:
            Whether others go on; if not, nobody is set aside.
        """
        ...

    def notes(self) -> list[str]:
        """Take what the user should know of the machines, a line each, told once."""
        ...

    def crew(self) -> str:
        """Who is there, in a few words; "" where that never changes."""
        ...

    def hopeless(self) -> str:
        """Why nobody will train any more, with the fix; "" where somebody is there or may come."""
        ...

    def close(self) -> None:
        """End all workers: the free ones by themselves, others at once."""
        ...


class Launcher(Protocol):
    """Whatever has machines: a batch system, a cluster, the user.

    It is made before anything is planned: what it lacks (a package, a program) it says then, as a `ConfigError`.
    """

    def start(self, command: Sequence[str], nodes: int, logs: Path) -> int:
        """Ask for node processes, the first time before any training, later again where some have ended.

        Args:
            command: What each of them is to run, in any folder.
            nodes: How many more.
            logs: An existing folder for what they print, shared by all machines.

        Returns:
            How many were asked for, those included that an earlier start of the sweep left, should it have been killed:
            fewer where a limit is reached, or where somebody cancelled one, who wants none in its place.

        Raises:
            ConfigError: If they are refused, such as for an unknown partition.
        """
        ...

    def waiting(self) -> int:
        """Count those asked for that are queued or run, as whoever has the machines tells.

        It may take seconds, and is called from a thread of its own, never twice at once.
        """
        ...

    def notes(self) -> list[str]:
        """Take what the user should know, a line each, told once: a job was cancelled, or hit its time limit."""
        ...

    def stop(self) -> None:
        """Take back all that was asked for; called once, at the sweep's end, after the node processes were told."""
        ...

"""Worker processes on this machine: started warm, replaced when they die, ended with their parent.

A fork server imports torch and Lightning once, before any thread or CUDA context exists; a worker is a fork of it and
starts in milliseconds. Where there is no fork server (Windows), each worker imports them itself.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from convgrid.sweep.messages import Began, Ended, EpochEnded, Job, Noted, Ready
from convgrid.system.environment import cores
from convgrid.system.processes import start

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Died:
    """A worker's process ended by itself or was killed.

    Args:
        exitcode: Its exit status; below 0, the signal that killed it.
    """

    exitcode: int


@dataclass(eq=False)
class Worker:
    """One process and what it is doing.

    Args:
        number: Its place, counted from 0.
        connection: Jobs go out, what became of them comes in.
        job: What it is doing; None while it is free.
        since: When it was given the job, in seconds of the monotonic clock.
        folder: Of the trial, once it has it.
    """

    number: int
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    since: float = 0.0
    folder: str = ""


class Local:
    """As many workers as the machine has room for.

    Args:
        workers: How many; None takes one a GPU slot, or one a core where no GPU is in sight.
        trials_per_gpu: Workers that share a GPU.
        threads: Intra-op threads of each worker.
        accelerator: The config's `trainer.accelerator`.
    """

    def __init__(self, *, workers: int | None, trials_per_gpu: int, threads: int, accelerator: str) -> None:
        self._slots: list[str | None] = [None]
        first = self._start(0)
        gpus = 0 if accelerator == "cpu" else self._ready(first)
        names = visible_gpus(os.environ.get(VISIBLE), gpus)
        slots = [name for name in names for _ in range(trials_per_gpu)]
        count = workers or len(slots) or max(1, cores() // threads)
        self._slots = [slots[number % len(slots)] if slots else None for number in range(count)]
        if slots:  # the first one sees all GPUs
            self._end(first)
            first = self._start(0)
        self.workers = [first, *map(self._start, range(1, count))]

    def free(self) -> list[Worker]:
        """The workers that have nothing to do."""
        return [worker for worker in self.workers if worker.job is None]

    def busy(self) -> list[Worker]:
        """The workers that have a job."""
        return [worker for worker in self.workers if worker.job is not None]

    def give(self, worker: Worker, job: Job) -> None:
        """Hand a job to a free worker.

        Args:
            job: What it is to do.
        """
        worker.job, worker.since, worker.folder = job, time.monotonic(), ""
        with contextlib.suppress(OSError):  # it has just died: `events` tells
            worker.connection.send(job)

    def answer(self, worker: Worker, word: str) -> None:
        """Say to a worker that asked whether to go on.

        Args:
            word: "go on" or "prune".
        """
        with contextlib.suppress(OSError):
            worker.connection.send(word)

    def events(self, timeout: float) -> Iterator[tuple[Worker, Began | Noted | EpochEnded | Ended | Died]]:
        """Wait for news.

        Args:
            timeout: Seconds after which there are none.

        Yields:
            A worker and what it said; a death comes last.
        """
        by_handle: dict[Any, Worker] = {worker.connection: worker for worker in self.workers}
        by_handle |= {worker.process.sentinel: worker for worker in self.workers}
        for worker in dict.fromkeys(by_handle[handle] for handle in wait(list(by_handle), timeout)):
            try:
                while worker.connection.poll():
                    event = worker.connection.recv()
                    if not isinstance(event, Ready):
                        yield worker, event
            except (EOFError, OSError):
                worker.process.join()
                yield worker, Died(worker.process.exitcode or 0)

    def interrupt(self, worker: Worker) -> None:
        """Ask a worker to end its trial with what it has."""
        _signal(worker, signal.SIGINT)

    def kill(self, worker: Worker) -> None:
        """End a worker's process at once."""
        _signal(worker, signal.SIGKILL)

    def replace(self, worker: Worker) -> None:
        """Put a fresh process in a worker's place.

        Args:
            worker: One that is dead, or to be killed.
        """
        self._end(worker)
        self.workers[worker.number] = self._start(worker.number)

    def close(self) -> None:
        """End all workers: the free ones by themselves, others at once."""
        for worker in self.workers:
            self._end(worker)

    def _start(self, number: int) -> Worker:
        ours, theirs = multiprocessing.Pipe()
        process = start(_work, theirs, self._slots[number])
        theirs.close()
        return Worker(number, process, ours)  # pyright: ignore[reportArgumentType]  (Windows' pipes are of another class)

    def _ready(self, worker: Worker) -> int:
        said: Ready = worker.connection.recv()
        return said.gpus

    def _end(self, worker: Worker) -> None:
        worker.connection.close()
        if worker.job is not None:
            self.kill(worker)
        worker.process.join(timeout=5)
        if worker.process.is_alive():
            self.kill(worker)
            worker.process.join()


def visible_gpus(inherited: str | None, count: int) -> list[str]:
    """Name the GPUs that this process may use, so that each worker sees one of them and no other.

    Args:
        inherited: What CUDA_VISIBLE_DEVICES holds: indices, or the start of names; None where it is not set.
        count: How many of them torch finds. Of a GPU's instances (MIG) it finds one, and a process can use one.

    Returns:
        Values of CUDA_VISIBLE_DEVICES.

    Example:
        >>> visible_gpus("2,3", 2), visible_gpus(None, 2)
        (['2', '3'], ['0', '1'])
    """
    if inherited is None or not count:
        return [str(gpu) for gpu in range(count)]
    names = [name.strip() for name in inherited.split(",")]
    instances = [name for name in names if name.startswith("MIG-")]
    return list(dict.fromkeys(instances)) or names[:count]


def _work(scheduler: Connection, visible_gpu: str | None) -> None:
    from convgrid.sweep.worker import work  # it imports torch, which the scheduler does without

    work(scheduler, visible_gpu)


def _signal(worker: Worker, number: int) -> None:
    if worker.process.pid is not None and worker.process.is_alive():
        os.kill(worker.process.pid, number)

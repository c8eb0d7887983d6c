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
from pathlib import Path
from typing import Any

from convgrid.sweep.executors.interface import Died, Event, Worker
from convgrid.sweep.messages import Job, Ready
from convgrid.system.environment import cores
from convgrid.system.processes import start

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass
class _Process:
    """Of a worker: jobs go out by the connection, what became of them comes in."""

    process: BaseProcess
    connection: Connection
    is_ready: bool = False  # and heard to be so
    is_dead: bool = False  # and told so


class Local:
    """As many workers as the machine has room for.

    Args:
        workers: How many; None takes one a GPU slot, or one a core where no GPU is in sight.
        trials_per_gpu: Workers that share a GPU.
        threads: Intra-op threads of each worker.
        accelerator: The config's `trainer.accelerator`.
        lease: The file by which workers learn that they must end; None where they end with this process only.

    Raises:
        EOFError: If a worker ends before it can say how many GPUs there are.
    """

    def __init__(
        self, *, workers: int | None, trials_per_gpu: int, threads: int, accelerator: str, lease: Path | None = None
    ) -> None:
        self._lease = None if lease is None else str(lease)
        self._slots: list[str | None] = [None]
        first = self._start(0)
        self.gpus = 0 if accelerator == "cpu" else self._ready(first)
        names = visible_gpus(os.environ.get(VISIBLE), self.gpus)
        slots = [name for name in names for _ in range(trials_per_gpu)]
        count = workers or len(slots) or max(1, cores() // threads)
        self._slots = [slots[number % len(slots)] if slots else None for number in range(count)]
        if slots:  # the first one sees all GPUs
            self._end(first, kill=False)
            first = self._start(0)
        self._processes = [first, *map(self._start, range(1, count))]
        self.workers = [Worker(number) for number in range(count)]

    def wait_until_ready(self) -> None:
        """Wait until every worker has imported what it needs.

        Raises:
            EOFError: If one cannot.
        """
        for its in self._processes:
            if not its.is_ready:
                self._ready(its)

    def free(self) -> list[Worker]:
        """The workers that have nothing to do."""
        return [worker for worker in self.workers if worker.job is None]

    def busy(self) -> list[Worker]:
        """The workers that have a job."""
        return [worker for worker in self.workers if worker.job is not None]

    def give(self, worker: Worker, job: Job) -> None:
        """Hand a job to a free worker."""
        worker.job, worker.since, worker.folder = job, time.monotonic(), ""
        self._say(worker, job)

    def release(self, worker: Worker) -> None:
        """Take note that a worker's job is over."""
        worker.job = None

    def answer(self, worker: Worker, word: str) -> None:
        """Say to a worker that asked whether to go on."""
        self._say(worker, word)

    def events(self, timeout: float, also: Any = None) -> Iterator[tuple[Worker, Event]]:
        """Wait for news.

        Args:
            timeout: Seconds after which there are none.
            also: What else ends the waiting, once it can be read: anything with a `fileno()`.

        Yields:
            A worker and what it said; a death comes last.
        """
        by_handle: dict[Any, Worker] = {}
        for worker, its in zip(self.workers, self._processes, strict=True):
            if not its.is_dead:
                by_handle |= {its.connection: worker, its.process.sentinel: worker}
        ready = wait([*by_handle, *([] if also is None else [also])], timeout)
        for worker in dict.fromkeys(by_handle[handle] for handle in ready if handle is not also):
            its = self._processes[worker.number]
            try:
                while its.connection.poll():
                    event = its.connection.recv()
                    if not isinstance(event, Ready):
                        yield worker, event
            except (EOFError, OSError):
                its.process.join()
                its.is_dead = True
                yield worker, Died(its.process.exitcode or 0)

    def interrupt(self, worker: Worker) -> None:
        """Ask a worker to end its trial with what it has."""
        _signal(self._processes[worker.number].process, signal.SIGINT)

    def kill(self, worker: Worker) -> None:
        """End a worker's process at once."""
        _signal(self._processes[worker.number].process, signal.SIGKILL)

    def replace(self, worker: Worker) -> None:
        """Put a fresh process in the place of one that is dead, or is to be killed."""
        self._end(self._processes[worker.number], kill=worker.job is not None)
        self._processes[worker.number] = self._start(worker.number)

    def set_aside(self, worker: Worker, reason: str) -> bool:
        """There is one disk."""
        return False

    def notes(self) -> list[str]:
        """Nothing: the machine is this one."""
        return []

    def crew(self) -> str:
        """Never changes."""
        return ""

    def hopeless(self) -> str:
        """Never: a worker that dies is replaced."""
        return ""

    def close(self) -> None:
        """End all workers: the free ones by themselves, others at once."""
        for worker, its in zip(self.workers, self._processes, strict=True):
            self._end(its, kill=worker.job is not None)

    def _say(self, worker: Worker, what: Job | str) -> None:
        with contextlib.suppress(OSError):  # it has just died: `events` tells
            self._processes[worker.number].connection.send(what)

    def _start(self, number: int) -> _Process:
        ours, theirs = multiprocessing.Pipe()
        process = start(_work, theirs, self._slots[number], self._lease)
        theirs.close()
        return _Process(process, ours)  # pyright: ignore[reportArgumentType]  (Windows' pipes are of another class)

    def _ready(self, its: _Process) -> int:
        said: Ready = its.connection.recv()
        its.is_ready = True
        return said.gpus

    def _end(self, its: _Process, *, kill: bool) -> None:
        its.connection.close()
        if kill:
            _signal(its.process, signal.SIGKILL)
        its.process.join(timeout=5)
        if its.process.is_alive():
            _signal(its.process, signal.SIGKILL)
            its.process.join()


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


def _work(scheduler: Connection, visible_gpu: str | None, lease: str | None) -> None:
    from convgrid.sweep.worker import work  # it imports torch, which the scheduler does without

    work(scheduler, visible_gpu, lease)


def _signal(process: BaseProcess, number: int) -> None:
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, number)

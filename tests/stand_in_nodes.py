"""Schedulers and nodes in processes of their own, real but for their workers, which train nothing and write it down.

They are forks of the process that runs the test, and a node's workers are forks of it.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from convgrid.config import Settings, plan_from_config
from convgrid.config.sections import ExecutorSettings
from convgrid.runs.trial import Outcome
from convgrid.sweep.executors import fitness, local, node
from convgrid.sweep.executors.hand import Hand
from convgrid.sweep.executors.lease import end_with_parent_or_lease
from convgrid.sweep.executors.remote import Options, Remote
from convgrid.sweep.interfaces import Trial
from convgrid.sweep.messages import Began, Ended, EpochEnded, Job, Ready
from convgrid.sweep.scheduler import Scheduler, SchedulerRules
from convgrid.sweep.sources import GridSource
from forks import fork_workers

JOURNAL = "journal.jsonl"
LOST_AFTER = 3.0  # seconds
OPTIONS = Options(workers=1, trials_per_gpu=1, threads=1, accelerator="cpu")


@cache
def trial() -> Trial:
    """One real trial, of which others are copies under other keys."""
    from conftest import compose_settings

    settings = compose_settings("arch.m=1", "arch.filters=4", "trainer.max_epochs=3")
    return Trial(("arch.m=1",), settings, plan_from_config(settings), "key", "config", {})


def trials(count: int, *, epochs: int = 3, seconds: float = 0.0) -> tuple[Trial, ...]:
    """So many, of so many epochs, each of which takes so long."""
    values = {**trial().settings.values, "seconds": seconds}
    values["trainer"] = {**values["trainer"], "max_epochs": epochs}
    settings = Settings(values, trial().settings.choices, trial().settings.folders)
    names = [f"t{number}" for number in range(count)]
    return tuple(replace(trial(), overrides=(n,), key=n, varying={"n": n}, settings=settings) for n in names)


def executor(
    *, lost_after: float = LOST_AFTER, host: str = "127.0.0.1", patience: float = 20.0, nodes: int = 1
) -> ExecutorSettings:
    """Settings that suit a test."""
    return ExecutorSettings(host=host, port=0, lost_after=lost_after, patience=patience, nodes=nodes)


class View:
    """Keeps what it is told, and writes notes down."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal

    def note(self, text: str) -> None:
        note(self._journal, note=text)

    def ended(self, worker: int, trial: Trial, outcome: Outcome) -> None:
        note(self._journal, outcome=outcome.status, trial=trial.key, reason=outcome.reason, epochs=outcome.epochs)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def note(journal: Path, **said: Any) -> None:
    """Add a line, whole, with the time by the clock that all processes of a machine share."""
    line = json.dumps({"at": time.monotonic(), "pid": os.getpid(), **said}) + "\n"
    with open(journal, "ab", buffering=0) as file:
        file.write(line.encode())


def noted(journal: Path) -> list[dict[str, Any]]:
    """All lines."""
    return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []


def trained_twice_at_once(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Trials that two processes were at within the same time."""
    spans: dict[tuple[str, int, int], list[float]] = {}
    for line in lines:
        if "epoch" in line:
            spans.setdefault((line["trial"], line["pid"], line["job"]), []).append(line["at"])
    found = sorted((key[0], min(at), max(at)) for key, at in spans.items())
    return [a[0] for a, b in pairwise(found) if a[0] == b[0] and b[1] <= a[2]]


def work(scheduler: Connection, _gpu: str | None, lease: str | None) -> None:
    """Take jobs like a real worker: an epoch is a line of the journal, from which a later attempt goes on."""
    os.setpgrp()
    interrupted = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with_parent_or_lease, args=(lease,), daemon=True).start()
    scheduler.send(Ready(0))
    jobs = 0
    while True:
        try:
            job: Job = scheduler.recv()
        except EOFError:
            return
        jobs += 1
        for said in _train(job, jobs, interrupted):
            scheduler.send(said)
            if job.asks and isinstance(said, EpochEnded) and scheduler.recv() == "prune":
                scheduler.send(Ended(Outcome("pruned", epochs=said.epoch)))
                break


def _train(job: Job, number: int, interrupted: threading.Event) -> Iterator[Any]:
    key, settings = job.trial.key, job.trial.settings
    journal = Path(JOURNAL)
    yield Began("")
    done = max([line["epoch"] for line in noted(journal) if line.get("trial") == key and "epoch" in line], default=0)
    note(journal, trial=key, epoch=done, job=number, begins=True)
    for epoch in range(done + 1, settings.trainer.max_epochs + 1):
        if interrupted.wait(settings.values["seconds"]):
            yield Ended(Outcome("killed", "interrupted"))
            return
        note(journal, trial=key, epoch=epoch, job=number)
        yield EpochEnded(epoch, {"val/accuracy": epoch / 10})
    if Path(f"full-{os.environ.get('SLURMD_NODENAME')}").exists():
        yield Ended(Outcome("killed", "the disk cannot be written: No space left on device. Make room."), "disk")
        return
    yield Ended(Outcome("finished", epochs=settings.trainer.max_epochs, metrics={"best/val/accuracy": 0.5}))


@contextmanager
def scheduler(folder: Path, todo: Sequence[Trial], **settings: Any) -> Iterator[Scheduler]:
    """A scheduler in this process, with nodes that come by hand."""
    options = executor(**settings)
    remote = Remote(Hand(), options, folder=folder, options=OPTIONS, trained=[todo[0].settings])
    try:
        source: Any = GridSource(todo)
        view: Any = View(folder / JOURNAL)
        yield Scheduler("sweep", source, remote, SchedulerRules(), view, None)
    finally:
        remote.close()


def run_scheduler(todo: Sequence[Trial], host: str = "127.0.0.1") -> int:
    """Run a sweep in the working folder, less what an earlier start of it has finished."""
    done = {line["trial"] for line in noted(Path(JOURNAL)) if "outcome" in line}
    with scheduler(Path(), [each for each in todo if each.key not in done], host=host) as loop:
        return int(loop.run() != "complete")


def run_node(file: Path, name: str, *, ahead: float = 0.0, numpy: str = "") -> int:
    """Train for a sweep.

    Args:
        name: Of the machine.
        ahead: Hours by which its clock is wrong.
        numpy: Another version than that of the scheduler.
    """
    os.environ["SLURMD_NODENAME"] = name
    fork_workers()
    local._work = work
    real, code = time.time, {**fitness.code(), **({"numpy": numpy} if numpy else {})}
    time.time = lambda: real() + 3600 * ahead
    fitness.code = lambda: code
    return node.serve(file)

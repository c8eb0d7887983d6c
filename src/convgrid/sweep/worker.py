"""One worker process: it takes trials one after another, trains each, and tells the scheduler of every epoch.

Whatever a trial does to its process, the trial's folder says how far it came, and other workers do not notice.
"""

import contextlib
import functools
import gc
import json
import math
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from convgrid.config import Settings, identity
from convgrid.data import ImageData, notes_on
from convgrid.data.files import some
from convgrid.errors import SweepError
from convgrid.features.extract import ProgressWatch
from convgrid.network.plan import Plan
from convgrid.runs.sweep import DONE, SWEEPS, outcome, read_sweep
from convgrid.runs.trial import BEST, LAST, LOG, METRICS_LOG, RECORD, Outcome, TrialFolder, claim
from convgrid.sweep.executors.lease import end_with_parent_or_lease
from convgrid.sweep.messages import Began, Ended, EpochEnded, Job, Noted, Ready
from convgrid.system.device import find_device
from convgrid.system.memory import keep_freed_memory
from convgrid.training.attempt import Pruned, attempt, ending_of
from convgrid.training.checkpoints import PREVIOUS
from convgrid.training.components import Components
from convgrid.training.learner import Learner
from convgrid.training.notes import notes_on_training
from convgrid.training.once import look_at_features
from convgrid.training.own_code import own_code
from convgrid.training.recipe import History
from convgrid.training.setup import prepare, read
from convgrid.training.unchanged import code_changes


def work(scheduler: Connection, visible_gpu: str | None, lease: str | None = None) -> None:
    """Take jobs until the scheduler hangs up.

    Args:
        scheduler: Jobs come in, what became of them goes out.
        visible_gpu: Index or name of the one GPU to use; None leaves all in sight.
        lease: Of a node, the file that says until when it may train; None for a worker of the scheduler's machine.
    """
    os.setpgrp()  # Ctrl-C in the terminal is the scheduler's to handle
    if lease is None:  # batch systems signal every process of a job, whose node process does what is to be done
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the fork server ignores it
    threading.Thread(target=end_with_parent_or_lease, args=(lease,), daemon=True).start()
    if visible_gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpu
    keep_freed_memory()
    data, interrupts = _LastData(), _Interrupts()
    with contextlib.suppress(EOFError, ConnectionError):
        scheduler.send(Ready(torch.cuda.device_count()))
        while True:
            ended = _run(scheduler.recv(), scheduler, data, interrupts)
            _give_back()
            scheduler.send(ended)


def _give_back() -> None:
    """What torch keeps of a GPU's memory for its next use, workers that share the GPU lack."""
    if torch.cuda.is_initialized():
        gc.collect()  # a trainer and its learner know each other
        torch.cuda.empty_cache()


class _Interrupts:
    """The scheduler's SIGINT ends a trial where it may, and nothing but the trial."""

    def __init__(self) -> None:
        self.came, self._may = False, False
        signal.signal(signal.SIGINT, self._note)

    def _note(self, _number: int, _frame: object) -> None:
        self.came = True
        if self._may:
            raise KeyboardInterrupt

    def are_behind(self, _error: BaseException) -> bool:
        """Whether an error is to be taken for one: Lightning makes another exception of it, and so may the user."""
        return self.came

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Be interrupted inside; outside, a signal waits for the next time."""
        self._may = True
        try:
            if self.came:
                raise KeyboardInterrupt
            yield
        finally:
            self._may = False


class _LastData:
    """The data of the last trial, which the next one most often shares, and what there is to say of it."""

    def __init__(self) -> None:
        self._key, self._data = "", None
        self.notes: tuple[str, ...] = ()

    def of(self, settings: Settings) -> ImageData:
        """Read the data, unless it is at hand."""
        trainer, fold = settings.trainer, settings.fold
        parts = (settings.choices["data"], settings.values["data"], trainer.limit, trainer.overfit, fold)
        key = json.dumps(parts, sort_keys=True)
        if self._data is None or key != self._key:
            self._data = None  # the old goes before the new one comes
            self._key, self._data = key, read(settings)
            self.notes = notes_on(self._data)
        return self._data


def _run(job: Job, scheduler: Connection, data: _LastData, interrupts: _Interrupts) -> Ended:
    """Do a job, whatever it comes to."""
    settings = job.trial.settings
    try:
        with interrupts.allowed():
            components = Components(settings)
            components.check()
            torch.set_num_threads(settings.trainer.threads)
            device = find_device(settings.trainer.accelerator)
            trial = identity(settings, device=device, digest=data.of(settings).digest)
        folder = claim(trial, settings)
    except BaseException as error:  # a component of the user's own may raise anything
        return Ended(*ending_of(error, interrupts.are_behind))
    if folder is None:
        return Ended(Outcome("killed", "another process trains it"), "busy")
    try:
        earlier = outcome(folder.path)
        if earlier is not None and earlier.status in DONE and earlier.status not in job.again:
            return Ended(earlier, earlier=True)
        for said in (Began(str(folder.path)), *map(Noted, data.notes)):
            scheduler.send(said)
        with _written_to(folder.path / LOG):
            return _attempt(job, folder, data.of(settings), components, device, scheduler, interrupts)
    finally:
        folder.lock.release()


@functools.cache
def _sweep_of(identity: str) -> Mapping[str, Any]:
    """What is stored of a sweep; nothing where that was damaged meanwhile."""
    try:
        return read_sweep(SWEEPS / identity)
    except SweepError:
        return {"command": "", "varying": {}}


def _most_first(varying: Mapping[str, str], sweep: Mapping[str, Any]) -> dict[str, str]:
    """What differs between trials, keys of most values first: searched ones, of which nobody knows how many."""
    counts = {key: len(values) for key, values in sweep["varying"].items()}
    return dict(sorted(varying.items(), key=lambda item: -counts.get(item[0], math.inf)))


def _attempt(
    job: Job,
    folder: TrialFolder,
    data: ImageData,
    components: Components,
    device: str,
    scheduler: Connection,
    interrupts: _Interrupts,
) -> Ended:
    """Train a job's trial, from its last checkpoint on, or from the start."""
    sweep = _sweep_of(job.sweep)

    def put_together() -> tuple[Learner, Plan]:
        made = prepare(job.trial.settings, data, components, job.trial.plan, accumulate=job.accumulate)
        for note in notes_on_training(job.trial.settings, *made):
            _send(Noted(note), scheduler)
        for note in _make_way(job, folder, own_code(job.trial.settings, made[1])):
            _send(Noted(note), scheduler)
        watch = ProgressWatch(lambda text: _send(Noted(text), scheduler))
        look_at_features(*made, job.trial.settings, device, watch)
        return made

    ended = attempt(
        job.trial.settings,
        folder,
        put_together,
        device=device,
        raises=False,
        epoch_ended=lambda history: _tell(history, job, scheduler),
        is_interrupt=interrupts.are_behind,
        interruptible=interrupts.allowed,
        command=sweep["command"],
        varying=_most_first(job.trial.varying, sweep),
        tags={"convgrid.accumulate": str(job.accumulate)} if job.accumulate > 1 else {},
        sweep=folder.record.get("sweep", job.sweep),
    )
    if folder.record.get("status") in ("finished", "pruned"):  # as written: a full disk may not have taken the outcome
        with contextlib.suppress(OSError):
            (folder.path / LAST).unlink(missing_ok=True)
    return Ended(*ended)


def _make_way(job: Job, folder: TrialFolder, code: Mapping[str, str]) -> list[str]:
    """Remove what is not to be gone on from: what the job wants trained again, and what other code trained.

    Returns:
        What the user is told of it.
    """
    changed = code_changes(folder.path, code)
    for name in (LAST, PREVIOUS, BEST, METRICS_LOG, RECORD) if changed or "finished" in job.again else ():
        (folder.path / name).unlink(missing_ok=True)
    return [f"The code of {some(changed)} has changed: trials that had begun start over."] if changed else []


def _tell(history: History, job: Job, scheduler: Connection) -> None:
    """Say that an epoch is on disk, and hear whether the trial goes on."""
    if _send(EpochEnded(len(history), dict(history[-1])), scheduler, asks=job.asks) == "prune":
        raise Pruned


def _send(message: EpochEnded | Noted, scheduler: Connection, *, asks: bool = False) -> str | None:
    """Say something in the middle of a trial, and wait for an answer to what asks for one."""
    try:
        scheduler.send(message)
        return scheduler.recv() if asks else None
    except (EOFError, ConnectionError):
        os._exit(1)  # the sweep was killed: that is no failure of the trial's, whose epochs are on disk


@contextlib.contextmanager
def _written_to(path: Path) -> Iterator[None]:
    """Send what the trial prints, by Python or by C, to a file of its own."""
    saved = [os.dup(number) for number in (1, 2)]
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for number in (1, 2):
            os.dup2(file, number)
        yield
    finally:
        for number, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(file)

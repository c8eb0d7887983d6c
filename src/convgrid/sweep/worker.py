"""One worker process: it takes trials one after another, trains each, and tells the scheduler of every epoch.

Whatever a trial does to its process, the trial's folder says how far it came, and other workers do not notice.
"""

import contextlib
import dataclasses
import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from convgrid.config import Settings, identity
from convgrid.data import ImageData
from convgrid.errors import ConvgridError, cause_of, reason_of
from convgrid.runs.sweep import DONE, outcome
from convgrid.runs.trial import BEST, LAST, LOG, METRICS, RECORD, EpochLog, Outcome, TrialFolder, claim
from convgrid.sweep.messages import Began, Ended, EpochEnded, Job, Ready
from convgrid.system.memory import keep_freed_memory
from convgrid.training.checkpoints import broken
from convgrid.training.learner import Learner, train
from convgrid.training.recording import begin, ended, write_predictions
from convgrid.training.trial import find_device, prepare, read, try_components


class Pruned(Exception):
    """The scheduler has seen enough of the trial."""


def work(scheduler: Connection, visible_gpu: str | None) -> None:
    """Take jobs until the scheduler hangs up.

    Args:
        scheduler: Jobs come in, what became of them goes out.
        visible_gpu: Index of the one GPU to use; None leaves all in sight.
    """
    os.setpgrp()  # Ctrl-C in the terminal is the scheduler's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the fork server ignores it
    threading.Thread(target=_end_with_the_scheduler, daemon=True).start()
    if visible_gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpu
    keep_freed_memory()
    data, interrupts = _LastData(), _Interrupts()
    with contextlib.suppress(EOFError, ConnectionError):
        scheduler.send(Ready(torch.cuda.device_count()))
        while True:
            scheduler.send(_run(scheduler.recv(), scheduler, data, interrupts))


def _end_with_the_scheduler() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


class _Interrupts:
    """The scheduler's SIGINT ends a trial where it may, and nothing but the trial."""

    def __init__(self) -> None:
        self.came, self._may = False, False
        signal.signal(signal.SIGINT, self._note)

    def _note(self, _number: int, _frame: object) -> None:
        self.came = True
        if self._may:
            raise KeyboardInterrupt

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
    """The data of the last trial, which the next one most often shares."""

    def __init__(self) -> None:
        self._key, self._data = "", None

    def of(self, settings: Settings) -> ImageData:
        """Read the data, unless it is at hand."""
        trainer = settings.values["trainer"]
        fold = settings.values["fold"]
        parts = (settings.choices["data"], settings.values["data"], trainer["limit"], trainer["overfit"], fold)
        key = json.dumps(parts, sort_keys=True)
        if self._data is None or key != self._key:
            self._data = None  # the old goes before the new one comes
            self._key, self._data = key, read(settings)
        return self._data


def _run(job: Job, scheduler: Connection, data: _LastData, interrupts: _Interrupts) -> Ended:
    """Do a job, whatever it comes to."""
    settings = job.trial.settings
    try:
        with interrupts.allowed():
            try_components(settings)
            torch.set_num_threads(settings.values["trainer"]["threads"])
            device = find_device(settings.values["trainer"]["accelerator"])
            trial = identity(settings, device=device, digest=data.of(settings).digest)
        folder = claim(trial, settings)
    except BaseException as error:  # a component of the user's own may raise anything
        return Ended(*_ending(error, interrupts))
    if folder is None:
        return Ended(Outcome("killed", "another process trains it"), "busy")
    try:
        earlier = outcome(folder.path)
        if earlier is not None and earlier.status in DONE and earlier.status not in job.again:
            return Ended(earlier, earlier=True)
        scheduler.send(Began(str(folder.path)))
        with _written_to(folder.path / LOG):
            return _attempt(job, folder, data.of(settings), device, scheduler, interrupts)
    finally:
        folder.lock.release()


def _attempt(
    job: Job, folder: TrialFolder, data: ImageData, device: str, scheduler: Connection, interrupts: _Interrupts
) -> Ended:
    """Train a trial in its folder, from its last checkpoint on."""
    started, cause, tested, learner = time.monotonic(), "", {}, None
    try:
        with interrupts.allowed():
            learner = _begin(job, folder, data, device)
            log = EpochLog(folder.path)
            tested = train(learner, folder.path, device=device, send=_teller(job, log, scheduler))
        log.append(learner.history)  # the last epoch's, where an earlier attempt died behind its checkpoint
        write_predictions(folder, learner)
        ending = Outcome("finished")
    except Pruned:
        ending = Outcome("pruned")
    except BaseException as error:  # whatever a trial raises, SystemExit too, is its outcome
        ending, cause = _ending(error, interrupts)
        if not isinstance(error, ConvgridError | KeyboardInterrupt):
            with contextlib.suppress(OSError):  # its log is on the disk that may be full
                traceback.print_exc()
    outcome = ended(ending, folder, learner, tested, time.monotonic() - started)
    with contextlib.suppress(OSError):  # on a full disk the scheduler hears of it all the same
        folder.end(outcome)
        if outcome.status in ("finished", "pruned"):
            (folder.path / LAST).unlink(missing_ok=True)
    return Ended(outcome, cause)


def _begin(job: Job, folder: TrialFolder, data: ImageData, device: str) -> Learner:
    """Put the learner together, and say in the folder that it is under way."""
    settings = job.trial.settings
    learner, planned = prepare(settings, data)
    if job.accumulate > 1:
        learner.recipe = dataclasses.replace(learner.recipe, accumulate=job.accumulate)
    cause = broken(folder.path / LAST)
    if cause:
        print(f"{LAST} cannot be read: {cause}. The trial starts over.")
    if cause or "finished" in job.again:
        _start_over(folder)
    begin(
        folder,
        settings,
        learner,
        planned,
        device,
        varying=job.trial.varying,
        tags={"convgrid.accumulate": str(job.accumulate)} if job.accumulate > 1 else {},
        sweep=folder.record.get("sweep", job.sweep),
    )
    return learner


def _start_over(folder: TrialFolder) -> None:
    for path in folder.path.iterdir():
        if path.name in (LAST, BEST, METRICS, RECORD):
            path.unlink()


def _teller(job: Job, log: EpochLog, scheduler: Connection) -> Callable[[Sequence[Mapping[str, float]]], None]:
    """What is done once an epoch's checkpoint is written."""

    def send(history: Sequence[Mapping[str, float]]) -> None:
        log.append(history)
        try:
            scheduler.send(EpochEnded(len(history), dict(history[-1])))
            pruned = job.asks and scheduler.recv() == "prune"
        except (EOFError, ConnectionError):
            os._exit(1)  # the sweep was killed: that is no failure of the trial's, and the epoch is on disk
        if pruned:
            raise Pruned

    return send


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


def _ending(error: BaseException, interrupts: _Interrupts) -> tuple[Outcome, str]:
    """What a trial's exception makes of it, and what the scheduler reacts to."""
    if interrupts.came:
        return Outcome("killed", "interrupted"), ""
    cause = cause_of(error)
    return Outcome("killed" if cause == "disk" else "failed", reason_of(error)), cause

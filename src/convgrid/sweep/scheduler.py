"""The loop of a sweep: free workers get trials, and whatever becomes of a trial stays its own affair."""

import contextlib
import re
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from convgrid.runs.best import SettingKey, setting_of
from convgrid.runs.trial import lock, read_epochs
from convgrid.sweep.executors.interface import Died, Lost, Worker, Workers
from convgrid.sweep.interfaces import WAIT, Outcome, Source, Trial, Wait
from convgrid.sweep.messages import Began, Ended, EpochEnded, Job, Noted
from convgrid.system.processes import handled_by

SCHEDULER_POLL_INTERVAL = 0.25  # seconds between looks at the clock and at signals
ASK_AGAIN_DELAY = 1.0  # seconds before a trial that another process trains is asked for again
INTERRUPT_GRACE = 10.0  # seconds for running trials to end by themselves after Ctrl-C
MOST_PARTS = 8  # that a batch is divided into where memory is short
MOST_LOSSES = 3  # of nodes with one trial: it may be what they die of
FINAL = ("memory", "mistake", "lost")  # causes that would come again with the same bits, or have come often enough

Ending = Literal["complete", "interrupted", "failing", "disk", "alone"]


class View(Protocol):
    """Who looks on."""

    def started(self, worker: int, trial: Trial, host: str = "") -> None:
        """A worker has begun a trial; `host` is its machine, "" for this one."""
        ...

    def epoch(self, worker: int, trial: Trial, epoch: int, max_epochs: int, metrics: Mapping[str, float]) -> None:
        """A trial has finished an epoch, counted from 1."""
        ...

    def ended(self, worker: int, trial: Trial, outcome: Outcome) -> None:
        """A trial has its outcome."""
        ...

    def lost(self, worker: int) -> None:
        """A worker is gone; its trial will go on elsewhere."""
        ...

    def crew(self, text: str) -> None:
        """Who is there now."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know now."""
        ...


class Tracker(Protocol):
    """Who brings folders to the tracking store."""

    def tell(self, folder: Path) -> None:
        """A trial's folder has news."""
        ...

    def notes(self) -> list[str]:
        """Take what the user should know of the store."""
        ...


TRAINED_ANEW = "Trials that an earlier run has finished are trained anew: its data, or its device, was another."


@dataclass(frozen=True)
class SchedulerRules:
    """What the `sweep` group says of trials that do not end well.

    Args:
        trial_timeout: Seconds after which a trial's process is killed; None lets it run.
        retries: More attempts for a trial that failed.
        max_consecutive_failures: The sweep stops when its first so many settings all fail alike.
        again: Statuses of earlier runs that are trained again.
        asks: Whether the source prunes.
        finished: Keys of trials that an earlier run has finished, as far as their configs tell.
    """

    trial_timeout: float | None = None
    retries: int = 0
    max_consecutive_failures: int = 5
    again: tuple[str, ...] = ()
    asks: bool = False
    finished: frozenset[str] = frozenset()


class Scheduler:
    """Bring trials and workers together until there are no more trials.

    Args:
        source: Where trials come from.
        rules: For trials that do not end well.
        tracker: Who brings folders to the tracking store; None where nothing is tracked.
    """

    def __init__(
        self, sweep: str, source: Source, workers: Workers, rules: SchedulerRules, view: View, tracker: Tracker | None
    ) -> None:
        self._sweep, self._source, self._workers = sweep, source, workers
        self._rules, self._view, self._tracker = rules, view, tracker
        self._queue: deque[Job] = deque()  # to be tried again
        self._elsewhere: list[tuple[float, Job]] = []  # trained by another process, and when to ask again
        self._attempts: dict[str, int] = {}
        self._reasons: dict[SettingKey, str] | None = {}  # why settings failed; None once a trial has gone well
        self._told: set[str] = set()  # notes, which many trials send
        self._ending: Ending = "complete"
        self._interrupts = 0
        self._losses: dict[str, int] = {}  # nodes that fell silent with a trial
        self._looked = 0.0  # at what takes too long
        self.alone = ""  # why nobody trains any more
        self.outcomes: dict[str, tuple[Trial, Outcome]] = {}

    def run(self) -> Ending:
        """Train all there is.

        Returns:
            "complete"; "interrupted" by Ctrl-C, SIGTERM or SIGUSR1; "failing" where the first settings all failed
            alike; "disk" where it is full; "alone" where nobody is left to train.
        """
        with handled_by(self._interrupt):
            self._loop()
            self._wind_down()
        return self._ending

    def _interrupt(self, number: int, frame: object) -> None:
        """Note a signal; the loop looks every quarter of a second, so that nothing is torn in the middle."""
        self._ending = "interrupted"
        self._interrupts += 1

    def _loop(self) -> None:
        while self._ending == "complete":
            more = self._fill()
            if not more and not self._workers.busy():
                return
            for worker, event in self._workers.events(timeout=SCHEDULER_POLL_INTERVAL):
                self._handle(worker, event)
            self._kill_late()
            self._look_around()

    def _look_around(self) -> None:
        """Tell what workers and the tracking store have to say, and stop where nobody trains nor ever will."""
        for note in self._tracker.notes() if self._tracker else ():
            self._view.note(note)
        notes = self._workers.notes()
        for note in notes:
            self._view.note(note)
        if notes:
            self._view.crew(self._workers.crew())
        self.alone = self._workers.hopeless()
        if self.alone and self._ending == "complete":
            self._ending = "alone"

    def _fill(self) -> bool:
        """Give every free worker a job; whether there are or may be more."""
        for worker in self._workers.free():
            job = self._next()
            if job is None or job == WAIT:
                return job == WAIT
            self._workers.give(worker, job)
        if self._workers.busy() or self._queue:
            return True
        job = self._next()  # is there a reason to wait for workers?
        if isinstance(job, Job):
            self._queue.appendleft(job)
        return job is not None

    def _next(self) -> Job | Wait | None:
        if self._queue:
            return self._queue.popleft()
        trial = self._source.next()
        if isinstance(trial, Trial):
            return Job(trial, self._sweep, again=self._rules.again, asks=self._rules.asks)
        for item in self._elsewhere:
            if item[0] <= time.monotonic():
                self._elsewhere.remove(item)
                return item[1]
        return WAIT if self._elsewhere else trial

    def _handle(self, worker: Worker, event: object) -> None:
        job = worker.job
        match event:
            case Died() if job is None:
                self._workers.replace(worker)
            case Died(exitcode) if job is not None:
                ended = self._bury(worker, job, self._death(worker, exitcode))
                self._workers.release(worker)
                self._workers.replace(worker)
                self._end(worker.number, job, ended)
            case Lost() if job is not None:
                self._workers.release(worker)
                self._go_on_elsewhere(worker, job, event)
            case Ended(cause="disk") if job is not None and self._workers.set_aside(worker, event.outcome.reason):
                self._workers.release(worker)
                self._go_on_elsewhere(worker, job, Lost(event.outcome.reason, announced=True))
            case Ended() if job is not None:
                self._workers.release(worker)
                if event.cause == "memory":  # what is left of it could hurt the next trial
                    self._workers.replace(worker)
                self._end(worker.number, job, event)
            case Began(folder) if job is not None:
                worker.folder = folder
                if job.trial.key in self._rules.finished:
                    self._note(TRAINED_ANEW)
                self._view.started(worker.number, job.trial, worker.host)
                self._tell(folder)
            case Noted(note):
                self._note(note)
            case EpochEnded(epoch, metrics) if job is not None:
                self._epoch(worker, job, epoch, metrics)

    def _note(self, note: str) -> None:
        if note not in self._told:
            self._told.add(note)
            self._view.note(note)

    def _epoch(self, worker: Worker, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        most = job.trial.settings.trainer.max_epochs
        self._view.epoch(worker.number, job.trial, epoch, most, metrics)
        prune = self._source.epoch(job.trial, epoch, metrics)
        if job.asks:
            self._workers.answer(worker, "prune" if prune else "go on")

    def _end(self, number: int, job: Job, ended: Ended) -> None:
        outcome = ended.outcome
        if ended.cause == "busy":
            self._elsewhere.append((time.monotonic() + ASK_AGAIN_DELAY, job))
            return
        if ended.cause == "disk":
            self._ending = "disk"
        again = outcome.status == "failed" and not ended.earlier and self._ending == "complete"
        if again and self._tries_again(job, ended):
            return
        self.outcomes[job.trial.key] = (job.trial, outcome)
        self._source.ended(job.trial, outcome)
        self._view.ended(number, job.trial, outcome)
        self._tell(outcome.folder)
        self._count(job.trial, outcome)

    def _go_on_elsewhere(self, worker: Worker, job: Job, lost: Lost) -> None:
        """Let a trial go on from its last epoch, on the next worker that is free: no attempt of its own is spent."""
        key = job.trial.key
        self._losses[key] = self._losses.get(key, 0) + (not lost.announced)
        if self._ending != "complete":
            self._end(worker.number, job, self._bury(worker, job, lost.reason))
            return
        if self._losses[key] >= MOST_LOSSES:
            told = f"{MOST_LOSSES} nodes were lost with this trial: {lost.reason}"
            self._end(worker.number, job, replace(self._bury(worker, job, told), cause="lost"))
            return
        self._view.lost(worker.number)
        begun = bool(worker.folder)  # then what it had is not to be trained anew
        self._queue.appendleft(replace(job, again=()) if begun else job)

    def _tell(self, folder: str) -> None:
        if self._tracker and folder:
            self._tracker.tell(Path(folder))

    def _tries_again(self, job: Job, ended: Ended) -> bool:
        parts = 2 * job.accumulate
        if ended.cause == "memory" and parts <= min(MOST_PARTS, job.trial.settings.data.batch_size):
            self._view.note(f"{' '.join(job.trial.overrides)}: out of memory. Again with batches in {parts} parts.")
            self._queue.appendleft(replace(job, again=("failed",), accumulate=parts))
            return True
        attempts = self._attempts[job.trial.key] = self._attempts.get(job.trial.key, 0) + 1
        if ended.cause in FINAL or attempts > self._rules.retries:
            return False
        self._view.note(f"{' '.join(job.trial.overrides)}: {ended.outcome.reason}. It is tried again.")
        self._queue.append(replace(job, again=("failed",)))
        return True

    def _count(self, trial: Trial, outcome: Outcome) -> None:
        """Stop where nothing has gone well yet and everything goes wrong in the same way, whatever is repeated."""
        if outcome.status != "failed":
            self._reasons = None
        elif self._reasons is not None:
            self._reasons[setting_of(trial.varying)] = re.sub(r"\d+", "#", outcome.reason)
            alike = len(set(self._reasons.values())) == 1
            if alike and len(self._reasons) >= self._rules.max_consecutive_failures:
                self._ending = "failing"

    def _kill_late(self) -> None:
        if self._rules.trial_timeout is None or time.monotonic() - self._looked < SCHEDULER_POLL_INTERVAL:
            return
        self._looked = time.monotonic()
        for worker in self._workers.busy():
            if self._is_late(worker):
                self._workers.kill(worker)

    def _is_late(self, worker: Worker) -> bool:
        limit = self._rules.trial_timeout
        return limit is not None and time.monotonic() - worker.since > limit

    def _death(self, worker: Worker, exitcode: int) -> str:
        """Why a process is dead that the sweep's end did not kill."""
        if exitcode >= 0:
            return f"its process ended with exit status {exitcode}"
        if self._ending == "interrupted" and -exitcode in (signal.SIGINT, signal.SIGTERM):
            return "interrupted"
        if self._is_late(worker) and exitcode == -signal.SIGKILL:
            return f"it took longer than sweep.trial_timeout={self._rules.trial_timeout:g} seconds"
        memory = ", as the system does where memory runs out" if exitcode == -signal.SIGKILL else ""
        return f"its process was killed by {signal.Signals(-exitcode).name}{memory}"

    def _bury(self, worker: Worker, job: Job, reason: str) -> Ended:
        """Say for a dead process how its trial ended."""
        status, seconds = "killed" if self._ending != "complete" else "failed", time.monotonic() - worker.since
        epochs = read_epochs(Path(worker.folder)) if worker.folder else []
        outcome = Outcome(status, reason, epochs=len(epochs), seconds=seconds, folder=worker.folder)
        folder = lock(Path(worker.folder)) if worker.folder else None
        if folder is not None:
            with contextlib.suppress(OSError):  # on a full disk the folder says "running", of a process that is dead
                folder.end(outcome)
            folder.lock.release()
        return Ended(outcome)

    def _wind_down(self) -> None:
        """Let running trials end with what they have; a second Ctrl-C, or time, ends them at once."""
        if self._workers.busy() and self._ending == "interrupted":
            self._view.note("Stopping: running trials keep their finished epochs. Ctrl-C again stops at once.")
        for worker in [*self._workers.busy()]:
            self._workers.interrupt(worker)
        deadline = time.monotonic() + INTERRUPT_GRACE
        while self._workers.busy() and self._interrupts < 2 and time.monotonic() < deadline:
            for worker, event in self._workers.events(timeout=SCHEDULER_POLL_INTERVAL):
                self._handle(worker, event)
        self._end_at_once()

    def _end_at_once(self) -> None:
        reason = "interrupted" if self._ending == "interrupted" else "the sweep was stopped"
        for worker in self._workers.busy():
            self._workers.kill(worker)
        deadline = time.monotonic() + INTERRUPT_GRACE
        while self._workers.busy() and time.monotonic() < deadline:
            for worker, event in self._workers.events(timeout=SCHEDULER_POLL_INTERVAL):
                if isinstance(event, Died | Ended | Lost):
                    self._end_one(worker, reason)
        for worker in [*self._workers.busy()]:  # of a node that does not answer
            self._end_one(worker, reason)

    def _end_one(self, worker: Worker, reason: str) -> None:
        if worker.job is not None:
            self._end(worker.number, worker.job, self._bury(worker, worker.job, reason))
            self._workers.release(worker)

"""Node processes as jobs of a batch system, each a job of one node: Parsl's providers know how each system is asked."""

import inspect
import json
import logging
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from convgrid.component import Component
from convgrid.errors import ConfigError
from convgrid.runs.files import write
from convgrid.sweep.executors.interface import LAUNCHER_GRACE, Launcher
from convgrid.system.text import one_line

JOBS_FILE = "jobs.json"  # beside the logs: the jobs that have not ended, for the next start should this one be killed
JOB_NAME = "convgrid"  # what the queue shows, with a number
LATE = 30.0  # seconds for which a batch system may not know of a job that it has just taken
PURGED = 900.0  # seconds after its time limit for which a job may still be said to run
JOBS_POLL_INTERVAL = 0.5  # seconds between two looks at them
TAIL = 4096  # bytes of a log that are looked at
# What Slurm, LSF and PBS write into the log of a job that they end, and that somebody has cancelled.
ENDED_BY_SYSTEM = re.compile(r"\*\*\* (JOB|STEP) |\bTERM_[A-Z]+|=>> PBS: ")
CANCELLED = re.compile(r"\*\*\* JOB .* CANCELLED AT \S+ \*\*\*|\bTERM_(OWNER|ADMIN|FORCE_OWNER|FORCE_ADMIN)\b")


class Provider(Protocol):
    """What is used of a provider of Parsl's, `parsl.providers.base.ExecutionProvider`."""

    script_dir: str | None
    resources: dict[Any, Any]

    def submit(self, command: str, tasks_per_node: int, job_name: str = ...) -> Any:
        """Submit a job; its id, or nothing where it is refused."""
        ...

    def status(self, job_ids: Sequence[Any]) -> Sequence[Any]:
        """What became of jobs."""
        ...

    def cancel(self, job_ids: Sequence[Any]) -> Sequence[bool]:
        """Take jobs back."""
        ...


def make_launcher(option: Component) -> Launcher:
    """Make what an option of `sweep/executor` names: a launcher, or a provider of Parsl's, whose jobs are nodes.

    Raises:
        ConfigError: If its package is not installed, if it does not take its values, or is something else.
    """
    is_of_parsl = option.target.startswith("parsl.")
    if is_of_parsl and find_spec("parsl") is None:
        raise ConfigError(f"{option.option} needs parsl, which is not installed: pip install 'convgrid[cluster]'")
    make = option.bind()
    if is_of_parsl and "launcher" in inspect.signature(make).parameters:
        from parsl.launchers import SimpleLauncher  # others start the command several times, by shells in between

        make = partial(make, launcher=SimpleLauncher())
    with option.blamed():
        made = make()
    if all(hasattr(made, name) for name in ("submit", "status", "cancel")):
        return JobBatch(made, option.option)
    if all(hasattr(made, name) for name in ("start", "waiting", "notes", "stop")):
        return made
    raise ConfigError(
        f"{option.option}: {option.target} gives {type(made).__name__}, which is neither a provider of Parsl's nor a "
        "launcher. Name another in the option's file."
    )


@dataclass
class _Job:
    """A job that has not ended, as far as is known.

    Args:
        name: Of its script and its logs, with the time behind it.
        status: The last that did not say it had ended.
        running: Since when, in seconds of the monotonic clock; None while it waits.
        told: Lines of its log of which the user knows, from before it was put back into the queue.
    """

    id: Any
    name: str
    status: Any
    submitted: float = field(default_factory=time.monotonic)
    running: float | None = None
    told: list[str] = field(default_factory=list)


class JobBatch:
    """Jobs of one node each. A job that somebody has cancelled is not submitted again: who did so knows why.

    Args:
        option: As typed, such as "sweep/executor=slurm", for messages.

    Raises:
        ConfigError: If the jobs' time limit is none.
    """

    def __init__(self, provider: Provider, option: str) -> None:
        self._provider, self._option = provider, option
        self._limit = _seconds(getattr(provider, "walltime", None))
        self._command, self._logs = "", Path()
        self._jobs: dict[Any, _Job] = {}
        self._count = self._cancelled = 0
        self._notes: list[str] = []
        self._lock = Lock()  # the end may come while the states of jobs are asked for

    def start(self, command: Sequence[str], nodes: int, logs: Path) -> int:
        """Submit a job for each node, less those that an earlier start left, or whose job somebody cancelled.

        Returns:
            How many jobs the batch system has taken.

        Raises:
            ConfigError: If it takes none at all.
        """
        with self._lock:
            left = 0
            if not self._command:
                self._command, self._logs = f"exec {shlex.join(command)}", logs
                self._provider.script_dir = str(logs)
                left = self._take_over()
            wanted = max(0, nodes - left - self._cancelled)
            self._cancelled = 0
            taken, refusal = self._submit_all(wanted)
            self._remember()
        if refusal and not self._jobs:
            raise ConfigError(f"{self._option}: no job is taken. {refusal}")
        if refusal:
            self._notes.append(f"{wanted - taken} of {wanted} jobs are not taken: {refusal}")
        return left + taken

    def waiting(self) -> int:
        """Count the jobs that are queued or run."""
        with self._lock:
            before = len(self._jobs)
            for job, status in self._states():
                self._look(job, status)
            if len(self._jobs) < before:
                self._remember()
            return len(self._jobs)

    def notes(self) -> list[str]:
        """Take what became of jobs."""
        notes, self._notes = self._notes, []
        return notes

    def stop(self) -> None:
        """Cancel the jobs that wait; the others have a moment to end by themselves."""
        with self._lock:
            self._cancel([job for job in self._jobs.values() if job.running is None])
            end = time.monotonic() + LAUNCHER_GRACE
            while self._jobs and time.monotonic() < end:
                time.sleep(JOBS_POLL_INTERVAL)
                for job, status in self._states():
                    if status.terminal:
                        del self._jobs[job.id]
            self._cancel([*self._jobs.values()])
            (self._logs / JOBS_FILE).unlink(missing_ok=True)

    def _take_over(self) -> int:
        """Find the jobs that a start of the sweep left which was killed; how many have not ended."""
        numbers = [re.search(rf"\b{JOB_NAME}-(\d+)\.", path.name) for path in self._logs.iterdir()]
        self._count = max([int(found[1]) for found in numbers if found], default=0)
        try:
            known = json.loads((self._logs / JOBS_FILE).read_text(encoding="utf-8"))
            jobs = [(number, str(name), dict(rest)) for number, (name, rest) in known["jobs"].items()]
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return 0
        for number, name, rest in jobs if known["option"] == self._option else ():
            status = _unknown()
            self._provider.resources[number] = {**rest, "status": status}
            self._jobs[number] = _Job(number, name, status, time.monotonic() - LATE)
        for job, status in self._states():
            if status.terminal:
                del self._jobs[job.id]
        if self._jobs:
            self._notes.append(f"Jobs of this sweep's earlier start are still there: {', '.join(self._jobs)}")
        return len(self._jobs)

    def _remember(self) -> None:
        """Write down which jobs there are, with what Parsl knows of them."""
        jobs = {}
        for job in self._jobs.values():
            known = {key: value for key, value in self._provider.resources[job.id].items() if key != "status"}
            jobs[job.id] = [job.name, known]
        with suppress(OSError):  # on a full disk the next start asks for all nodes anew
            write(self._logs / JOBS_FILE, json.dumps({"option": self._option, "jobs": jobs}))

    def _submit_all(self, count: int) -> tuple[int, str]:
        """Submit so many jobs, or as many as are taken until two in a row are refused.

        Returns:
            How many were taken, and why others were not.
        """
        taken, refusals = 0, [""]
        for _ in range(count):
            refusals.append(self._submit())
            taken += not refusals[-1]
            if refusals[-1] and refusals[-2]:
                break
        return taken, max(refusals, key=bool)

    def _submit(self) -> str:
        """Submit one more job.

        Returns:
            Why it is refused; "" where it is not.
        """
        self._count += 1
        name = f"{JOB_NAME}-{self._count}"
        with _complaints() as complaints:
            try:
                made = self._provider.submit(self._command, 1, name)
            except Exception as error:  # each provider has its own
                return _sentence(getattr(error, "stderr", None) or str(error) or type(error).__name__)
        if not made:  # some only log it
            return _sentence(complaints[-1] if complaints else "The batch system says nothing.")
        self._jobs[made] = _Job(made, name, self._provider.resources[made]["status"])
        return ""

    def _states(self) -> list[tuple[_Job, Any]]:
        """Ask what became of all jobs; where the batch system is away, nothing new."""
        try:
            return [*zip(self._jobs.values(), self._provider.status([*self._jobs]), strict=True)]
        except Exception:  # such as a command that takes too long
            return []

    def _cancel(self, jobs: Sequence[_Job]) -> None:
        with suppress(Exception):  # a job that stays starts a node process that sees that the sweep is over
            if jobs:
                self._provider.cancel([job.id for job in jobs])
        for job in jobs:
            del self._jobs[job.id]

    def _look(self, job: _Job, status: Any) -> None:
        now, state = time.monotonic(), status.state.name
        if state == "COMPLETED" and now < job.submitted + LATE and not self._logs_of(job):
            # Parsl says so of a job that is not listed, and asks no more: accounting may know of it later.
            self._provider.resources[job.id]["status"] = job.status
            return
        if status.terminal or (job.running and self._limit and now > job.running + self._limit + PURGED):
            self._over(job, state)
            return
        job.status = status
        if state == "RUNNING":
            job.running = job.running or now
        elif state == "PENDING" and job.running:
            words, job.running = self._last_words(job), None
            job.told.append(words)
            self._notes.append(f"Job {job.id} waits again: {words or 'the batch system requeued it'}")

    def _over(self, job: _Job, state: str) -> None:
        del self._jobs[job.id]
        words = self._last_words(job)
        if state == "CANCELLED" or CANCELLED.search(words) or not (job.running or words):
            self._cancelled += 1
            end = "was cancelled, and no other takes its place"
        else:
            end = "has ended"
        if not words:
            words = f"{self._logs} says nothing of it" if job.running else "it left the queue before it began"
        self._notes.append(f"Job {job.id} {end}: {words}")

    def _last_words(self, job: _Job) -> str:
        """What the job's log says at its end: a batch system that has ended it says so there."""
        lines = [line for path in self._logs_of(job) for line in _tail(path) if line not in job.told]
        ends = [line for line in lines if ENDED_BY_SYSTEM.search(line)]
        return one_line([*ends, *lines][0]) if lines else ""

    def _logs_of(self, job: _Job) -> list[Path]:
        return sorted(self._logs.glob(f"*{job.name}.*std*"))  # errors stand before output


def _unknown() -> Any:
    from parsl.jobs.states import JobState, JobStatus

    return JobStatus(JobState.UNKNOWN)


def _tail(path: Path) -> list[str]:
    """The last lines of a file, the last one first."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line.strip() for line in reversed(lines) if line.strip()]


def _seconds(walltime: str | None) -> float:
    """Read a time limit; 0 where there is none.

    Example:
        >>> _seconds("04:30:00")
        16200.0
    """
    if walltime is None:
        return 0.0
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d)", walltime)
    hours, minutes, seconds = map(int, found.groups()) if found else (0, 0, 0)
    if not hours and not minutes:
        raise ConfigError(
            f"sweep.executor.walltime={walltime} is no time limit of a minute or more. "
            "Give hours, minutes and seconds: sweep.executor.walltime=04:00:00."
        )
    return 3600.0 * hours + 60 * minutes + seconds


def _sentence(text: str) -> str:
    words = " ".join(text.split())
    return one_line(words if words.endswith(".") else f"{words}.")


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Hear what Parsl logs of what goes wrong."""
    found: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(record.getMessage())
    logger = logging.getLogger("parsl")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)

"""A trial's folder below `runs/`: claimed by one process at a time, found again by what the user remembers."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout

from convgrid.config import CONF, Settings
from convgrid.errors import ConfigError, DiskError, RunError
from convgrid.network.plan import Plan
from convgrid.runs.files import (
    blamed_on,
    read,
    read_known,
    read_lines,
    read_or_tell,
    replacing,
    sync_is_due,
    tell,
    write,
)
from convgrid.runs.forms import (
    CONFIG_FORM,
    DATA_FORM,
    EPOCH_FORM,
    PLAN_FORM,
    RECORD_FORM,
    TRACKED_FORM,
    by_status,
)

RUNS = Path("runs")
CONFIG = "config.yaml"
RECORD = "run.json"
METRICS_LOG = "metrics.jsonl"
PLAN, ENVIRONMENT, DATA, LOG = "plan.json", "environment.json", "data.json", "log.txt"
BEST, LAST = "best.ckpt", "last.ckpt"
CONFUSION = {"val": "confusion_validation.csv", "test": "confusion_test.csv"}
WORST, CURVES = "misclassified.png", "learning_curves.png"
SYSTEM_LOG = "system.jsonl"  # how busy the machine was
TRACKED = "tracked.json"  # what the tracking store has of the folder
PROCESS_ENDED = "its process ended"  # why a run was killed that nobody could give a status

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times faster, where PyYAML has it
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Status = Literal["finished", "pruned", "failed", "killed"]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Args:
        status: A finished or pruned trial has a result; a failed or killed one has a reason.
        reason: Why it failed, in a line.
        metrics: At its best epoch ("best/val/accuracy") and of the test ("test/accuracy"); so far, where it failed.
        best_epoch: Counted from 1; 0 where no epoch ended.
        seconds: Of training, in all its attempts.
        folder: Where all of it is kept, such as "runs/1f0c5ab92d4e".
        diverged: Whether it failed since its loss was no longer finite: a result, if a bad one.
    """

    status: Status
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0
    folder: str = ""
    diverged: bool = False


@dataclass(frozen=True)
class TrialFolder:
    """Where a trial keeps its config, its checkpoints and what is known of its run.

    Args:
        lock: Held while a process trains there; the operating system frees it when that process ends.
    """

    path: Path
    lock: FileLock

    @property
    def record(self) -> dict[str, Any]:
        """What is known of the run; {} at first."""
        return read_record(self.path)

    def update(self, **known: Any) -> None:
        """Add to what is known of the run; a reader sees the old or the new, never a part."""
        text = json.dumps({**self.record, **known}, indent=2)
        write(self.path / RECORD, text, lasting=sync_is_due(RECORD))

    def end(self, outcome: Outcome) -> None:
        """Write how the trial ended: its process does, or the scheduler for a worker that died.

        Args:
            outcome: All but the folder is written.
        """
        self.update(
            status=outcome.status,
            reason=outcome.reason,
            ended=now(),
            metrics=dict(outcome.metrics),
            best_epoch=outcome.best_epoch,
            epochs=outcome.epochs,
            seconds=outcome.seconds,
            diverged=outcome.diverged,
        )


class EpochLog:
    """A trial's `metrics.jsonl`: a line an epoch, with the time at which it ended.

    A line that cannot be parsed, and what is behind it, is cut off and written again from the checkpoint's history.

    Args:
        path: The trial's folder; without a checkpoint in it, all its epochs are trained again.
    """

    def __init__(self, path: Path) -> None:
        self._file = path / METRICS_LOG
        if not (path / LAST).exists():
            self._file.unlink(missing_ok=True)
        whole = [line for line, _ in _epochs(path)]
        if self._file.exists() and self._file.stat().st_size > sum(map(len, whole)):  # a crash tore a line
            with replacing(self._file) as partial:
                partial.write_bytes(b"".join(whole))
        self._written = len(whole)

    def append(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the epochs that are not written yet.

        Args:
            history: One mapping of metrics for every epoch so far.

        Raises:
            DiskError: If they cannot be written.
        """
        at = now()
        new = list(enumerate(history, start=1))[self._written :]
        lines = [json.dumps({"epoch": epoch, "time": at, "metrics": dict(metrics)}) for epoch, metrics in new]
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            raise DiskError(f"{self._file.parent} cannot be written: {error.strerror}. Make room.") from None
        self._written += len(new)


def now() -> int:
    """The time in milliseconds, as MLflow counts it.

    Example:
        >>> now() > 1_700_000_000_000
        True
    """
    return int(time.time() * 1000)


def read_record(path: Path) -> dict[str, Any]:
    """Read what is known of a trial's run.

    Returns:
        The record; {} at first, and of one that is damaged, which a line on stderr tells: the trial is taken for one
        that has not begun.
    """
    try:
        return read_whole_record(path)
    except FileNotFoundError:
        return {}
    except RunError as error:
        tell(error)
        return {}


def read_whole_record(path: Path) -> dict[str, Any]:
    """Read what is known of a run that the user asked for.

    Returns:
        The record.

    Raises:
        FileNotFoundError: If the run has not begun.
        RunError: If the record is damaged.
    """
    file = path / RECORD
    found = read(file, RECORD_FORM)
    fault = by_status(found).fault(found)
    if fault:
        raise RunError(f"{file} cannot be used: {fault}.")
    return found


def read_data(path: Path) -> dict[str, Any]:
    """Read what is known of a trial's data.

    Returns:
        What `data.json` holds; {} where it is missing or damaged.
    """
    return read_or_tell(path / DATA, DATA_FORM)


def read_records(runs: Path = RUNS) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Read what is known of every trial's run, without taking its lock.

    Args:
        runs: Where the trials' folders are.

    Yields:
        A trial's folder and its record; {} of one that is damaged: the trial's own folder tells when it starts.
    """
    for file in runs.glob(f"*/{RECORD}"):
        yield file.parent, read_record(file.parent)


def is_finished(record: Mapping[str, Any]) -> bool:
    """Whether a trial has its result, and nothing is left to train.

    Args:
        record: What is known of its run.

    Example:
        >>> is_finished({"status": "finished"}), is_finished({"status": "killed"})
        (True, False)
    """
    return record.get("status") == "finished"


def set_right(runs: Path = RUNS) -> list[Path]:
    """Find what dead processes left running, and call it killed.

    Args:
        runs: Where the trials' folders are.

    Returns:
        The folders, whose MLflow runs are to be brought up to date.
    """
    return [path for path in sorted(file.parent for file in runs.glob(f"*/{RECORD}")) if set_one_right(path)]


def set_one_right(path: Path) -> bool:
    """Call a trial killed that is running by its folder, where no process runs it.

    Returns:
        Whether it was so.
    """
    record = read_record(path)
    try:
        folder = lock(path) if record.get("status") == "running" else None
        if folder is None:
            return False
        last = max((epoch["time"] for epoch in read_epochs(path)), default=0)
        folder.update(status="killed", reason=PROCESS_ENDED, ended=max(last, record.get("started", 0)) or now())
    except OSError:  # another's folder, or a full disk: whoever writes there next sets it right
        return False
    folder.lock.release()
    return True


def read_tracked(file: Path) -> dict[str, dict[str, Any]]:
    """Read what the tracking stores have of a trial or a sweep.

    Args:
        file: The trial's `tracked.json`, or the sweep's `parent.json`.

    Returns:
        What is known, by store and experiment, the last one to be sent to first; nothing of a file that is damaged:
        a store finds again what it has.
    """
    known = read_or_tell(file, TRACKED_FORM)
    others = known.pop("others", [])
    return {place["place"]: place for place in (known, *others) if place}


def run_id_of(path: Path) -> str:
    """Find the MLflow run of a trial.

    Returns:
        The run's id; "" where the store does not have it yet.
    """
    first = next(iter(read_tracked(path / TRACKED).values()), {})
    return first.get("run_id", "")


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """Read the epochs that a trial has written, up to a line that is damaged or has no end.

    Returns:
        One {"epoch": 1, "time": milliseconds, "metrics": {...}} an epoch, in order.
    """
    return [epoch for _, epoch in _epochs(path)]


def _epochs(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for number, (line, epoch) in enumerate(read_lines(path / METRICS_LOG, EPOCH_FORM), start=1):
        if epoch["epoch"] != number:
            tell(RunError(f"{path / METRICS_LOG}, from line {number} on: epoch is not {number}."))
            return
        yield line, epoch


def claim(trial: str, settings: Settings) -> TrialFolder | None:
    """Take the one folder of a sweep's trial, new or left by an earlier process.

    Args:
        settings: Its config, which is stored.

    Returns:
        The folder, locked; None while another process has it.

    Raises:
        DiskError: If no folder can be made here.
    """
    path = RUNS / trial
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder = lock(path)
        if folder is not None and not (path / CONFIG).exists():
            _store(path, settings)
    except OSError as error:
        raise DiskError(f"{path.absolute()} cannot be written: {error.strerror}.") from None
    return folder


def create(trial: str, settings: Settings) -> TrialFolder:
    """Make a folder of its own for a new run: runs/TRIAL, or runs/TRIAL-2 and on where others have run the same.

    Args:
        settings: Its config, which is stored.

    Returns:
        The folder, locked.

    Raises:
        ConfigError: If no folder can be made here.
    """
    for number in range(1, 1_000_000):
        path = RUNS / (trial if number == 1 else f"{trial}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(
                f"{path.absolute()} cannot be made: {error.strerror}. Start where you may write."
            ) from None
        folder = lock(path)
        if folder is None:  # a sweep was faster
            continue
        _store(path, settings)
        return folder
    raise AssertionError(f"a million runs of {trial}")


def read_settings(path: Path) -> Settings:
    """Read the config that a trial was started with.

    Returns:
        The config.

    Raises:
        RunError: If it is missing or damaged.
    """
    stored = read_known(path / CONFIG, CONFIG_FORM, _parsed)
    return Settings(stored["values"], stored["choices"], (CONF,))


def read_plan(path: Path) -> Plan:
    """Read the network that a trial was planned with.

    Returns:
        The plan.

    Raises:
        RunError: If it is missing or damaged.
    """
    file = path / PLAN
    known = read_known(file, PLAN_FORM)
    with blamed_on(file):
        return Plan.load(known)


def lock(path: Path) -> TrialFolder | None:
    """Take an existing folder.

    Returns:
        The folder, locked; None while another process has it.
    """
    taken = FileLock(path / "lock")
    try:
        taken.acquire(timeout=0)
    except Timeout:
        return None
    return TrialFolder(path, taken)


def _store(path: Path, settings: Settings) -> None:
    stored = {"choices": dict(settings.choices), "values": dict(settings.values)}
    write(path / CONFIG, yaml.dump(stored, Dumper=_Dumper, sort_keys=False), lasting=sync_is_due(CONFIG))


def _parsed(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a safe one)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def best_epoch(history: Sequence[Mapping[str, float]], metric: str, mode: str) -> int:
    """Find the first epoch with the best value; NaN is worse than any.

    Args:
        history: One mapping of metrics an epoch.
        metric: Which of them counts, such as "val/accuracy".
        mode: "max" or "min".

    Returns:
        Counted from 0.

    Example:
        >>> best_epoch([{"val/mae": 3.0}, {"val/mae": 1.0}, {"val/mae": 1.0}], "val/mae", "min")
        1
    """
    sign = 1 if mode == "max" else -1
    merits = [sign * metrics[metric] for metrics in history]
    return max(range(len(merits)), key=lambda epoch: -math.inf if math.isnan(merits[epoch]) else merits[epoch])

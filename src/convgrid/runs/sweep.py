"""A sweep's folder: what was asked for, which trials that means, and what they came to; no torch, no MLflow."""

import contextlib
import json
import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from convgrid.errors import ConfigError, DiskError, RunError, SweepError
from convgrid.runs.best import Results, is_finite
from convgrid.runs.files import read, tell, write
from convgrid.runs.forms import SWEEP_FORM
from convgrid.runs.trial import RUNS, Outcome, now, read_record

SWEEP = "sweep.json"
TRACKED_SWEEP = "parent.json"  # what the tracking store has of the folder
SWEEPS = Path("sweeps")
DONE = ("finished", "pruned", "failed")  # a killed trial is left to go on
WRITTEN_ANEW = "Its sweep, started again, writes it anew."
SECONDS_BETWEEN_WRITES = 1.0  # a sweep of thousands of trials is not written out for each of them


@dataclass(frozen=True)
class Standing:
    """How far a sweep's trials are.

    Args:
        counts: How many are finished, pruned, failed, killed, or left.
        best: The best trial of the best setting; None before there is one.
        setting: What tells the best setting from others, by dotted key.
        mean: Of the best setting's results, by which it is best.
        runs: How many trials it is the mean of.
    """

    counts: Mapping[str, int]
    best: Outcome | None
    setting: Mapping[str, str]
    mean: float
    runs: int


def read_sweep(folder: Path) -> dict[str, Any]:
    """Read what is stored of a sweep.

    Returns:
        What its `sweep.json` holds.

    Raises:
        SweepError: If it is missing or damaged.
    """
    file = folder / SWEEP
    try:
        return read(file, SWEEP_FORM)
    except FileNotFoundError as error:
        raise SweepError(f"{file} is missing. {WRITTEN_ANEW}") from error
    except RunError as error:
        raise SweepError(f"{error} {WRITTEN_ANEW}") from error.__cause__


def swept_keys(sweep: Mapping[str, Any]) -> list[str]:
    """What was swept or searched, keys that are tied together one by one.

    Args:
        sweep: What its `sweep.json` holds.

    Returns:
        The keys, in the order of the command; searched ones last.
    """
    return [*sweep["varying"], *(key for tied in sweep.get("searched", ()) for key in tied.split("+"))]


def read_sweep_or_tell(folder: Path) -> dict[str, Any] | None:
    """Read one of many sweeps, of which a damaged one is left aside with a line on stderr.

    Returns:
        What its `sweep.json` holds; None where that cannot be used.
    """
    try:
        return read_sweep(folder)
    except SweepError as error:
        tell(error)
        return None


def outcome(folder: Path) -> Outcome | None:
    """How a trial ended.

    Returns:
        Its outcome; None where it has not started, or is running.
    """
    return _outcome(folder, read_record(folder))


def standing(sweep: Mapping[str, Any], runs: Path = RUNS) -> Standing:
    """Count a sweep's trials, and find the best.

    Args:
        sweep: What its `sweep.json` holds.
        runs: Where the trials' folders are.

    Returns:
        How far they are.
    """
    trials = set(sweep["trials"]) - {None}
    records = {runs / trial: read_record(runs / trial) for trial in sorted(trials)}
    outcomes = {folder: ended for folder, record in records.items() if (ended := _outcome(folder, record))}
    done = Counter(ended.status for ended in outcomes.values())
    counts = {status: done[status] for status in ("finished", "pruned", "failed", "killed")}
    left = sum(trial is None for trial in sweep["trials"]) + len(trials) - sum(done[status] for status in DONE)
    return Standing({**counts, "left": left}, *_best(sweep, records, outcomes, runs))


def _best(
    sweep: Mapping[str, Any], records: Mapping[Path, Mapping[str, Any]], outcomes: Mapping[Path, Outcome], runs: Path
) -> tuple[Outcome | None, Mapping[str, str], float, int]:
    """The best trial of the best setting, the setting, its mean, and of how many trials."""
    metric, mode = sweep["objective"]
    keys = swept_keys(sweep)
    results, settings, name = Results(mode), {}, f"best/{metric}"
    for folder, ended in outcomes.items():
        if ended.status == "finished" and is_finite(ended.metrics.get(name, math.nan)):
            params = records[folder].get("params", {})
            varying = {key: params[key] for key in keys if key in params}
            cost = float(params.get("plan.multiply_adds", 0))
            settings[folder] = results.add(varying, ended.metrics[name], cost)
    best = results.best()
    if "race" in sweep and sweep.get("winner"):  # whose seeds went by the results: the mean alone does not say
        best = settings.get(runs / sweep["winner"], best)
    if best is None:
        return None, {}, math.nan, 0
    members = [outcomes[folder] for folder, setting in settings.items() if setting == best]
    choose = max if mode == "max" else min
    return choose(members, key=lambda ended: ended.metrics[name]), dict(best), results.mean(best), results.count(best)


def winner(sweep: Mapping[str, Any], runs: Path = RUNS) -> Path | None:
    """Find the trial whose model stands for a sweep.

    Args:
        sweep: What its `sweep.json` holds.
        runs: Where the trials' folders are.

    Returns:
        The folder of the best trial of the best setting, so far where the sweep is not complete; None where none has
        finished.
    """
    if sweep.get("winner"):
        return runs / sweep["winner"]
    best = standing(sweep, runs).best
    return Path(best.folder) if best else None


def status(sweep: Mapping[str, Any], folder: Path) -> str:
    """Say how a sweep is; a process that runs it holds its lock.

    Args:
        sweep: What its `sweep.json` holds.

    Returns:
        "running", "finished", "failed" or "killed".
    """
    try:
        with FileLock(folder / "lock", timeout=0):
            return "killed" if sweep["status"] == "running" else sweep["status"]
    except Timeout:
        return "running"
    except OSError:  # another's folder, which this process may read only
        return sweep["status"]


def _outcome(folder: Path, record: Mapping[str, Any]) -> Outcome | None:
    status = record.get("status")
    if status not in (*DONE, "killed"):
        return None
    known = {
        name: record[name]
        for name in ("reason", "metrics", "best_epoch", "epochs", "seconds", "diverged")
        if name in record
    }
    return Outcome(status=status, folder=str(folder), **known)


class SweepFolder:
    """What is stored of one sweep below `sweeps/`; two processes that run the same sweep write the same.

    Left by an exception, the sweep is killed, and can go on.

    Args:
        sweep: Its id.
        keys: Of the trials that are known before they start, in the order in which `sweep.json` lists their folders.
        known: What else is stored: the command, the definition, the objective.
        shared: Whether another process may run the same sweep at the same time.

    Raises:
        ConfigError: If another process runs it, and it is not shared.
        DiskError: If no folder can be made here.
    """

    def __init__(self, sweep: str, keys: Sequence[str], known: Mapping[str, Any], *, shared: bool = True) -> None:
        self.id, self.path = sweep, SWEEPS / sweep
        self._places = {key: place for place, key in enumerate(keys)}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            earlier = self._read()
            self._known: dict[str, Any] = {
                "id": sweep,
                **known,
                "created": earlier.get("created", now()),
                "trials": earlier.get("trials", [None] * len(keys)),
            }
            self._take_lock(shared)
            if self._lock.is_locked:  # nobody else writes
                for left in self.path.glob(f"partial.*{SWEEP}"):  # by a process that was killed
                    left.unlink()
            self.update(status="running")
        except OSError as error:
            raise DiskError(f"{self.path.absolute()} cannot be used: {error.strerror}.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock.is_locked:
            self.close("killed")

    def ended(self, key: str, trial: str) -> None:
        """Note the folder of a trial.

        Args:
            key: The trial's.
            trial: The folder's name below `runs/`.
        """
        trials: list[str | None] = self._known["trials"]
        place = self._places.setdefault(key, trials.index(trial) if trial in trials else len(trials))
        trials += [None] * (place + 1 - len(trials))
        trials[place] = trial
        if time.monotonic() - self._written > SECONDS_BETWEEN_WRITES:
            with contextlib.suppress(OSError):  # the trials' own folders say the same
                self.update()

    def update(self, **known: Any) -> None:
        """Add to what is known of the sweep; a reader sees the old or the new, never a part."""
        self._known |= known
        is_over = self._known["status"] != "running"
        write(self.path / SWEEP, json.dumps(self._known, indent=2), lasting=is_over, mark=f"{os.getpid()}.")
        self._written = time.monotonic()

    def close(self, status: str, **known: Any) -> None:
        """Say how the sweep ended, and let go of the folder: as long as it is held, the sweep is running.

        Args:
            status: "finished", "killed" or "failed".
            known: What else is known now.
        """
        with contextlib.suppress(OSError):  # a full disk: the sweep, started again, writes it
            self.update(status=status, **known)
        self._lock.release()

    def _read(self) -> dict[str, Any]:
        try:
            return read_sweep(self.path)
        except SweepError as error:  # a broken one is written anew: the trials' own folders say the same
            cause = error.__cause__
            if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):  # it may be whole
                raise cause from None
            return {}

    def _take_lock(self, shared: bool) -> None:
        """Held, it says that the sweep runs; where another process runs the same, that one says it."""
        self._lock = FileLock(self.path / "lock")
        try:
            self._lock.acquire(timeout=1)  # who looks at it holds it for a moment
        except Timeout:
            if not shared:
                raise ConfigError(
                    f"sweep {self.id} is being run by another process, and a search learns in one place. "
                    "Wait for it, or give sweep.workers more."
                ) from None

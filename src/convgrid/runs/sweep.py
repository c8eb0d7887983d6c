"""What a sweep's trials came to, in their folders: no torch, no MLflow."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from convgrid.errors import SweepError
from convgrid.runs.trial import RUNS, Outcome, read_record

SWEEP = "sweep.json"
TRACKED_SWEEP = "parent.json"  # what the tracking store has of the folder
SWEEPS = Path("sweeps")
REPETITIONS = ("seed", "fold")  # keys whose values are repetitions of one setting
DONE = ("finished", "pruned", "failed")  # a killed trial is left to go on


@dataclass(frozen=True)
class Standing:
    """How far a sweep's trials are.

    Args:
        counts: How many are finished, pruned, failed, killed, or left.
        best: The best outcome; None before there is one.
        params: Of the best trial, by dotted key.
    """

    counts: Mapping[str, int]
    best: Outcome | None
    params: Mapping[str, Any]


def read_sweep(folder: Path) -> dict[str, Any]:
    """Read what is stored of a sweep.

    Returns:
        What its `sweep.json` holds.

    Raises:
        SweepError: If that cannot be parsed.
    """
    file = folder / SWEEP
    try:
        sweep = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unread(file, error.strerror) from error  # who writes it asks for the cause
    except ValueError as error:
        raise _unread(file, error) from None
    if not isinstance(sweep, dict) or "trials" not in sweep:
        raise _unread(file, "it holds no sweep")
    return sweep


def _unread(file: Path, cause: object) -> SweepError:
    return SweepError(f"{file} cannot be read: {cause}. Its sweep, started again, writes it anew.")


def read_sweep_or_tell(folder: Path) -> dict[str, Any] | None:
    """Read one of many sweeps, of which a broken one is passed over with a line on stderr.

    Returns:
        What its `sweep.json` holds; None where that cannot be parsed.
    """
    try:
        return read_sweep(folder)
    except SweepError as error:
        print(f"passed over: {error}", file=sys.stderr)
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
    metric, mode = sweep["objective"]
    trials = set(sweep["trials"]) - {None}
    records = {runs / trial: read_record(runs / trial) for trial in sorted(trials)}
    outcomes = [ended for folder, record in records.items() if (ended := _outcome(folder, record))]
    best = best_of(outcomes, metric, mode)
    done = Counter(ended.status for ended in outcomes)
    counts = {status: done[status] for status in ("finished", "pruned", "failed", "killed")}
    unknown = sum(trial is None for trial in sweep["trials"])
    return Standing(
        counts={**counts, "left": unknown + len(trials) - sum(done[status] for status in DONE)},
        best=best,
        params=records[Path(best.folder)].get("params", {}) if best else {},
    )


def winner(sweep: Mapping[str, Any], runs: Path = RUNS) -> Path | None:
    """Find the trial whose model stands for a sweep.

    Args:
        sweep: What its `sweep.json` holds.
        runs: Where the trials' folders are.

    Returns:
        The folder of the best trial of the best setting; of the best trial so far before the sweep is complete; None
        where none has finished.
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


def best_of(outcomes: Iterable[Outcome], metric: str, mode: str) -> Outcome | None:
    """Find the best of the finished trials.

    Args:
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".

    Returns:
        The first of the best; None where none has finished.

    Example:
        >>> best_of([Outcome("finished", metrics={"best/val/mae": mae}, folder=str(mae)) for mae in (2.0, 1.0)],
        ...         "val/mae", "min").folder
        '1.0'
    """
    name = f"best/{metric}"
    finished = [ended for ended in outcomes if ended.status == "finished" and name in ended.metrics]
    choose = max if mode == "max" else min
    return choose(finished, key=lambda ended: ended.metrics[name], default=None)


def _outcome(folder: Path, record: Mapping[str, Any]) -> Outcome | None:
    status = "finished" if "result" in record else record.get("status")
    if status not in (*DONE, "killed"):
        return None
    known = {name: record[name] for name in ("reason", "metrics", "best_epoch", "epochs", "seconds") if name in record}
    return Outcome(status=status, folder=str(folder), **known)

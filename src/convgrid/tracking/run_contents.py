"""What the store should have of a trial's or a sweep's folder."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convgrid.config import PLACES
from convgrid.config.address import without_password
from convgrid.runs.files import read_lines
from convgrid.runs.forms import SAMPLE_FORM
from convgrid.runs.sweep import SWEEP, standing, status
from convgrid.runs.trial import (
    BEST,
    CONFIG,
    CONFUSION,
    CURVES,
    DATA,
    ENVIRONMENT,
    LOG,
    PLAN,
    RUNS,
    SYSTEM_LOG,
    WORST,
    read_data,
    read_epochs,
)
from convgrid.system.environment import environment

OUTCOME_TAG, BEST_EPOCH_TAG, REASON_TAG = "convgrid.outcome", "convgrid.best_epoch", "convgrid.reason"
LIGHT_FILES = (CONFIG, DATA, PLAN, ENVIRONMENT)  # files of every trial
HEAVY_FILES = (*CONFUSION.values(), WORST, CURVES, BEST)  # of single runs and a sweep's winner
NAME_LENGTH = 100  # characters that the dashboard shows of a sweep's command
MLFLOW_STATUS = {"finished": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


@dataclass(frozen=True)
class Wanted:
    """What the store should have of a folder.

    Args:
        label: The tag by which the run is found.
        name: What the dashboard shows.
        files: To be stored as artifacts, where they are there.
        status: "RUNNING", "FINISHED", "FAILED" or "KILLED".
        ended: When; 0 while it runs.
        epochs: As `metrics.jsonl` has them.
        final: What the run came to, at which epoch, once it has ended.
        totals: What may change at any time.
        data: What is known of the data set; {} where there is none.
        source: Where the data are; "" where a package has them.
        system: How busy the machine was, as `system.jsonl` has it.
    """

    label: tuple[str, str]
    name: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    files: Sequence[Path]
    status: str
    started: int
    ended: int
    epochs: Sequence[Mapping[str, Any]] = ()
    final: tuple[Mapping[str, float], int] = field(default_factory=lambda: ({}, 0))
    totals: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    system: Sequence[Mapping[str, Any]] = ()


def wanted_of_trial(folder: Path, record: Mapping[str, Any], *, whole: bool) -> Wanted:
    """Read what there is of a trial.

    Args:
        record: Its `run.json`.
        whole: Whether its weights and pictures are stored as well.

    Returns:
        What the store should have.
    """
    status = MLFLOW_STATUS.get(record["status"], "RUNNING")
    tags = {"convgrid.trial": folder.name, "convgrid.folder": str(folder.resolve()), **record.get("tags", {})}
    names, final, ended = [*LIGHT_FILES, *(HEAVY_FILES if whole and status == "FINISHED" else ())], ({}, 0), 0
    if status != "RUNNING":
        ended = record["ended"]
        tags[OUTCOME_TAG] = record["status"]
        if record["reason"]:
            tags[REASON_TAG] = record["reason"]
        if record.get("best_epoch"):
            tags[BEST_EPOCH_TAG] = str(record["best_epoch"])
        if status != "KILLED":  # which may go on, and come to more
            final = (record["metrics"], record["best_epoch"])
        names += [LOG] * (status == "FAILED")
    return Wanted(
        label=("convgrid.trial", folder.name),
        name=record.get("name", folder.name),  # which a trial lacks that failed before its network was built
        params={
            key: without_password(value) if key == "tracking.uri" else value
            for key, value in record.get("params", {}).items()
        },
        tags=tags,
        files=[folder / name for name in names],
        status=status,
        started=record.get("started", ended),
        ended=ended,
        epochs=read_epochs(folder),
        final=final,
        data=read_data(folder),
        source=_source(record.get("params", {})),
        system=read_system(folder),
    )


def wanted_of_sweep(folder: Path, sweep: Mapping[str, Any], runs: Path = RUNS, *, is_new: bool) -> Wanted:
    """Read what there is of a sweep, whose run is the parent of its trials' runs.

    Args:
        sweep: Its `sweep.json`.
        runs: Where the trials' folders are.
        is_new: Whether the run is still to be made, and to say where.

    Returns:
        What the store should have.
    """
    metric, mode = sweep["objective"]
    stand = standing(sweep, runs)
    totals = {f"trials/{status}": float(count) for status, count in stand.counts.items()}
    totals["trials/skipped"] = float(len(sweep["skipped"]))
    if stand.best is not None:
        totals[f"best/{metric}"] = stand.mean
    state, file = MLFLOW_STATUS.get(status(sweep, folder), "RUNNING"), folder / SWEEP
    tags = {"convgrid.sweep": sweep["id"], "convgrid.command": sweep["command"]}
    if "race" in sweep:
        tags["convgrid.race"] = json.dumps(sweep["race"])
    return Wanted(
        label=("convgrid.sweep", sweep["id"]),
        name=_name(sweep["command"]),
        params={
            **{key: ",".join(texts) for key, texts in sweep["varying"].items()},
            "objective.metric": metric,
            "objective.mode": mode,
        },
        tags={**environment(), "command": sweep["command"], **tags} if is_new else tags,
        files=[file] if state != "RUNNING" else [],
        status=state,
        started=sweep["created"],
        ended=int(file.stat().st_mtime * 1000) if state != "RUNNING" else 0,
        totals=totals,
        system=read_system(folder),
    )


def read_system(folder: Path) -> list[dict[str, Any]]:
    """Read how busy the machine was, up to a line that cannot be parsed or has no end.

    Args:
        folder: A trial's or a sweep's.

    Returns:
        One {"time": milliseconds, "metrics": {...}} a sample.
    """
    return [sample for _, sample in read_lines(folder / SYSTEM_LOG, SAMPLE_FORM)]


def _source(params: Mapping[str, str]) -> str:
    """Where a trial's data are, by its config."""
    return next((params[key] for key in PLACES if params.get(key, "None") != "None"), "")


def _name(command: str) -> str:
    """What was typed behind -m."""
    words = shlex.split(command)
    typed = [word for word in words[1:] if not word.startswith("-") and not word.endswith(".py") and word != "run"]
    name = " ".join(typed)
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 3]}..."

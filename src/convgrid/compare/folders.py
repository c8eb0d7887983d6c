"""Trials out of a sweep's folders; neither MLflow nor a server is needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from convgrid.compare.frame import (
    CURVE_METRICS,
    Read,
    checked,
    curves_table,
    differing,
    drawable,
    frame_of,
    mixed,
    of_metrics,
    once,
    repetition_keys,
)
from convgrid.compare.racing import RaceRules
from convgrid.compare.trials import Trials
from convgrid.config import flatten
from convgrid.errors import ConfigError, RunError
from convgrid.runs.files import read_or_tell, tell
from convgrid.runs.find import LAST_RUN, find_sweep
from convgrid.runs.forms import PLAN_FORM
from convgrid.runs.sweep import SWEEPS, read_sweep, swept_keys
from convgrid.runs.trial import PLAN, RUNS, read_data, read_epochs, read_record, read_settings

RACED = (
    "Seeds went by the results in a race, so that p and intervals are too sure. Compare its sweep by itself, without "
    "keys: python -m convgrid compare ID"
)


def from_folders(
    sweep: str | None = None, *, keys: Sequence[str] | None = None, sweeps: Path = SWEEPS, runs: Path = RUNS
) -> Trials:
    """Read a sweep's trials.

    Args:
        sweep: "last", its id or the start of it, its folder, or MLflow's id; None takes the last one.
        keys: What tells settings apart; None takes what was swept.
        sweeps: Where the sweeps' folders are.
        runs: Where the trials' folders are.

    Returns:
        The trials that have started.

    Raises:
        ConfigError: If there is no such sweep, or no trial of it has such a key.
        SweepError: If the sweep that was asked for cannot be parsed.
    """
    known = read_sweep(find_sweep(sweep or LAST_RUN, runs, sweeps))
    names = list(dict.fromkeys(name for name in known["trials"] if name is not None))
    if "race" in known:  # noted as they ended, which another start does in another order
        names.sort()
    found = {name: record for name in names if (record := read_record(runs / name))}
    metric, mode = known["objective"]
    frame = frame_of(checked(_read(runs / name, record), metric) for name, record in found.items())
    told = list(keys) if keys is not None else _told(known, differing(frame))
    check_compared_keys(told, frame)
    frame = once(frame, told)
    swept = tuple(swept_keys(known) or told)
    left = len(known["trials"]) - len(found) + unended(frame)
    curves = curves_table(
        (name, epoch["epoch"], key, epoch["metrics"][key])
        for name in frame.index
        for epoch in read_epochs(runs / name)
        for key in dict.fromkeys((*CURVE_METRICS, metric))
        if key in epoch["metrics"]
    )
    return Trials(
        frame=frame,
        curves=drawable(curves),
        metric=metric,
        mode=mode,
        keys=tuple(told),
        repetitions=repetition_keys(frame, told),
        mixed=mixed(frame, told) if keys is not None else (),
        skipped=known["skipped"],
        title=f"sweep {known['id']}",
        command=known["command"],
        sweep=known["id"],
        folder=sweeps / known["id"] / ("report" if keys is None else f"report-{'-'.join(keys).replace('/', '.')}"),
        swept=swept,
        warnings=(RACED,) if "race" in known and keys is not None else (),
        left=left,
        race=RaceRules(**known["race"]) if "race" in known and keys is None else None,
    )


def unended(frame: pd.DataFrame) -> int:
    """Count the trials that have started and not ended."""
    return int(frame["status"].isin(["running", "killed"]).sum())


def check_compared_keys(keys: Sequence[str], frame: pd.DataFrame) -> None:
    """Refuse keys that no trial has.

    Args:
        keys: What tells settings apart.

    Raises:
        ConfigError: If there is one.
    """
    for key in keys:
        if key not in frame:
            differ = ", ".join(differing(frame)) or "none"
            raise ConfigError(f"--keys {key}: no trial has a parameter {key}. Those that differ: {differ}.")


def _told(known: dict[str, Any], differ: Sequence[str]) -> list[str]:
    """What was swept or searched and differs, in the order of the command; where nobody noted it, whatever differs."""
    asked = swept_keys(known)
    return [key for key in asked if key in differ] if asked else list(differ)


def _read(folder: Path, record: dict[str, Any]) -> Read:
    return Read(
        trial=folder.name,
        known={
            "status": record.get("status", "running"),
            "reason": record.get("reason", ""),
            "name": record.get("name", folder.name),
            "epochs": record.get("epochs", 0),
            "best_epoch": record.get("best_epoch", 0),
            "seconds": record.get("seconds", 0.0),
        },
        params=record.get("params") or _params(folder),
        metrics=of_metrics(record.get("metrics", {})),
        tags=record.get("tags", {}),
        data=read_data(folder),
    )


def _params(folder: Path) -> dict[str, str]:
    """Of a run whose record has none: it failed before its network was built."""
    try:
        settings = read_settings(folder)
    except RunError as error:
        tell(error)
        return {}
    values = dict(flatten(settings.values)) | dict(settings.choices)
    layers = read_or_tell(folder / PLAN, PLAN_FORM).get("layers", [])
    sizes = {f"plan.{size}": sum(layer[size] for layer in layers) for size in ("parameters", "multiply_adds")}
    known = {key: str(value) for key, value in values.items() if not key.endswith("_target_")}
    return known | ({key: str(size) for key, size in sizes.items()} if layers else {})

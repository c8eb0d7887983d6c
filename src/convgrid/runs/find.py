"""From what the user remembers of a run to its folder: no torch, no MLflow."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convgrid.config import Settings, flatten, is_outside_identity
from convgrid.errors import ConfigError, ModelError
from convgrid.runs.sweep import SWEEP, SWEEPS, read_sweep, read_sweep_or_tell, winner
from convgrid.runs.trial import (
    BEST,
    CONFIG,
    RECORD,
    RUNS,
    TRACKED,
    TrialFolder,
    lock,
    read_json,
    read_record,
    read_settings,
    run_id_of,
)

LAST_RUN = "last"
SUFFIXES = {"torch_export": ".pt2", "onnx": ".onnx", "safetensors": ".safetensors"}  # of the formats' files
HOW = f"Give a run's folder, the start of its id, its MLflow run id, a sweep's id, or {LAST_RUN}"


def find_trained(run: str, runs: Path = RUNS, sweeps: Path = SWEEPS) -> Path:
    """Find the folder of a trained model.

    Args:
        run: A folder; the id of a run or a sweep, or how it starts; an MLflow run's id; "last" for what was trained
            last. A sweep stands for its winner.
        runs: Where the trials' folders are.
        sweeps: Where the sweeps' folders are.

    Returns:
        The trial's folder, which has weights.

    Raises:
        ModelError: If there is none, there are several, or its weights are gone.
        SweepError: If the sweep that was asked for cannot be parsed.
    """
    named = Path(run)
    for path in (named, named.parent):  # a folder, or its best.ckpt
        if (path / CONFIG).is_file():
            return _with_weights(path)
    if (named / SWEEP).is_file():
        return _winner(named.name, read_sweep(named), runs)
    if run == LAST_RUN:
        return _last(runs, sweeps)
    trials, asked = _starting(runs.glob(f"*/{CONFIG}"), run), _starting(sweeps.glob(f"*/{SWEEP}"), run)
    found = trials + asked or _tracked(runs, run)
    if len(found) != 1:
        raise ModelError(_not_one(run, found, runs))
    return _winner(found[0].name, read_sweep(found[0]), runs) if asked else _with_weights(found[0])


def _starting(files: Iterable[Path], start: str) -> list[Path]:
    """Folders whose names start so; the one that is called so, if there is one."""
    folders = sorted(file.parent for file in files if start and file.parent.name.startswith(start))
    return [folder for folder in folders if folder.name == start] or folders


def _tracked(runs: Path, run_id: str) -> list[Path]:
    files = (file for name in (RECORD, TRACKED) for file in runs.glob(f"*/{name}"))
    return [file.parent for file in files if read_json(file).get("run_id") == run_id][:1]


def _last(runs: Path, sweeps: Path) -> Path:
    """What the user trained last: a sweep's trials are the sweep's."""
    trials = [file for file in runs.glob(f"*/{BEST}") if not read_record(file.parent).get("sweep")]
    files = [*trials, *sweeps.glob(f"*/{SWEEP}")]
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
        if file.name != SWEEP:
            return _with_weights(file.parent)
        known = read_sweep_or_tell(file.parent)
        if known is not None:
            return _winner(file.parent.name, known, runs)
    raise ModelError(f"There is no trained model in {runs.resolve()}. Train one: python run.py")


def _winner(sweep: str, known: Mapping[str, Any], runs: Path) -> Path:
    folder = winner(known, runs)
    if folder is None:
        raise ModelError(f"sweep {sweep} has no finished trial yet. To go on: {known['command']}")
    return _with_weights(folder)


def _with_weights(folder: Path) -> Path:
    if not (folder / BEST).exists():
        record = read_record(folder)
        why = "sweep.keep_checkpoints let them go" if record.get("sweep") else f"it has no {BEST}"
        raise ModelError(f"{folder} keeps no weights: {why}. Train it again, or take another run.")
    return folder


def _not_one(run: str, found: list[Path], runs: Path) -> str:
    if not found:
        return f"{run} is no run, sweep or exported model that is known in {runs.resolve().parent}. {HOW}."
    return f"{run} may be {', '.join(folder.name for folder in found)}. Give more of the id."


def find(resume: str) -> TrialFolder:
    """Find the folder of a run to go on with.

    Args:
        resume: An MLflow run's id, a folder below runs/, or a checkpoint in one.

    Returns:
        The folder, locked.

    Raises:
        ConfigError: If there is none, or another process is training there.
    """
    named = Path(resume)
    for path in (named.parent if named.is_file() else named, RUNS / resume):
        if (path / CONFIG).exists():
            return _locked(path)
    for record in RUNS.glob(f"*/{RECORD}"):
        if run_id_of(record.parent) == resume:
            return _locked(record.parent)
    raise ConfigError(
        f"resume={resume} is neither an MLflow run of {RUNS.resolve()} nor a checkpoint in a run's folder. "
        "Start in the folder of the first run, or give the path of its last.ckpt."
    )


def stored_settings(folder: TrialFolder, settings: Settings, typed: Collection[str]) -> Settings:
    """The config that a run was started with; what was typed may move its data or its store, not change its result.

    Args:
        settings: Composed from what was typed now.
        typed: Keys and groups that were typed.

    Returns:
        The stored config, with paths and tracking as typed.

    Raises:
        ConfigError: If something typed would change the result.
    """
    stored = read_settings(folder.path)
    before = dict(flatten(stored.values)) | dict(stored.choices)
    now = dict(flatten(settings.values)) | dict(settings.choices)
    changed = [key for key in typed if before.get(key) != now.get(key)]
    refused = [f"{key}={now.get(key)} (it was {before.get(key)})" for key in changed if not is_outside_identity(key)]
    if refused:
        raise ConfigError(
            f"resume={settings.resume} goes on with the config that the run was started with. "
            f"Leave out {', '.join(refused)}, or start a new run."
        )
    values = {**stored.values, "resume": settings.resume, "dry_run": settings.dry_run}
    for key in changed:
        _set(values, key.split("."), now[key])
    return replace(settings, values=values, choices=stored.choices)


def _set(values: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    for part in parts[:-1]:
        values = values[part]
    values[parts[-1]] = value


def _locked(path: Path) -> TrialFolder:
    folder = lock(path)
    if folder is None:
        raise ConfigError(f"resume={path}: another process is training there. Wait for it, or stop it.")
    return folder

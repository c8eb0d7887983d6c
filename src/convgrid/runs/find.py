"""From what the user remembers of a run to its folder: no torch, no MLflow."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from convgrid.config import Settings, flatten, is_outside_identity, look_up, replaced
from convgrid.errors import ConfigError, ModelError
from convgrid.runs.sweep import SWEEP, SWEEPS, TRACKED_SWEEP, read_sweep, read_sweep_or_tell, winner
from convgrid.runs.trial import (
    BEST,
    CONFIG,
    METRICS_LOG,
    RECORD,
    RUNS,
    TRACKED,
    TrialFolder,
    is_finished,
    lock,
    read_record,
    read_settings,
    read_tracked,
)

LAST_RUN = "last"
ELSEWHERE = "python -m convgrid sweeps lists those of the folder in which it is started"
EPOCHS = "trainer.max_epochs"
HOW = f"Give {LAST_RUN}, a folder, a checkpoint in one, the id of a run or a sweep (or the start of it), or MLflow's"


def find_run(name: str, runs: Path = RUNS, sweeps: Path = SWEEPS) -> Path:
    """Find the folder of a run by what the user remembers of it; a sweep stands for its winner.

    Args:
        name: "last" for what was trained last, a folder or a file in it, the id of a run or a sweep or the start of it,
            or the id that MLflow has for one.
        runs: Where the runs' folders are.
        sweeps: Where the sweeps' folders are.

    Returns:
        The run's folder.

    Raises:
        ConfigError: If there is none, or there are several.
        ModelError: If it is a sweep that has no winner yet.
        SweepError: If the sweep that was asked for cannot be parsed.
    """
    folder = _find(name, runs, sweeps)
    return _winner(folder, runs) if (folder / SWEEP).is_file() else folder


def find_model(name: str, runs: Path = RUNS, sweeps: Path = SWEEPS) -> Path:
    """Find the folder of a trained model.

    Args:
        name: As for `find_run`.
        runs: Where the runs' folders are.
        sweeps: Where the sweeps' folders are.

    Returns:
        The run's folder, which has weights.

    Raises:
        ConvgridError: As of `find_run`, and if the weights are gone.
    """
    folder = find_run(name, runs, sweeps)
    if not (folder / BEST).exists():
        record = read_record(folder)
        why = "sweep.keep_checkpoints let them go" if record.get("sweep") else f"it has no {BEST}"
        raise ModelError(f"{folder} keeps no weights: {why}. Train it again, or take another run.")
    return folder


def find_sweep(name: str = LAST_RUN, runs: Path = RUNS, sweeps: Path = SWEEPS) -> Path:
    """Find the folder of a sweep.

    Args:
        name: As for `find_run`; "last" is the sweep that was trained last, whatever was trained since.
        runs: Where the runs' folders are.
        sweeps: Where the sweeps' folders are.

    Returns:
        The folder.

    Raises:
        ConfigError: If there is none, there are several, or it is not a sweep.
    """
    if name == LAST_RUN:
        files = sorted(sweeps.glob(f"*/{SWEEP}"), key=_modified, reverse=True)
        folder = next(_whole(files), None)
        if folder is None:
            which = "no sweep that can be read" if files else "no sweep"
            raise ConfigError(f"There is {which} in {sweeps.resolve()}. {ELSEWHERE}.")
        return folder
    folder = _find(name, runs, sweeps)
    if not (folder / SWEEP).is_file():
        sweep = read_record(folder).get("sweep")
        raise ConfigError(f"{name} is a run, not a sweep. {f'Give its sweep: {sweep}' if sweep else ELSEWHERE}.")
    return folder


def find_to_resume(name: str) -> TrialFolder:
    """Find the folder of a run to go on with.

    Args:
        name: As for `find_run`.

    Returns:
        The folder, locked.

    Raises:
        ConvgridError: As of `find_run`, and if another process is training there.
    """
    try:
        path = find_run(name)
    except ConfigError as error:  # it begins with the name
        raise ConfigError(f"resume={error}") from None
    folder = lock(path)
    if folder is None:
        raise ConfigError(f"resume={name}: another process is training {path}. Wait for it, or stop it.")
    return folder


def _find(name: str, runs: Path, sweeps: Path) -> Path:
    """The folder of a run or a sweep."""
    if name == LAST_RUN:
        return _last(runs, sweeps)
    named = Path(name)
    path = named.parent if named.is_file() else named
    if name and ((path / CONFIG).is_file() or (path / SWEEP).is_file()):
        return path
    found = _starting([*runs.glob(f"*/{CONFIG}"), *sweeps.glob(f"*/{SWEEP}")], name) or _tracked(runs, sweeps, name)
    if len(found) > 1:
        raise ConfigError(f"{name} may be {', '.join(folder.name for folder in found)}. Give more of the id.")
    if not found:
        raise ConfigError(f"{name} is not a run or sweep known in {runs.resolve().parent}. {HOW}.")
    return found[0]


def _starting(files: Iterable[Path], start: str) -> list[Path]:
    """Folders whose names start so; the one that is called so, if there is one."""
    folders = sorted(file.parent for file in files if start and file.parent.name.startswith(start))
    return [folder for folder in folders if folder.name == start] or folders


def _tracked(runs: Path, sweeps: Path, run_id: str) -> list[Path]:
    """The folder that a tracking store knows so; the same run in two stores has two ids."""
    trials = (file.parent for file in runs.glob(f"*/{CONFIG}"))
    ids = ((folder, _ids(folder / TRACKED)) for folder in trials)
    parents = ((file.parent, _ids(file)) for file in sweeps.glob(f"*/{TRACKED_SWEEP}"))
    return [folder for folder, known in (*ids, *parents) if run_id and run_id in known][:1]


def _ids(file: Path) -> set[str]:
    return {place.get("run_id", "") for place in read_tracked(file).values()}


def _last(runs: Path, sweeps: Path) -> Path:
    """What was trained last: a sweep's trials are the sweep's."""
    files = [*runs.glob(f"*/{CONFIG}"), *sweeps.glob(f"*/{SWEEP}")]
    for file in sorted(files, key=_modified, reverse=True):
        if file.name == SWEEP:
            if any(_whole([file])):
                return file.parent
        else:
            record = read_record(file.parent)
            is_damaged = not record and (file.parent / RECORD).exists()  # then it may be a sweep's
            if not is_damaged and not record.get("sweep"):
                return file.parent
    raise ConfigError(f"{LAST_RUN}: there is no run in {runs.resolve()}. Train one: python run.py")


def _modified(file: Path) -> int:
    """When a run had its last epoch, or a sweep its last trial."""
    metrics = file.with_name(METRICS_LOG)
    return max(path.stat().st_mtime_ns for path in (file, metrics) if path == file or path.exists())


def _whole(files: Iterable[Path]) -> Iterator[Path]:
    """The sweeps that can be read; of the others a line says so."""
    return (file.parent for file in files if read_sweep_or_tell(file.parent) is not None)


def _winner(sweep: Path, runs: Path) -> Path:
    known = read_sweep(sweep)
    folder = winner(known, runs)
    if folder is None:
        raise ModelError(f"sweep {sweep.name} has no finished trial yet. To go on: {known['command']}")
    return folder


def stored_settings(folder: TrialFolder, settings: Settings, typed: Collection[str]) -> Settings:
    """The config that a run was started with; what was typed may move its data or its store, not change its result.

    A run that has finished may be asked for more epochs.

    Args:
        settings: Composed from what was typed now.
        typed: Keys and groups that were typed.

    Returns:
        The stored config, with paths, tracking and more epochs as typed.

    Raises:
        ConfigError: If something typed would change the result.
    """
    stored = read_settings(folder.path)
    before = dict(flatten(stored.values)) | dict(stored.choices)
    now = dict(flatten(settings.values)) | dict(settings.choices)
    changed = [key for key in typed if before.get(key) != now.get(key)]
    is_longer = is_finished(folder.record) and now[EPOCHS] > before[EPOCHS]
    fixed = [key for key in changed if not is_outside_identity(key) and not (is_longer and key == EPOCHS)]
    if fixed:
        told = ", a finished run to more epochs" if EPOCHS in fixed else ""
        raise ConfigError(
            f"resume={settings.resume} goes on with the config that the run was started with{told}. "
            f"Leave out {', '.join(f'{key}={now.get(key)} (it was {before.get(key)})' for key in fixed)}, "
            "or start a new run."
        )
    values = stored.values
    for key in ("resume", "dry_run", *changed):
        values = replaced(values, key.split("."), look_up(settings.values, key))
    options = {group: settings.choices[group] for group in changed if group in settings.choices}
    return replace(settings, values=values, choices={**stored.choices, **options})

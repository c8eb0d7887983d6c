"""Trials out of MLflow: convgrid's own, and runs that others logged, by other names."""

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at import; the user's own setting wins

import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from convgrid.compare.folders import RACED, check_compared_keys, unended
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
from convgrid.compare.sentences import number_of
from convgrid.compare.trials import Trials
from convgrid.config.address import database, knock, usual_experiment, usual_store, without_password
from convgrid.errors import ConfigError, TrackingError
from convgrid.objective.glossary import METRICS, Mode, objective_of
from convgrid.runs.best import is_finite
from convgrid.system.mlflow_database import make_sound
from convgrid.system.mlflow_internals import bulk_histories

FOLDER = Path("comparison")
BY_START = ["start_time"]
RACE_TAG = "convgrid.race"
PAGE_SIZE = 1000  # runs that a store gives at once
BULK = 500  # runs whose histories a database gives at once
THREADS = 8  # that ask a server for histories
STATUS_OF_MLFLOW = {"FAILED": "failed", "KILLED": "killed", "FINISHED": "finished"}
PARENTS = "tags.`convgrid.sweep` != ''"
LESS = ("loss", "error", "mae", "rmse")  # ends of names of which less is better
DATA_KEYS = ("data", "data.path", "data.table")  # trials of different data are not compared

MetricAndMode = tuple[str, Mode]
RunKind = tuple[MetricAndMode, tuple[str, ...]]  # what a run was best at, and its data


def from_mlflow(
    experiment: str | None = None,
    *,
    filter: str = "",
    tracking_uri: str | None = None,
    mapping: Mapping[str, str] | None = None,
    keys: Sequence[str] | None = None,
) -> Trials:
    """Read an experiment's runs.

    Of runs of different data or with different objectives, those of the most frequent are compared.

    Args:
        experiment: None takes the usual one.
        filter: MLflow's, such as "params.optimizer = 'adam'"; "" takes all runs.
        tracking_uri: A store such as "sqlite:///mlflow.db", or a tracking server's address; None takes the usual one.
        mapping: What others call what convgrid calls by the key: {"val/accuracy": "valid_acc", "seed": "random_seed"}.
        keys: What tells settings apart; None takes every parameter that differs.

    Returns:
        The runs; a sweep's own run is none of them.

    Raises:
        TrackingError: If the store cannot be used.
        ConfigError: If there is no such experiment, no run of it can be compared, or the filter or a name is wrong.
    """
    ours = {theirs: own for own, theirs in (mapping or {}).items()}
    experiment, tracking_uri = experiment or usual_experiment(), tracking_uri or usual_store()
    client = open_existing(tracking_uri)
    runs, parents = _runs(client, tracking_uri, experiment, filter)
    _check_mapping(ours, runs)
    runs, (metric, mode), left_out = _alike(runs, ours)
    rules = _races(runs, parents)
    (only,) = rules if len(rules) == 1 else (None,)
    race = RaceRules(**json.loads(only)) if only and len(parents) == 1 and keys is None and not filter else None
    curves = _curves(client, [run.info.run_id for run in runs], metric, ours)
    reads = [_read(run, rows, metric, mode, ours) for run, rows in _with_curves(runs, curves)]
    frame = frame_of(reads)
    told = differing(frame) if keys is None else list(keys)
    check_compared_keys(told, frame)
    frame = once(frame, told)
    return Trials(
        frame=frame,
        curves=drawable(curves[curves["trial"].isin(frame.index)].reset_index(drop=True)),
        metric=metric,
        mode=mode,
        keys=tuple(told),
        repetitions=repetition_keys(frame, told),
        mixed=mixed(frame, told) if keys is not None else (),
        title=f"experiment {experiment}" + (f", {filter}" if filter else ""),
        folder=FOLDER,
        swept=tuple(key for parent in parents for key in parent.data.params if not key.startswith("objective.")),
        warnings=(*left_out, *([RACED] if any(rules) and race is None else [])),
        left=unended(frame),
        race=race,
    )


def _races(runs: Sequence[Run], parents: Sequence[Run]) -> set[str | None]:
    """The rules of the races that runs are of; None of those that are of none."""
    rules = {parent.info.run_id: parent.data.tags.get(RACE_TAG) for parent in parents}
    return {rules.get(run.data.tags.get("mlflow.parentRunId", "")) for run in runs}


def open_existing(uri: str) -> MlflowClient:
    """Open a store that is there: MLflow itself would make an empty one, or try a server for minutes.

    Args:
        uri: As for `from_mlflow`.

    Returns:
        A client of it.

    Raises:
        TrackingError: If there is none.
    """
    path = database(uri)
    if path is not None and not path.exists():
        raise TrackingError(
            f"{without_password(uri)} is missing: no {path.resolve()}. "
            "Start where the runs were started, or give --tracking-uri."
        )
    if "://" not in uri:
        raise TrackingError(f"--tracking-uri {uri} is not an address. Use sqlite:///mlflow.db or http://HOST:PORT.")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        knock(uri)
        if path is not None:
            make_sound(path)
        return MlflowClient(tracking_uri=uri)
    except (OSError, ValueError, MlflowException) as error:  # a port may be no number
        cause = str(error).strip().partition("\n")[0]
        raise TrackingError(f"{without_password(uri)} cannot be used: {cause}.") from None


def _runs(client: MlflowClient, uri: str, experiment: str, filter: str) -> tuple[list[Run], list[Run]]:
    """The trials, and the sweeps that they are of."""
    try:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            names = ", ".join(each.name for each in client.search_experiments()) or "none"
            raise ConfigError(f"--experiment {experiment} is not in {without_password(uri)}. There are: {names}.")
        runs = [*_search(client, found.experiment_id, filter)]
        parents = [*_search(client, found.experiment_id, PARENTS)]
    except MlflowException as error:
        cause = str(error).partition("\n")[0]
        if filter and error.error_code == "INVALID_PARAMETER_VALUE":
            example = """--filter 'params.optimizer = "adam" and metrics."best/val/accuracy" > 0.9'"""
            raise ConfigError(f"--filter {filter}: {cause.rstrip('.')}. It is written as in {example}.") from None
        raise TrackingError(f"{without_password(uri)} cannot be used: {cause}.") from None
    sweeps = {run.info.run_id for run in parents if "convgrid.trial" not in run.data.tags}
    trials = [run for run in runs if run.info.run_id not in sweeps]
    if not trials:
        raise ConfigError(f"--experiment {experiment} has no run{' that the filter lets pass' if filter else ''}.")
    return trials, [run for run in parents if run.info.run_id in sweeps]


def _search(client: MlflowClient, experiment_id: str, filter: str) -> Iterator[Run]:
    """The oldest first."""
    token = None
    while True:
        page = client.search_runs([experiment_id], filter, max_results=PAGE_SIZE, page_token=token, order_by=BY_START)
        yield from page
        token = page.token
        if not token:
            return


def _check_mapping(ours: Mapping[str, str], runs: Sequence[Run]) -> None:
    known = {name for run in runs for names in (run.data.params, run.data.metrics, run.data.tags) for name in names}
    for theirs, own in ours.items():
        if theirs not in known:
            shown = ", ".join(sorted(name for name in known if not name.startswith("mlflow.")))
            raise ConfigError(f"--map {own}={theirs}: no run has logged {theirs}. They have: {shown}.")
        if own != theirs and any({own, theirs} <= {*run.data.params, *run.data.metrics} for run in runs):
            raise ConfigError(
                f"--map {own}={theirs}: runs that have logged {theirs} have a {own} of their own. Leave it out, "
                "or choose other runs with --filter."
            )


def _alike(runs: Sequence[Run], ours: Mapping[str, str]) -> tuple[list[Run], MetricAndMode, tuple[str, ...]]:
    """Those that can be compared: of one kind of data, by one objective."""
    kinds = [_kind(run, ours) for run in runs]
    frequent = Counter(kind for kind in kinds if kind is not None).most_common()
    if not frequent:
        names = ", ".join(sorted({name for run in runs for name in run.data.metrics})) or "nothing"
        raise ConfigError(f"No run says what is best. Name it: --map val/accuracy=NAME. They have logged: {names}.")
    ((chosen, data), _), *others = frequent
    kept = [run for run, kind in zip(runs, kinds, strict=True) if kind == (chosen, data)]
    return kept, chosen, (*_other_kinds(others), *_without(chosen[0], kinds.count(None)))


def _other_kinds(others: Sequence[tuple[RunKind, int]]) -> Iterator[str]:
    if others:
        (metric, _), values = others[0][0]
        some = ", ".join([*(f"{key}={value}" for key, value in zip(DATA_KEYS, values, strict=True) if value), metric])
        left = number_of(sum(count for _, count in others), "run")
        yield f"Left out: {left} of other data or with another objective, such as {some}; see --filter."


def _without(metric: str, count: int) -> Iterator[str]:
    if count:
        yield f"Left out: {number_of(count, 'run')} without {metric}, such as one that failed before it was measured."


def _kind(run: Run, ours: Mapping[str, str]) -> RunKind | None:
    """What it was best at, and its data; None of a run that does not say."""
    params = _renamed(run.data.params, ours)
    mapped = [own for theirs, own in ours.items() if own.startswith(("val/", "test/")) and theirs in run.data.metrics]
    objective = _mode(mapped[0]) if mapped else _stated(params) or _usual(run)
    return None if objective is None else (objective, tuple(params.get(key, "") for key in DATA_KEYS))


def _stated(params: Mapping[str, Any]) -> MetricAndMode | None:
    """What a run of convgrid's was about; None of a run that uses the same names for something else."""
    task = params.get("data.task", "classification")
    if "objective.metric" not in params or task not in METRICS:
        return None
    try:
        return objective_of(task, params["objective.metric"], params.get("objective.mode", "auto"))
    except ConfigError:
        return None


def _usual(run: Run) -> MetricAndMode | None:
    """What others' runs are compared by that log what convgrid goes by itself."""
    names = (f"val/{next(iter(metrics))}" for metrics in METRICS.values())
    return next((_mode(name) for name in names if name in run.data.metrics), None)


def _mode(name: str) -> MetricAndMode:
    """By the glossary; a metric that it lacks is better when higher, unless it is called a loss or an error."""
    short = name.partition("/")[2]
    for metrics in METRICS.values():
        if short in metrics:
            return name, metrics[short].mode
    return name, "min" if short.endswith(LESS) else "max"


def _renamed(values: Mapping[str, Any], ours: Mapping[str, str]) -> dict[str, Any]:
    return {ours.get(key, key): value for key, value in values.items()}


def _curves(client: MlflowClient, ids: Sequence[str], metric: str, ours: Mapping[str, str]) -> pd.DataFrame:
    theirs = {own: name for name, own in ours.items()}
    names = {own: theirs.get(own, own) for own in dict.fromkeys((*CURVE_METRICS, metric))}
    return curves_table(
        (trial, step, own, value) for own, name in names.items() for trial, step, value in _histories(client, ids, name)
    )


def _histories(client: MlflowClient, ids: Sequence[str], name: str) -> Iterator[tuple[str, int, float]]:
    """A database gives those of many runs at once; a server is asked for one after the other, by some threads."""
    bulk = bulk_histories(client)
    if bulk is None:
        with ThreadPoolExecutor(THREADS) as threads:
            histories = threads.map(lambda trial: client.get_metric_history(trial, name), ids)
            for trial, history in zip(ids, histories, strict=True):
                yield from ((trial, each.step, each.value) for each in history)
        return
    for start in range(0, len(ids), BULK):
        for each in bulk(ids[start : start + BULK], name, 2**31 - 1):
            yield each.run_id, each.step, each.value


def _with_curves(runs: Sequence[Run], curves: pd.DataFrame) -> Iterator[tuple[Run, pd.DataFrame]]:
    by = dict(iter(curves.groupby("trial", sort=False)))
    for run in runs:
        yield run, by.get(run.info.run_id, curves.iloc[:0])


def _read(run: Run, curves: pd.DataFrame, metric: str, mode: str, ours: Mapping[str, str]) -> Read:
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith(("mlflow.", "convgrid."))}
    status = STATUS_OF_MLFLOW.get(run.info.status, "running")
    began = run.info.start_time or 0
    ended, best = run.info.end_time or began, run.data.tags.get("convgrid.best_epoch", "0")
    read = Read(
        trial=run.info.run_id,
        known={
            "status": run.data.tags.get("convgrid.outcome", status) if status == "finished" else status,
            "reason": run.data.tags.get("convgrid.reason", ""),
            "name": run.info.run_name,
            "epochs": int(curves["epoch"].max()) if len(curves) else 0,
            "best_epoch": int(best) if best.isdecimal() else 0,
            "seconds": (ended - began) / 1000,
        },
        params=_renamed(run.data.params, ours),
        metrics=of_metrics(_renamed(run.data.metrics, ours)),
        tags=_renamed(tags, ours),
        data=_data(run),
    )
    return checked(read if f"best/{metric}" in read.metrics else _with_best(read, curves, metric, mode), metric)


def _with_best(read: Read, curves: pd.DataFrame, metric: str, mode: str) -> Read:
    """Of runs that others logged, the best value is the best of the history; of one that diverged, what it became."""
    values = curves[curves["metric"] == metric]
    if values.empty:
        return read
    wrong = ~values["value"].map(is_finite).astype(bool)
    diverged = values[wrong & values["value"].notna()] if not wrong.iloc[-1] else values[wrong].iloc[-1:]
    if len(diverged):
        return replace(read, metrics={**read.metrics, f"best/{metric}": float(diverged["value"].iloc[0])})
    best = values.sort_values("value", ascending=mode == "min", kind="stable").iloc[0]
    return replace(
        read,
        metrics={**read.metrics, f"best/{metric}": float(best["value"])},
        known={**read.known, "best_epoch": int(best["epoch"])},
    )


def _data(run: Run) -> dict[str, Any]:
    """Of the data set that the run was logged with."""
    inputs = run.inputs.dataset_inputs if run.inputs else []
    if not inputs:
        return {}
    dataset = inputs[0].dataset
    return {"digest": dataset.digest, "images": _images(dataset.profile or "{}")}


def _images(text: str) -> dict[str, int]:
    """How many each part has; others may have written there what they like."""
    try:
        profile = json.loads(text)
    except ValueError:
        return {}
    known = profile if isinstance(profile, dict) else {}
    return {part: known[part] for part in ("train", "validation", "test") if isinstance(known.get(part), int)}

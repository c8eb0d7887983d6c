"""Folders become MLflow runs: what the store lacks of a trial or a sweep is sent, however often, by whomever.

A trial's folder is the truth. `tracked.json` beside it says what the store has; with the first time stamps, a value
that is sent again is the same value.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout
from mlflow.entities import LifecycleStage, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID as PARENT_RUN

from convgrid.environment import environment
from convgrid.runs import (
    BEST,
    CONFIG,
    DATA,
    ENDED,
    ENVIRONMENT,
    LOG,
    PLAN,
    RUNS,
    TRACKED,
    now,
    read_epochs,
    read_record,
)
from convgrid.sweep.results import SWEEP, standing, status
from convgrid.tracking import REASON, connect

LOCK = "sync.lock"
PARENT = "parent.json"
OUTCOME, BEST_EPOCH = "convgrid.outcome", "convgrid.best_epoch"
TRIAL_FILES = (CONFIG, DATA, PLAN, ENVIRONMENT)
NAME_LENGTH = 100  # characters that the dashboard shows of a sweep's command

STATUS = {"finished": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


@dataclass(frozen=True)
class Store:
    """An MLflow experiment that takes values.

    Args:
        client: Of the store.
        uri: Its address.
        experiment_id: Of the experiment.
        place: Address and birth of the experiment: one that was removed and made again is another.
    """

    client: MlflowClient
    uri: str
    experiment_id: str
    place: str

    @classmethod
    def open(cls, uri: str, experiment: str) -> Self:
        """Open a store, and find or create the experiment.

        Args:
            uri: A store such as "sqlite:///mlflow.db", or a tracking server's address.
            experiment: Its name.

        Returns:
            The store.
        """
        client, experiment_id = connect(uri, experiment)
        born = client.get_experiment(experiment_id).creation_time
        return cls(client, uri, experiment_id, f"{uri} {experiment_id} {born}")


@dataclass(frozen=True)
class Parent:
    """The sweep that trials belong to.

    Args:
        sweep: Its id.
        run_id: Of its MLflow run.
    """

    sweep: str
    run_id: str


@dataclass
class _Tracked:
    """What the store has of a folder."""

    place: str
    uri: str
    run_id: str = ""  # "" while the run is being created
    has_params: bool = False
    began: int = 0  # time of the first epoch: another one means that the training began anew
    sent: int = 0  # epochs
    status: str = ""
    ended: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    totals: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path, store: Store) -> Self | None:
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return cls(**known) if known.get("place") == store.place else None

    def write(self, file: Path) -> None:
        partial = file.with_name(f"{file.name}.partial")
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        partial.replace(file)


@dataclass(frozen=True)
class _Wanted:
    """What the store should have of a folder."""

    label: tuple[str, str]  # the tag by which the run is found
    name: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    files: Sequence[Path]
    status: str
    started: int
    ended: int
    epochs: Sequence[Mapping[str, Any]] = ()
    final: Sequence[Metric] = ()  # once it ended
    totals: Mapping[str, float] = field(default_factory=dict)  # whenever they change


def sync(folder: Path, store: Store, parent: Parent | None = None, *, weights: bool = False) -> bool:
    """Bring a trial's MLflow run up to its folder.

    Args:
        folder: The trial's.
        store: Where to.
        parent: The sweep that it belongs to.
        weights: Whether `best.ckpt` is stored as well.

    Returns:
        Whether the trial has ended, so that nothing more will come.

    Raises:
        Exception: Whatever the store or the disk raises; calling again sends the rest.
    """
    with FileLock(folder / LOCK):
        record = read_record(folder)
        if "run_id" in record and ("result" in record or "status" not in record):
            return _sync_plain(folder, record, store, parent)
        if "status" not in record:
            return "result" in record  # of a plain run without tracking
        wanted = _of_trial(folder, record, weights)
        tracked = _Tracked.read(folder / TRACKED, store)
        if tracked and tracked.began and wanted.epochs and tracked.began != wanted.epochs[0]["time"]:
            _forget(store, tracked.run_id)
            tracked = None
        _bring(folder / TRACKED, store, tracked, _member(wanted, tracked, parent))
        return wanted.status != "RUNNING"


def sync_sweep(folder: Path, store: Store, runs: Path = RUNS) -> Parent:
    """Bring a sweep's MLflow run, the parent of its trials' runs, up to its folder.

    Args:
        folder: The sweep's.
        store: Where to.
        runs: Where the trials' folders are.

    Returns:
        What its trials belong to.

    Raises:
        Exception: Whatever the store or the disk raises; calling again sends the rest.
    """
    with FileLock(folder / LOCK):
        tracked = _Tracked.read(folder / PARENT, store)
        sweep = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
        tracked = _bring(folder / PARENT, store, tracked, _of_sweep(folder, sweep, runs, is_new=tracked is None))
        return Parent(sweep["id"], tracked.run_id)


def set_sweeps_right(sweeps: Path, store: Store) -> None:
    """Bring up to date what the store shows as running though no process runs it.

    Args:
        sweeps: Where the sweeps' folders are.
        store: Where to.

    Raises:
        Exception: Whatever the store or the disk raises.
    """
    for file in sweeps.glob(f"*/{PARENT}"):
        tracked = _Tracked.read(file, store)
        if tracked and tracked.status == "RUNNING":
            sync_sweep(file.parent, store)


def _of_trial(folder: Path, record: Mapping[str, Any], weights: bool) -> _Wanted:
    status = STATUS.get(record["status"], "RUNNING")
    tags = {"convgrid.trial": folder.name, "convgrid.folder": str(folder.resolve()), **record.get("tags", {})}
    files, final, ended = [folder / name for name in TRIAL_FILES], [], 0
    if status != "RUNNING":
        ended = record["ended"]
        tags[OUTCOME] = record["status"]
        if record["reason"]:
            tags[REASON] = record["reason"]
        if record["best_epoch"]:
            tags[BEST_EPOCH] = str(record["best_epoch"])
        if status != "KILLED":  # which may go on, and come to more
            final = [Metric(name, value, ended, record["best_epoch"]) for name, value in record["metrics"].items()]
        files += [folder / LOG] * (status == "FAILED") + [folder / BEST] * weights
    return _Wanted(
        label=("convgrid.trial", folder.name),
        name=record.get("name", folder.name),  # which a trial lacks that failed before its network was built
        params=record.get("params", {}),
        tags=tags,
        files=files,
        status=status,
        started=record.get("started", ended),
        ended=ended,
        epochs=read_epochs(folder),
        final=final,
    )


def _of_sweep(folder: Path, sweep: Mapping[str, Any], runs: Path, *, is_new: bool) -> _Wanted:
    metric, mode = sweep["objective"]
    stand = standing(sweep, runs)
    totals = {f"trials/{status}": float(count) for status, count in stand.counts.items()}
    totals["trials/skipped"] = float(len(sweep["skipped"]))
    if stand.best is not None:
        totals[f"best/{metric}"] = stand.best.metrics[f"best/{metric}"]
    state, file = STATUS.get(status(sweep, folder), "RUNNING"), folder / SWEEP
    tags = {"convgrid.sweep": sweep["id"], "convgrid.command": sweep["command"]}
    return _Wanted(
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
    )


def _name(command: str) -> str:
    """What was typed behind -m."""
    words = shlex.split(command)
    typed = [word for word in words[1:] if not word.startswith("-") and not word.endswith(".py") and word != "run"]
    name = " ".join(typed)
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 3]}..."


def _member(wanted: _Wanted, tracked: _Tracked | None, parent: Parent | None) -> _Wanted:
    """A trial is a child of the first sweep that it was in, and a member of each."""
    if parent is None:
        return wanted
    nested = {} if tracked and PARENT_RUN in tracked.tags else {PARENT_RUN: parent.run_id}
    return replace(wanted, tags={**wanted.tags, **_membership(parent), **nested})


def _membership(parent: Parent) -> dict[str, str]:
    return {f"convgrid.sweep.{parent.sweep}": "member"}


def _sync_plain(folder: Path, record: Mapping[str, Any], store: Store, parent: Parent | None) -> bool:
    """A run of `run.py` sends its own values; it becomes a member, and gets a true status where its process died."""
    if record.get("uri") != store.uri:
        return True
    run_id = record["run_id"]
    if parent is not None:
        for key, value in _membership(parent).items():
            store.client.set_tag(run_id, key, value)
    try:
        with FileLock(folder / "lock", timeout=0):  # held while a process trains there
            if "result" not in record and store.client.get_run(run_id).info.status == "RUNNING":
                store.client.set_tag(run_id, REASON, ENDED)
                store.client.set_terminated(run_id, "KILLED")
    except Timeout:
        return False
    return True


def _bring(file: Path, store: Store, tracked: _Tracked | None, wanted: _Wanted) -> _Tracked:
    """Send the difference, in a run made anew where a person has deleted the old one."""
    try:
        return _send(file, store, tracked, wanted)
    except MlflowException:
        if tracked is None or not _is_gone(store, tracked.run_id):
            raise
    return _send(file, store, None, wanted)


def _send(file: Path, store: Store, tracked: _Tracked | None, wanted: _Wanted) -> _Tracked:
    client, tracked = store.client, _opened(file, store, tracked, wanted)
    run_id, has_new_end = tracked.run_id, (wanted.status, wanted.ended) != (tracked.status, tracked.ended)
    if has_new_end and wanted.status == "RUNNING":
        client.update_run(run_id, status="RUNNING")
    epochs = [epoch for epoch in wanted.epochs if epoch["epoch"] > tracked.sent]
    tags = {key: value for key, value in wanted.tags.items() if tracked.tags.get(key) != value}
    client.log_batch(
        run_id,
        metrics=[*_points(epochs), *(wanted.final if has_new_end else ()), *_changed(tracked.totals, wanted.totals)],
        params=[] if tracked.has_params else [Param(key, str(value)) for key, value in wanted.params.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    over = [key for key in (OUTCOME, REASON, BEST_EPOCH) if key in tracked.tags and key not in wanted.tags]
    for key in over:
        client.delete_tag(run_id, key)
    files = [path for path in wanted.files if path.name not in tracked.files and path.exists()]
    for path in files:
        client.log_artifact(run_id, str(path))
    if has_new_end and wanted.status != "RUNNING":
        client.set_terminated(run_id, wanted.status, wanted.ended)
    tracked = replace(
        tracked,
        has_params=bool(wanted.params),
        began=wanted.epochs[0]["time"] if wanted.epochs else tracked.began,
        sent=wanted.epochs[-1]["epoch"] if wanted.epochs else tracked.sent,
        status=wanted.status,
        ended=wanted.ended,
        tags={**{key: value for key, value in tracked.tags.items() if key not in over}, **wanted.tags},
        files=[*tracked.files, *(path.name for path in files)],
        totals=dict(wanted.totals),
    )
    tracked.write(file)
    return tracked


def _opened(file: Path, store: Store, tracked: _Tracked | None, wanted: _Wanted) -> _Tracked:
    """Find or create the run; that it is being created is noted before, so that a crash leaves one run."""
    if tracked is not None and tracked.run_id:
        return tracked
    key, value = wanted.label
    made = []
    if tracked is not None:  # an earlier process may have created it, and died before it could say so
        found = store.client.search_runs([store.experiment_id], f"tags.`{key}` = '{value}'")
        made = [run for run in found if run.info.start_time == wanted.started]  # a plain run may have the same label
    tracked = tracked or _Tracked(store.place, store.uri)
    tracked.write(file)
    if made:
        return replace(tracked, run_id=made[0].info.run_id, tags=dict(made[0].data.tags))
    tags = {key: str(value) for key, value in wanted.tags.items()}
    run = store.client.create_run(store.experiment_id, wanted.started, tags, wanted.name)
    tracked = replace(tracked, run_id=run.info.run_id, status="RUNNING", tags=tags)
    tracked.write(file)
    return tracked


def _points(epochs: Sequence[Mapping[str, Any]]) -> list[Metric]:
    return [
        Metric(name, value, epoch["time"], epoch["epoch"])
        for epoch in epochs
        for name, value in epoch["metrics"].items()
    ]


def _changed(before: Mapping[str, float], after: Mapping[str, float]) -> list[Metric]:
    """All at step 0: of points at one step the dashboard shows the latest, and a total may sink again."""
    at = now()
    return [Metric(name, value, at, 0) for name, value in after.items() if before.get(name) != value]


def _is_gone(store: Store, run_id: str) -> bool:
    try:
        return store.client.get_run(run_id).info.lifecycle_stage != LifecycleStage.ACTIVE
    except MlflowException as error:
        return error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)


def _forget(store: Store, run_id: str) -> None:
    """Delete the run of a training that began anew; `mlflow gc` or a person may restore or remove it for good."""
    if not _is_gone(store, run_id):
        store.client.delete_run(run_id)

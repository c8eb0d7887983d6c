"""Folders become MLflow runs: what the store lacks of a trial or a sweep is sent, however often, by whomever.

A trial's folder is the truth. `tracked.json` beside it says what the store has; with the first time stamps, a value
that is sent again is the same value.
"""

import getpass
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, LifecycleStage, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, MLFLOW_USER
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID as PARENT_RUN

from convgrid.config.address import without_password
from convgrid.errors import ModelError, SweepError, reason_of
from convgrid.model.mlflow_model import store as store_model
from convgrid.runs.files import write
from convgrid.runs.sweep import TRACKED_SWEEP, read_sweep
from convgrid.runs.trial import BEST, CURVES, RUNS, TRACKED, now, read_record, read_tracked
from convgrid.system.mlflow_internals import know_artifacts, one_transaction
from convgrid.tracking.run_contents import (
    BEST_EPOCH_TAG,
    OUTCOME_TAG,
    REASON_TAG,
    Wanted,
    wanted_of_sweep,
    wanted_of_trial,
)
from convgrid.tracking.store import Store

LOCK = "sync.lock"
MAX_PARAMETER_LENGTH = 6000  # characters of a parameter that MLflow takes


@dataclass(frozen=True)
class Parent:
    """The sweep that trials belong to.

    Args:
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
    has_data: bool = False
    model: str | None = None  # None before it is stored, then the name that it is registered by, or ""
    began: int = 0  # time of the first epoch: another one means that the training began anew
    sent: int = 0  # epochs
    system: int = 0  # samples of how busy the machine was
    status: str = ""
    ended: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)  # by name, when they were written
    totals: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path, store: Store) -> Self | None:
        known = read_tracked(file).get(store.place)
        if known is None:  # a file that did not read may have known of a run, which is looked for
            return cls(store.place, without_password(store.uri)) if file.exists() else None
        return cls(**{each.name: known[each.name] for each in fields(cls) if each.name in known})

    def write(self, file: Path) -> None:
        """The last store to be sent to comes first."""
        others = {place: known for place, known in read_tracked(file).items() if place != self.place}
        write(file, json.dumps({**asdict(self), "others": [*others.values()]}))


def sync(
    folder: Path,
    store: Store,
    parent: Parent | None = None,
    *,
    whole: bool = False,
    register: str | None = None,
    parts: Path | None = None,
) -> bool:
    """Bring a trial's MLflow run up to its folder.

    Args:
        parent: The sweep that it belongs to.
        whole: Whether its weights, its model and its pictures are stored as well.
        register: Name in the model registry; None for none.
        parts: Of its model, where another process has made them.

    Returns:
        Whether the trial has ended, so that nothing more will come.

    Raises:
        ModelError: If its model cannot be made; calling again does without.
        Exception: Whatever the store or the disk raises; calling again sends the rest.
    """
    with FileLock(folder / LOCK):
        record = read_record(folder)
        if "status" not in record:
            return False
        tracked = _Tracked.read(folder / TRACKED, store)
        wanted = wanted_of_trial(folder, record, whole=whole)
        if tracked and _began_anew(tracked, wanted):
            _forget(store, tracked.run_id)
            tracked = None
        if whole and wanted.status == "FINISHED":
            _draw(folder)
        tracked = _bring(folder / TRACKED, store, tracked, _member(wanted, record, tracked, parent))
        lacks_model = tracked.model is None or (register and tracked.model != register)
        if whole and wanted.status == "FINISHED" and (folder / BEST).exists() and lacks_model:
            _store_model(folder, store, tracked, register, parts)
        return wanted.status != "RUNNING"


def sync_together(folders: Sequence[Path], store: Store, parent: Parent | None = None) -> dict[Path, bool]:
    """Bring the runs of several trials up to their folders in a database, in one transaction.

    Of short trials, and of an epoch of many, MLflow's own reading and the disk take longer than what there is to be
    written.

    Args:
        parent: The sweep that they belong to.

    Returns:
        Of those that it has now, whether the trial has ended. Not what `sync` has to look into: what another process
        was about to send, and trainings that began anew.

    Raises:
        Exception: Whatever the store or the disk raises; `sync` sends each by itself then, and nothing twice.
    """
    with ExitStack() as locks:
        for folder in sorted(folders):  # always in one order: of two processes, one waits
            locks.enter_context(FileLock(folder / LOCK))
        wanted, tracked = dict[Path, Wanted](), dict[Path, _Tracked]()
        for folder in folders:
            record, known = read_record(folder), _Tracked.read(folder / TRACKED, store)
            if "status" not in record or (known and not known.run_id):
                continue
            found = _member(wanted_of_trial(folder, record, whole=False), record, known, parent)
            if known and _began_anew(known, found):
                continue
            wanted[folder], tracked[folder] = found, known or _Tracked(store.place, without_password(store.uri))
            if known is None:
                tracked[folder].write(folder / TRACKED)
        with one_transaction(store.client):
            for folder in wanted:
                if not tracked[folder].run_id:
                    tracked[folder] = _created(store, tracked[folder], wanted[folder])
                _send_end(store, tracked[folder], wanted[folder])  # first: MLflow reads all of a run to end it
                _send_values(store, tracked[folder], wanted[folder])
        for folder in wanted:
            files = _send_files(store, tracked[folder], wanted[folder])
            _with_sent(tracked[folder], wanted[folder], files).write(folder / TRACKED)
        return {folder: its.status != "RUNNING" for folder, its in wanted.items()}


def sync_sweep(folder: Path, store: Store, runs: Path = RUNS) -> Parent:
    """Bring a sweep's MLflow run, the parent of its trials' runs, up to its folder.

    Args:
        runs: Where the trials' folders are.

    Returns:
        What its trials belong to.

    Raises:
        SweepError: If its `sweep.json` cannot be parsed.
        Exception: Whatever the store or the disk raises; calling again sends the rest.
    """
    with FileLock(folder / LOCK):
        tracked = _Tracked.read(folder / TRACKED_SWEEP, store)
        sweep = read_sweep(folder)
        is_new = tracked is None or not tracked.run_id
        tracked = _bring(folder / TRACKED_SWEEP, store, tracked, wanted_of_sweep(folder, sweep, runs, is_new=is_new))
        return Parent(sweep["id"], tracked.run_id)


def set_sweeps_right(sweeps: Path, store: Store) -> None:
    """Bring up to date what the store shows as running though no process runs it; a broken sweep is passed over.

    Args:
        sweeps: Where the sweeps' folders are.

    Raises:
        Exception: Whatever the store or the disk raises.
    """
    for file in sweeps.glob(f"*/{TRACKED_SWEEP}"):
        tracked = _Tracked.read(file, store)
        if tracked and tracked.status == "RUNNING":
            with suppress(SweepError):  # `convgrid sync` tells of it
                sync_sweep(file.parent, store)


def _member(wanted: Wanted, record: Mapping[str, Any], tracked: _Tracked | None, parent: Parent | None) -> Wanted:
    """A sweep's trial is a child of the first sweep that it was in, a member of each; a single run has no parent."""
    if parent is None:
        return wanted
    is_child = "sweep" in record and not (tracked and PARENT_RUN in tracked.tags)
    nested = {PARENT_RUN: parent.run_id} if is_child else {}
    return replace(wanted, tags={**wanted.tags, **_membership(parent), **nested})


def _began_anew(tracked: _Tracked, wanted: Wanted) -> bool:
    return bool(tracked.began and wanted.epochs and tracked.began != wanted.epochs[0]["time"])


def _membership(parent: Parent) -> dict[str, str]:
    return {f"convgrid.sweep.{parent.sweep}": "member"}


def _draw(folder: Path) -> None:
    if not (folder / CURVES).exists():
        from convgrid.tracking.learning_curves import draw_curves  # Matplotlib takes half a second to import

        draw_curves(folder)


def _store_model(folder: Path, store: Store, tracked: _Tracked, register: str | None, parts: Path | None) -> None:
    mistake = None
    try:
        store_model(folder, store.uri, tracked.run_id, register=register, parts=parts)
    except (MlflowException, OSError):  # another time
        raise
    except Exception as error:  # a network of the user's own may fail to be exported in any way
        mistake = ModelError(f"The model of {folder} is not stored: {reason_of(error)}")
    replace(tracked, model=register or "").write(folder / TRACKED)
    if mistake:
        raise mistake


def _bring(file: Path, store: Store, tracked: _Tracked | None, wanted: Wanted) -> _Tracked:
    """Send the difference, in a run made anew where the user has deleted the old one."""
    try:
        return _send(file, store, tracked, wanted)
    except MlflowException:
        if tracked is None or not _is_gone(store, tracked.run_id):
            raise
    return _send(file, store, None, wanted)


def _send(file: Path, store: Store, tracked: _Tracked | None, wanted: Wanted) -> _Tracked:
    tracked = _opened(file, store, tracked, wanted)
    _send_values(store, tracked, wanted)
    files = _send_files(store, tracked, wanted)
    _send_end(store, tracked, wanted)
    tracked = _with_sent(tracked, wanted, files)
    tracked.write(file)
    return tracked


def _send_values(store: Store, tracked: _Tracked, wanted: Wanted) -> None:
    client, run_id, has_new_end = store.client, tracked.run_id, _has_new_end(tracked, wanted)
    if has_new_end and wanted.status == "RUNNING":
        client.update_run(run_id, status="RUNNING")
    epochs = [epoch for epoch in wanted.epochs if epoch["epoch"] > tracked.sent]
    tags = {key: value for key, value in wanted.tags.items() if tracked.tags.get(key) != value}
    client.log_batch(
        run_id,
        metrics=[
            *_points(epochs),
            *_samples(wanted.system, tracked.system),
            *(_final(wanted) if has_new_end else ()),
            *_changed(tracked.totals, wanted.totals),
        ],
        params=[] if tracked.has_params else [Param(key, _fitting(value)) for key, value in wanted.params.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    if wanted.data and not tracked.has_data:
        client.log_inputs(run_id, [_dataset(wanted)])
    for key in _over(tracked, wanted):
        client.delete_tag(run_id, key)


def _send_files(store: Store, tracked: _Tracked, wanted: Wanted) -> dict[str, int]:
    """Those that are new, by name, and when they were written."""
    written = {path: path.stat().st_mtime_ns for path in wanted.files if path.exists()}
    files = {path: at for path, at in written.items() if tracked.files.get(path.name) != at}
    for path in files:
        store.client.log_artifact(tracked.run_id, str(path))
    return {path.name: at for path, at in files.items()}


def _send_end(store: Store, tracked: _Tracked, wanted: Wanted) -> None:
    if _has_new_end(tracked, wanted) and wanted.status != "RUNNING":
        store.client.set_terminated(tracked.run_id, wanted.status, wanted.ended)


def _has_new_end(tracked: _Tracked, wanted: Wanted) -> bool:
    return (wanted.status, wanted.ended) != (tracked.status, tracked.ended)


def _over(tracked: _Tracked, wanted: Wanted) -> list[str]:
    """Tags of an end that was none."""
    return [key for key in (OUTCOME_TAG, REASON_TAG, BEST_EPOCH_TAG) if key in tracked.tags and key not in wanted.tags]


def _with_sent(tracked: _Tracked, wanted: Wanted, files: Mapping[str, int]) -> _Tracked:
    over = _over(tracked, wanted)
    return replace(
        tracked,
        has_params=tracked.has_params or bool(wanted.params),
        has_data=tracked.has_data or bool(wanted.data),
        began=wanted.epochs[0]["time"] if wanted.epochs else tracked.began,
        sent=wanted.epochs[-1]["epoch"] if wanted.epochs else tracked.sent,
        system=len(wanted.system),
        status=wanted.status,
        ended=wanted.ended,
        tags={**{key: value for key, value in tracked.tags.items() if key not in over}, **wanted.tags},
        files={**tracked.files, **files},
        totals=dict(wanted.totals),
    )


def _opened(file: Path, store: Store, tracked: _Tracked | None, wanted: Wanted) -> _Tracked:
    """Find or create the run; that it is being created is noted before, so that a crash leaves one run."""
    if tracked is not None and tracked.run_id:
        return tracked
    key, value = wanted.label
    made = []
    if tracked is not None:  # an earlier process may have created it, and died before it could say so
        found = store.client.search_runs([store.experiment_id], f"tags.`{key}` = '{value}'")
        made = [run for run in found if run.info.start_time == wanted.started]  # others may have the same label
    tracked = tracked or _Tracked(store.place, without_password(store.uri))
    tracked.write(file)
    if made:
        return replace(tracked, run_id=made[0].info.run_id, tags=dict(made[0].data.tags))
    tracked = _created(store, tracked, wanted)
    tracked.write(file)
    return tracked


def _created(store: Store, tracked: _Tracked, wanted: Wanted) -> _Tracked:
    tags = {key: str(value) for key, value in {**_usual(wanted.tags), **wanted.tags}.items()}
    run = store.client.create_run(store.experiment_id, wanted.started, tags, wanted.name)
    know_artifacts(store.client, run)
    return replace(tracked, run_id=run.info.run_id, status="RUNNING", tags=tags)


def _usual(tags: Mapping[str, str]) -> dict[str, str]:
    """What MLflow's dashboard shows as source, version and user."""
    words = [word for word in tags.get("command", "").split() if word not in ("python", "-m")]
    usual = {MLFLOW_SOURCE_NAME: words[0] if words else "", MLFLOW_SOURCE_TYPE: "LOCAL"}
    usual[MLFLOW_GIT_COMMIT] = tags.get("git.commit", "")
    with suppress(Exception):  # it raises various ones where the system knows no name
        usual[MLFLOW_USER] = getpass.getuser()
    return {key: value for key, value in usual.items() if value}


def _points(epochs: Sequence[Mapping[str, Any]]) -> list[Metric]:
    return [
        Metric(name, value, epoch["time"], epoch["epoch"])
        for epoch in epochs
        for name, value in epoch["metrics"].items()
    ]


def _samples(system: Sequence[Mapping[str, Any]], sent: int) -> list[Metric]:
    return [
        Metric(name, value, sample["time"], step)
        for step, sample in enumerate(system[sent:], sent)
        for name, value in sample["metrics"].items()
    ]


def _final(wanted: Wanted) -> list[Metric]:
    metrics, epoch = wanted.final
    return [Metric(name, value, wanted.ended, epoch) for name, value in metrics.items()]


def _fitting(value: object) -> str:
    """The store takes so much and no more; the config and the sweep among the artifacts have it all."""
    text = str(value)
    return text if len(text) <= MAX_PARAMETER_LENGTH else f"{text[: MAX_PARAMETER_LENGTH - 3]}..."


def _dataset(wanted: Wanted) -> DatasetInput:
    data = wanted.data
    columns = {"images": {"type": data["dtype"], "shape": [-1, *data["shape"]]}, data["task"]: list(data["names"])}
    profile = {**data["images"], "shape": data["shape"], "classes": len(data["names"])}
    dataset = Dataset(
        name=data["name"],
        digest=data["digest"],
        source_type="local" if wanted.source else "code",
        source=json.dumps({"uri": wanted.source} if wanted.source else {"tags": {"data": data["name"]}}),
        schema=json.dumps(columns),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


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
    """Delete the run of a training that began anew; `mlflow gc` or the user may restore or remove it for good."""
    if not _is_gone(store, run_id):
        store.client.delete_run(run_id)

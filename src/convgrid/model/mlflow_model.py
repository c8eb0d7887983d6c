"""A trial's model stands in MLflow: its program, its card, its signature; and in the registry under a name."""

import hashlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at import; the user's own setting wins

from mlflow import register_model, set_tracking_uri
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import save_model
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from convgrid.model.mlflow_parts import ADDRESS, CARD, INPUT_EXAMPLES, META, PROGRAM, make
from convgrid.runs.trial import BEST, read_record
from convgrid.system.mlflow_internals import packages_known

MODEL_NAME = "model"
WEIGHTS_TAG = "convgrid.weights"  # tag: a digest of what the model was made of
SERVING = Path(__file__).with_name("mlflow_serving.py")
MODEL_PACKAGES = ("mlflow", "numpy", "pandas", "torch")  # that a model needs when it is loaded
MAX_DESCRIPTION_LENGTH = 5000  # characters of a description in the registry


def store(folder: Path, uri: str, run_id: str, *, register: str | None = None, parts: Path | None = None) -> str:
    """Store a trial's model in its MLflow run, and register it; what is there already is left as it is.

    Args:
        folder: The trial's, with `best.ckpt`.
        uri: A store such as "sqlite:///mlflow.db", or a tracking server's address.
        run_id: Of the trial's run.
        register: Name in the model registry; None for none.
        parts: A folder with what `parts.make` has made of the trial; None makes them here, by torch.

    Returns:
        Its address for `mlflow.pyfunc.load_model`: "models:/m-1a2b...", or "models:/digits/1" where it is registered.

    Raises:
        ConvgridError: If the folder does not make a model.
        Exception: Whatever the store or the disk raises; calling again does the rest.
    """
    client, digest = MlflowClient(uri, uri), _digest(folder / BEST)
    with _quiet():
        model = _stored(client, run_id, digest) or _store(client, folder, run_id, digest, parts)
        if register is not None:
            return f"models:/{register}/{_register(client, model, register)}"
    return f"models:/{model.model_id}"


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]


def _stored(client: MlflowClient, run_id: str, digest: str) -> LoggedModel | None:
    """The run's model of these weights, if an earlier call finished it."""
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    whole = (model for model in found if model.status == LoggedModelStatus.READY)
    return next((model for model in whole if model.tags.get(WEIGHTS_TAG) == digest), None)


def _store(client: MlflowClient, folder: Path, run_id: str, digest: str, parts: Path | None) -> LoggedModel:
    with tempfile.TemporaryDirectory() as place:
        if parts is None:
            make(folder, Path(place))
        return _log(client, folder, run_id, digest, parts or Path(place))


def _log(client: MlflowClient, folder: Path, run_id: str, digest: str, parts: Path) -> LoggedModel:
    """By the client alone: `mlflow.pyfunc.log_model` would start the run again, and end it anew."""
    meta, run = json.loads((parts / META).read_text(encoding="utf-8")), client.get_run(run_id)
    model = client.create_logged_model(
        run.info.experiment_id,
        name=MODEL_NAME,
        source_run_id=run_id,
        tags={WEIGHTS_TAG: digest},
        params={key: str(value) for key, value in meta["config"].items()},
        model_type=meta["profile"]["task"],
    )
    try:
        with tempfile.TemporaryDirectory() as place:
            made = Model(model.artifact_location, run_id, model_id=model.model_id, model_uuid=model.model_id)
            _save(parts, meta, made, Path(place))
            client.log_model_artifacts(model.model_id, f"{place}/{MODEL_NAME}")
        _link(client, folder, model, run_id)
    except BaseException:
        with suppress(Exception):  # the store may be what failed
            client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        raise
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _save(parts: Path, meta: Mapping[str, Any], model: Model, place: Path) -> None:
    """The model as MLflow keeps it: a script, a program, a card; no pickle."""
    text = (parts / CARD).read_text(encoding="utf-8").replace(ADDRESS, ADDRESS.format(model_id=model.model_id))
    (place / CARD).write_text(text, encoding="utf-8")
    profile = meta["profile"]
    with packages_known(MODEL_PACKAGES):
        save_model(
            str(place / MODEL_NAME),
            mlflow_model=model,
            python_model=str(SERVING),
            artifacts={"program": str(parts / PROGRAM), "model_card": str(place / CARD)},
            signature=_signature(meta),
            input_example=np.load(parts / INPUT_EXAMPLES),
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in MODEL_PACKAGES],
            metadata={"trial": meta["trial"], "data": profile["name"], "digest": profile["digest"]},
        )


def _signature(meta: Mapping[str, Any]) -> ModelSignature:
    images = TensorSpec(np.dtype(meta["profile"]["dtype"]), (-1, *meta["profile"]["shape"]))
    answer = [ColSpec(DataType.string, meta["answer"])] if meta["answer"] else []
    return ModelSignature(
        Schema([images]), Schema([*answer, *(ColSpec(DataType.float, column) for column in meta["columns"])])
    )


def _link(client: MlflowClient, folder: Path, model: LoggedModel, run_id: str) -> None:
    """The model is the run's, and its metrics are the model's: the same points that the run has."""
    record = read_record(folder)
    best = record.get("best_epoch", 0)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, best)])
    if "ended" in record:
        found = record["metrics"].items()
        points = [Metric(key, value, record["ended"], best, model.model_id, run_id=run_id) for key, value in found]
        client.log_batch(run_id, metrics=points)


def _register(client: MlflowClient, model: LoggedModel, name: str) -> str:
    """Its version, made once: a model that has one under the name gets no other."""
    source = f"models:/{model.model_id}"
    made = [found for found in client.search_model_versions(f"name = '{name}'") if found.source == source]
    if made:
        return str(made[0].version)
    set_tracking_uri(client.tracking_uri)  # where the store looks the model up, whatever client asks
    return str(register_model(source, name).version)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without MLflow's progress bars, and what it tells of itself."""
    bars, logger = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", logging.getLogger("mlflow")
    before, level = os.environ.get(bars), logger.level
    os.environ[bars] = "false"
    logger.setLevel(logging.WARNING)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        os.environ.pop(bars)
        if before is not None:
            os.environ[bars] = before

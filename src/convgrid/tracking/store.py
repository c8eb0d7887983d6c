"""An MLflow store: opened, with an experiment in it that takes runs."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from filelock import FileLock

from convgrid.config.address import database, knock
from convgrid.errors import TrackingError

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at import; the user's own setting wins

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

ARTIFACTS = "mlartifacts"  # beside a local store; a server keeps its own
KIND = {"mlflow.experimentKind": "custom_model_development"}  # the dashboard shows runs, not conversations


@dataclass(frozen=True)
class Store:
    """An MLflow experiment that takes values.

    Args:
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

        Returns:
            The store.
        """
        client, experiment_id = connect(uri, experiment)
        born = client.get_experiment(experiment_id).creation_time
        return cls(client, uri, experiment_id, f"{uri} {experiment_id} {born}")


def connect(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """Open a store, and find or create the experiment.

    Args:
        uri: A store such as "sqlite:///mlflow.db", or a tracking server's address.

    Returns:
        A client, and the experiment's id.

    Raises:
        TrackingError: If the experiment was deleted.
        Exception: Whatever a database, a network or a disk raises that cannot be used.
    """
    knock(uri)
    with _opening(uri):
        client = _client(uri)
        return client, _experiment(client, uri, experiment)


@contextmanager
def _opening(uri: str) -> Iterator[None]:
    """One process at a time: those that open a new database at once would all create its tables."""
    path = database(uri)
    if path is None:
        yield
        return
    with FileLock(f"{path}.lock"):
        yield


def _client(uri: str) -> MlflowClient:
    for name in ("mlflow.store.db.utils", "alembic.runtime.migration", "alembic.runtime.plugins.setup"):
        logging.getLogger(name).setLevel(logging.WARNING)  # a new store tells of every table
    return MlflowClient(tracking_uri=uri)


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    """Find or create it; of two processes that create it at once, the later one finds it."""
    found = client.get_experiment_by_name(name)
    if found is None:
        path = database(uri)
        location = (path.parent / ARTIFACTS).resolve().as_uri() if path else None
        try:
            return client.create_experiment(name, artifact_location=location, tags=KIND)
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(f"tracking.experiment={name} was deleted in {uri}. Restore it, or use another name.")
    return found.experiment_id

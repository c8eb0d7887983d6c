"""An MLflow store: opened, with an experiment in it that takes runs."""

import logging
import os
from dataclasses import dataclass
from typing import Self

from convgrid.config.address import database, knock, without_password
from convgrid.errors import TrackingError
from convgrid.system.mlflow_database import make_sound

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
        return cls(client, uri, experiment_id, f"{without_password(uri)} {experiment_id} {born}")


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
    for name in ("mlflow.store.db.utils", "alembic.runtime.migration", "alembic.runtime.plugins.setup"):
        logging.getLogger(name).setLevel(logging.WARNING)  # a new store tells of every table
    path = database(uri)
    if path is not None:
        make_sound(path)
    client = MlflowClient(tracking_uri=uri)
    return client, _experiment(client, uri, experiment)


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
        raise TrackingError(
            f"tracking.experiment={name} was deleted in {without_password(uri)}. Restore it, or use another name."
        )
    return found.experiment_id

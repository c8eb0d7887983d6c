"""A trial stands in MLflow: parameters, a value of each metric an epoch, artifacts, the model, a true status."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from filelock import FileLock

from convgrid.errors import TrackingError
from convgrid.runs import now

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read at import; a person's own setting wins

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

ARTIFACTS = "mlartifacts"  # beside a local store; a server keeps its own
REASON = "convgrid.reason"
BATCH = 100  # parameters that a store takes at once

Status = Literal["FINISHED", "FAILED", "KILLED"]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until a call to the store is done: inside a transaction they would leave it locked.

    Example:
        >>> with undisturbed():
        ...     pass
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    held: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: held.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for number in held[:1]:
            signal.raise_signal(number)


class Run:
    """One MLflow run, created or continued; the only writer of it.

    Args:
        uri: A store such as "sqlite:///mlflow.db", or a tracking server's address.
        run_id: Of the run.
    """

    def __init__(self, uri: str, run_id: str) -> None:
        self.uri, self.run_id = uri, run_id
        self._client = _client(uri)
        try:
            self._run = self._client.get_run(run_id)
        except MlflowException:
            raise TrackingError(f"tracking.uri={uri} has no run {run_id}. Give the store that holds it.") from None
        sent = self._client.get_metric_history(run_id, "train/loss")
        self._epochs_sent = max((metric.step for metric in sent), default=0)
        self._times: dict[int, int] = {}

    @classmethod
    @undisturbed()
    def create(
        cls, uri: str, experiment: str, *, name: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> Self:
        """Create a run with its parameters.

        Args:
            uri: A store such as "sqlite:///mlflow.db", or a tracking server's address.
            experiment: Name of the experiment, created where there is none.
            name: What the dashboard shows.
            params: By dotted key, written out in full.
            tags: By key.

        Returns:
            The run, with status RUNNING.

        Raises:
            TrackingError: If the store cannot be opened or refuses.
        """
        try:
            client, experiment_id = connect(uri, experiment)
            created = client.create_run(experiment_id, tags=dict(tags), run_name=name)
            items = [Param(key, str(value)) for key, value in params.items()]
            for first in range(0, len(items), BATCH):
                client.log_batch(created.info.run_id, params=items[first : first + BATCH])
        except TrackingError:
            raise
        except Exception as error:  # a store may fail in every way that a database, a network or a disk can
            cause = str(error).strip().partition("\n")[0]
            raise TrackingError(f"tracking.uri={uri} cannot be used: {cause}. Or run with tracking=none.") from None
        return cls(uri, created.info.run_id)

    @undisturbed()
    def send(self, history: Sequence[Mapping[str, float]]) -> None:
        """Send the epochs that have not been sent yet; steps count epochs from 1.

        Args:
            history: One mapping of metrics for every epoch so far.
        """
        at = now()
        metrics = [
            # An interrupted call may have arrived: with its first time stamp, a value that is sent again is the same.
            Metric(name, value, self._times.setdefault(epoch, at), epoch)
            for epoch, values in enumerate(history, start=1)
            if epoch > self._epochs_sent
            for name, value in values.items()
        ]
        if metrics:
            self._client.log_batch(self.run_id, metrics=metrics)
            self._epochs_sent = len(history)

    @undisturbed()
    def result(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Send what the run came to.

        Args:
            metrics: By name.
            epoch: The best one, counted from 1.
        """
        at = now()
        values = [Metric(name, value, at, epoch) for name, value in metrics.items()]
        self._client.log_batch(self.run_id, metrics=values, tags=[RunTag("convgrid.best_epoch", str(epoch))])

    @undisturbed()
    def keep(self, path: Path, folder: str = "") -> None:
        """Store a file as an artifact.

        Args:
            path: The file.
            folder: Where among the artifacts; "" is the top.
        """
        self._client.log_artifact(self.run_id, str(path), folder or None)

    @property
    def dashboard(self) -> str:
        """How to look at the run."""
        if self.uri.startswith("http"):
            return self.uri
        return f"make ui, or mlflow ui --host 127.0.0.1 --backend-store-uri {self.uri}"

    @undisturbed()
    def reopen(self) -> None:
        """Say that it is running again."""
        self._client.update_run(self.run_id, status="RUNNING")
        if REASON in self._run.data.tags:
            self._client.delete_tag(self.run_id, REASON)

    @undisturbed()
    def finish(self, status: Status, reason: str = "") -> None:
        """Say how it ended.

        Args:
            status: The run's status from now on.
            reason: Why it did not finish.
        """
        if reason:
            self._client.set_tag(self.run_id, REASON, reason)
        self._client.set_terminated(self.run_id, status=status)


def connect(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """Open a store, and find or create the experiment.

    Args:
        uri: A store such as "sqlite:///mlflow.db", or a tracking server's address.
        experiment: Its name.

    Returns:
        A client, and the experiment's id.

    Raises:
        TrackingError: If the experiment was deleted.
        Exception: Whatever a database, a network or a disk raises that cannot be used.
    """
    _knock(uri)
    with _opening(uri):
        client = _client(uri)
        return client, _experiment(client, uri, experiment)


def _knock(uri: str) -> None:
    """Fail within seconds where no server listens: MLflow itself tries again for minutes."""
    address = urlsplit(uri)
    if address.scheme in ("http", "https"):
        port = address.port or {"http": 80, "https": 443}[address.scheme]
        socket.create_connection((address.hostname or "", port), timeout=5).close()


@contextmanager
def _opening(uri: str) -> Iterator[None]:
    """One process at a time: those that open a new database at once would all create its tables."""
    path = _database(uri)
    if path is None:
        yield
        return
    with FileLock(f"{path}.lock"):
        yield


def _database(uri: str) -> Path | None:
    """The file of a local store."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _client(uri: str) -> MlflowClient:
    for name in ("mlflow.store.db.utils", "alembic.runtime.migration", "alembic.runtime.plugins.setup"):
        logging.getLogger(name).setLevel(logging.WARNING)  # a new store tells of every table
    return MlflowClient(tracking_uri=uri)


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    """Find or create it; of two processes that create it at once, the later one finds it."""
    found = client.get_experiment_by_name(name)
    if found is None:
        path = _database(uri)
        location = (path.parent / ARTIFACTS).resolve().as_uri() if path else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(f"tracking.experiment={name} was deleted in {uri}. Restore it, or use another name.")
    return found.experiment_id

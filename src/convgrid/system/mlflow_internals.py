"""What convgrid uses of MLflow that MLflow does not promise to keep; with another version, look here first."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.db.db_types import SQLITE
from mlflow.store.db.utils import _get_latest_schema_revision
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service import utils as tracking_utils
from mlflow.utils import requirements_utils
from sqlalchemy.orm import Session

MOST_PLACES = 1024  # of artifacts; as many as MLflow itself remembers


def bulk_histories(client: MlflowClient) -> Callable[..., Any] | None:
    """A database's reader of many runs' histories at once, where the client asks for each by itself.

    Returns:
        From ids, a metric's name and the most points to metrics; None of a server.
    """
    return getattr(client._tracking_client.store, "get_metric_history_bulk", None)


def has_transactions(client: MlflowClient) -> bool:
    """Whether a client writes into a database by itself, so that `one_transaction` is for it; not to a server."""
    return isinstance(client._tracking_client.store, SqlAlchemyStore)


@contextmanager
def one_transaction(client: MlflowClient) -> Iterator[None]:
    """A database takes what is written to runs inside at once, or nothing of it.

    By itself MLflow opens a session for each part of each call, reads the run in it, keeps each row that it writes in
    mind, and waits for the disk at its end: of a run with a hundred parameters and few values, most of the time.

    Raises:
        MlflowException: If MLflow would undo a part and go on, as where a run has a value already.
        Exception: Whatever the database raises.
    """
    store = client._tracking_client.store
    before = store.ManagedSessionMaker
    with store.engine.connect() as connection:
        if store.db_type == SQLITE:
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")  # as MLflow's own sessions begin
            connection.exec_driver_sql("PRAGMA busy_timeout = 20000")
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver would begin with the first row written
        with _Shared(bind=connection) as shared:

            @contextmanager
            def part(*_of: object, **_how: object) -> Iterator[Session]:
                yield shared
                shared.flush()

            store.ManagedSessionMaker = part
            try:
                yield
            finally:
                store.ManagedSessionMaker = before
        connection.commit()


class _Shared(Session):
    """A session of several parts, none of which ends the transaction."""

    def add_all(self, instances: Iterable[object]) -> None:
        """Rows of a run that nobody will ask this session for: most of what a session does is to know its rows."""
        self.bulk_save_objects([*instances])

    def commit(self) -> None:
        self.flush()

    def rollback(self) -> None:
        raise MlflowException("a part of a transaction was to be undone")


def know_artifacts(client: MlflowClient, run: Run) -> None:
    """Spare a database reading a new run again, all of it, only to say where its artifacts belong."""
    if run.info.artifact_uri and has_transactions(client):
        known = tracking_utils._artifact_repos_cache
        if len(known) > MOST_PLACES:
            known.popitem(last=False)
        known[run.info.run_id] = get_artifact_repository(run.info.artifact_uri, tracking_uri=client.tracking_uri)


@functools.cache
def last_revision() -> str:
    """The schema that a whole database has, by this version of MLflow, which imports all migrations for it."""
    return _get_latest_schema_revision()


def close_database(uri: str) -> None:
    """Let go of a database's file, which MLflow keeps open, also where it could not make its tables."""
    engine = SqlAlchemyStore._engine_map.pop(uri, None)
    if engine is not None:
        engine.dispose()


@contextmanager
def packages_known(packages: Sequence[str]) -> Iterator[None]:
    """MLflow would read the file lists of all installed packages to find the modules of a few.

    Seconds of processor time to save a model, each way thrice in turns: 0.02, and 0.54 without.
    """
    name = "_MODULES_TO_PACKAGES"
    if not hasattr(requirements_utils, name):  # another version's own affair
        yield
        return
    before = getattr(requirements_utils, name)
    setattr(requirements_utils, name, {package: [package] for package in packages})
    try:
        yield
    finally:
        setattr(requirements_utils, name, before)

"""What convgrid uses of MLflow that MLflow does not promise to keep; with another version, look here first."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow.store.db.utils import _get_latest_schema_revision
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from mlflow.utils import requirements_utils


def bulk_histories(client: MlflowClient) -> Callable[..., Any] | None:
    """A database's reader of many runs' histories at once, where the client asks for each by itself.

    Returns:
        From ids, a metric's name and the most points to metrics; None of a server.
    """
    return getattr(client._tracking_client.store, "get_metric_history_bulk", None)


def last_revision() -> str:
    """The schema that a whole database has, by this version of MLflow."""
    return _get_latest_schema_revision()


def close_database(uri: str) -> None:
    """Let go of a database's file, which MLflow keeps open, also where it could not make its tables."""
    engine = SqlAlchemyStore._engine_map.pop(uri, None)
    if engine is not None:
        engine.dispose()


@contextmanager
def packages_known(packages: Sequence[str]) -> Iterator[None]:
    """MLflow would read the file lists of all installed packages, half a second, to find the modules of a few."""
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

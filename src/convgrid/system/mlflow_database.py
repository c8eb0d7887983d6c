"""MLflow's database in a file, made beside its place: MLflow does not go on with one whose making was interrupted."""

import glob
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from convgrid.errors import TrackingError

AT_BIRTH = {"alembic_version": 1, "experiments": 1, "workspaces": 1}  # rows of a store that nobody has written to


def make_sound(path: Path) -> None:
    """Make a store where there is none, or none that anything is in; one that is whole is left as it is.

    One process at a time: those that open a new database at once would all create its tables.

    Args:
        path: Its file.

    Raises:
        TrackingError: If the file is damaged.
        Exception: Whatever a disk raises that is full.
    """
    if _is_sound(path):
        return
    with FileLock(f"{path}.lock"):
        if not _is_sound(path):  # another process may have made it meanwhile
            _replace(path)


def _is_sound(path: Path) -> bool:
    return path.exists() and not (_is_empty(path) and not _is_whole(path))


def _replace(path: Path) -> None:
    name = glob.escape(path.name)
    partial = path.with_name(f"creating.{path.name}.{os.getpid()}")
    try:
        _create(partial)
        for left in path.parent.glob(f"{name}-*"):  # a journal would be played into the next file of that name
            left.unlink()
        partial.replace(path)
    finally:
        for left in path.parent.glob(f"creating.{name}.*"):  # also of processes that were killed
            left.unlink()


def _create(path: Path) -> None:
    from mlflow.tracking import MlflowClient  # it takes 2 s to import

    from convgrid.system.mlflow_internals import close_database

    uri = f"sqlite:///{path}"
    try:
        with _written_at_leisure(path):
            MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    finally:
        close_database(uri)
    with path.open("rb+") as file:
        os.fsync(file)


@contextmanager
def _written_at_leisure(path: Path) -> Iterator[None]:
    """Of a hundred steps that make the tables none waits for the disk: a file that is not whole is made again."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def begin(connection: Any, _record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            ((_, _, file), *_) = connection.execute("PRAGMA database_list")
            if file and Path(file) == path.resolve():
                connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", begin)
    try:
        yield
    finally:
        event.remove(Engine, "connect", begin)


def _is_empty(path: Path) -> bool:
    """Whether nothing was ever logged; not where another program holds the file."""
    try:
        with closing(sqlite3.connect(path, timeout=1)) as database:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = (f'SELECT 1 FROM "{name}" LIMIT 1 OFFSET {AT_BIRTH.get(name, 0)}' for name in names)  # noqa: S608
            return not any(database.execute(row).fetchone() for row in rows)
    except sqlite3.OperationalError:
        return False
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            f"{path} is damaged: {error}. Move it away: runs/ keeps everything, and python -m convgrid sync makes "
            "a new one of that."
        ) from None


def _is_whole(path: Path) -> bool:
    from convgrid.system.mlflow_internals import last_revision  # MLflow takes 2 s to import

    with closing(sqlite3.connect(path)) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {*AT_BIRTH} <= names or any(name.startswith("_alembic_tmp_") for name in names):
            return False
        return database.execute("SELECT version_num FROM alembic_version").fetchall() == [(last_revision(),)]

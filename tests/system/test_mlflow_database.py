"""A store whose making was interrupted, at any point, is made again; one with anything in it is left alone."""

import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from sqlalchemy import Engine, create_engine, event

from convgrid.errors import TrackingError
from convgrid.system import mlflow_database
from convgrid.system.mlflow_database import make_sound


@pytest.fixture
def quickly(migrated_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its migrations take seconds, a copy none."""
    monkeypatch.setattr(mlflow_database, "_create", lambda path: shutil.copyfile(migrated_store, path))


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


def is_usable(path: Path) -> bool:
    made = MlflowClient(tracking_uri=f"sqlite:///{path}").create_experiment("trials")
    return made == "1"


HALF_MADE = {
    "nothing": [],
    "a table": ["CREATE TABLE experiments (experiment_id INTEGER)"],
    "no revision": ["DELETE FROM alembic_version"],
    "an earlier revision": ["UPDATE alembic_version SET version_num = '451aebb31d03'"],
    "a table in the middle of a change": ["CREATE TABLE _alembic_tmp_runs (run_uuid TEXT)"],
    "no table of revisions": ["DROP TABLE alembic_version", "DROP TABLE workspaces"],
}


@pytest.mark.parametrize("state", HALF_MADE)
@pytest.mark.usefixtures("quickly")
def test_a_half_made_store_is_made_again(state: str, in_tmp: Path, migrated_store: Path) -> None:
    path = in_tmp / "mlflow.db"
    path.touch()
    if state not in ("nothing", "a table"):
        shutil.copyfile(migrated_store, path)
    execute(path, *HALF_MADE[state])
    (in_tmp / "creating.mlflow.db.1").write_bytes(b"SQLite format 3\0 half")
    (in_tmp / "creating.mlflow.db.1-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")
    make_sound(path)
    assert is_usable(path)
    assert sorted(file.name for file in in_tmp.glob("*mlflow.db*")) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.usefixtures("quickly")
def test_a_store_with_a_run_is_left_as_it_is(store: str, in_tmp: Path) -> None:
    path = in_tmp / "mlflow.db"
    MlflowClient(tracking_uri=store).create_run("0")
    execute(path, "UPDATE alembic_version SET version_num = '451aebb31d03'")  # of an older MLflow
    before = path.read_bytes()
    make_sound(path)
    assert path.read_bytes() == before


@pytest.mark.usefixtures("quickly")
def test_a_whole_store_is_left_as_it_is(in_tmp: Path, migrated_store: Path) -> None:
    path = Path(shutil.copyfile(migrated_store, in_tmp / "mlflow.db"))
    before = path.stat().st_ino, path.read_bytes()
    make_sound(path)
    assert (path.stat().st_ino, path.read_bytes()) == before


def test_a_damaged_store_is_named_with_its_cure(in_tmp: Path, migrated_store: Path) -> None:
    path = in_tmp / "mlflow.db"
    path.write_bytes(migrated_store.read_bytes()[:5000])
    with pytest.raises(TrackingError, match=r"mlflow\.db is damaged: .*\. Move it away: runs/ keeps everything, and"):
        make_sound(path)


def test_a_full_disk_leaves_no_store(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(path: Path) -> None:
        path.write_bytes(b"SQLite format 3\0")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mlflow_database, "_create", fill)
    with pytest.raises(OSError, match="No space left"):
        make_sound(in_tmp / "mlflow.db")
    assert sorted(file.name for file in in_tmp.glob("*mlflow.db*")) == ["mlflow.db.lock"]


def test_only_the_file_that_is_being_made_does_not_wait_for_the_disk(in_tmp: Path) -> None:
    def waits(name: str) -> int:
        engine = create_engine(f"sqlite:///{in_tmp / name}")
        with engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        engine.dispose()
        return found

    with mlflow_database._written_at_leisure(in_tmp / "new.db"):
        assert (waits("new.db"), waits("other.db")) == (0, 2)  # OFF, FULL: https://sqlite.org/pragma.html
    assert waits("new.db") == 2


def test_a_failure_lets_the_file_go_and_the_next_attempt_succeeds(in_tmp: Path, request: pytest.FixtureRequest) -> None:
    """Else the disk stays full of a file without a name, and MLflow goes on with it."""
    left = iter(range(30))

    def fail(*_: object) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")

    event.listen(Engine, "before_cursor_execute", fail)
    try:
        with pytest.raises(OSError, match="No space left"):
            make_sound(in_tmp / "mlflow.db")
    finally:
        event.remove(Engine, "before_cursor_execute", fail)
    open_files = [os.readlink(file) for file in Path("/proc/self/fd").iterdir() if file.exists()]
    assert not [name for name in open_files if "creating" in name]
    request.getfixturevalue("quickly")
    make_sound(in_tmp / "mlflow.db")
    assert is_usable(in_tmp / "mlflow.db")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork")
@pytest.mark.parametrize("statements", [1, 40, 160])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_is_killed_while_it_makes_a_store_leaves_none(
    statements: int, in_tmp: Path, request: pytest.FixtureRequest
) -> None:
    path = in_tmp / "mlflow.db"
    child = os.fork()
    if child == 0:
        left = iter(range(statements))

        @event.listens_for(Engine, "before_cursor_execute")
        def die(*_: object) -> None:  # pyright: ignore[reportUnusedFunction]  (SQLAlchemy calls it)
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        os.close(1)
        os.close(2)
        make_sound(path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not path.exists()
    request.getfixturevalue("quickly")
    make_sound(path)
    assert is_usable(path)

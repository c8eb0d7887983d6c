import socket
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from convgrid.config.address import check_uri, knock
from convgrid.errors import TrackingError
from convgrid.tracking.store import Store
from forks import fork


def test_processes_that_open_a_new_store_at_once_all_get_the_experiment(in_tmp: Path) -> None:
    uri = f"sqlite:///{in_tmp / 'new.db'}"

    def note(name: str) -> None:
        Path(name).write_text(Store.open(uri, "trials").experiment_id)

    started = [fork(note, name) for name in "ab"]
    for process in started:
        process.join(120)
        assert process.exitcode == 0
    experiment = MlflowClient(uri).get_experiment_by_name("trials")
    assert experiment is not None
    assert Path("a").read_text() == Path("b").read_text() == experiment.experiment_id


def test_artifacts_of_a_local_store_lie_beside_it(store: str, in_tmp: Path) -> None:
    opened = Store.open(store, "trials")
    run = opened.client.create_run(opened.experiment_id)
    opened.client.log_text(run.info.run_id, "{}", "plan.json")
    assert [path.name for path in (in_tmp / "mlartifacts").rglob("*.json")] == ["plan.json"]


def test_two_experiments_share_a_store(store: str) -> None:
    ids = {Store.open(store, name).experiment_id for name in ("trials", "others", "trials")}
    assert len(ids) == 2


def test_a_deleted_experiment_is_named(store: str) -> None:
    opened = Store.open(store, "trials")
    opened.client.delete_experiment(opened.experiment_id)
    with pytest.raises(TrackingError, match=r"tracking.experiment=trials was deleted in sqlite.* Restore it"):
        Store.open(store, "trials")


def test_a_server_that_does_not_listen_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        knock(address)
    with pytest.raises(ConnectionRefusedError):
        knock(address)
    with pytest.raises(ConnectionRefusedError):
        Store.open(address, "trials")


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///new.db", "sqlite:///mlflow.db", "sqlite:///empty.db", "http://10.0.0.1:5000", "https://mlflow.example",
        "postgresql://user:word@host/mlflow", "mysql+pymysql://host/mlflow", "databricks", "databricks://profile",
    ],
)  # fmt: skip
def test_an_address_that_can_be_a_stores_is_taken(store: str, in_tmp: Path, uri: str) -> None:
    (in_tmp / "empty.db").touch()
    check_uri(uri)


@pytest.mark.parametrize(
    ("uri", "cause"),
    [
        ("sqlite:///broken.db", "broken.db is not a database"),
        ("sqlite:///folder", "folder is a folder"),
        ("sqlite:///missing/mlflow.db", "TMP/missing does not exist"),
        ("sqlite://mlflow.db", "mlflow.db is not a path after sqlite:///"),
        ("nonsense://store", "MLflow has no store nonsense://"),
        ("http://127.0.0.1:port", "Port could not be cast to integer value as 'port'"),
        ("http://", "it names no host"),
        ("mlruns", "MLflow no longer keeps runs in folders"),
        ("file:///mlruns", "MLflow no longer keeps runs in folders"),
    ],
)
def test_an_address_that_can_be_no_stores_is_told_with_the_fix(in_tmp: Path, uri: str, cause: str) -> None:
    (in_tmp / "broken.db").write_text("this is no database")
    (in_tmp / "folder").mkdir()
    with pytest.raises(TrackingError) as caught:
        check_uri(uri)
    assert str(caught.value) == (
        f"tracking.uri={uri} cannot be used: {cause.replace('TMP', str(in_tmp))}. "
        "Give sqlite:///mlflow.db or http://HOST:PORT, or run with tracking=none."
    )

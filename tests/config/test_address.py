"""Which tracking store is used, and what of its address is printed."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from convgrid.config import Settings
from convgrid.config.address import check_uri, usual_experiment, usual_store, without_password
from convgrid.errors import TrackingError
from convgrid.terminal import result_rows, show_store
from sweep_folders import finish, make_trial

SettingsMaker = Callable[..., Settings]
SECRET = "https://eve:s3cret@mlflow.example.org:5000/team"


def test_mlflows_variables_are_honoured_until_something_is_typed(
    settings: SettingsMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    tracking = settings().tracking
    assert (tracking.uri, tracking.experiment) == ("sqlite:///mlflow.db", "convgrid")
    assert (usual_store(), usual_experiment()) == ("sqlite:///mlflow.db", "convgrid")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "plots of 2026")
    tracking = settings().tracking
    assert (tracking.uri, tracking.experiment) == ("http://127.0.0.1:5000", "plots of 2026")
    assert (usual_store(), usual_experiment()) == ("http://127.0.0.1:5000", "plots of 2026")
    tracking = settings("tracking.uri=sqlite:///here.db", "tracking.experiment=mine").tracking
    assert (tracking.uri, tracking.experiment) == ("sqlite:///here.db", "mine")
    assert settings("tracking=none").tracking.uri is None


def test_a_store_that_cannot_be_used_is_called_by_what_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(TrackingError, match=r"^MLFLOW_TRACKING_URI=\./mlruns cannot be used: MLflow no longer keeps"):
        check_uri("./mlruns")
    with pytest.raises(TrackingError, match=r"^tracking\.uri=\./other cannot be used"):
        check_uri("./other")


@pytest.mark.parametrize(
    ("uri", "printed"),
    [
        (SECRET, "https://***@mlflow.example.org:5000/team"),
        ("postgresql://eve:p@ss@host/db", "postgresql://***@host/db"),
        ("https://token@host", "https://***@host"),
        ("http://127.0.0.1:5000/a@b", "http://127.0.0.1:5000/a@b"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
    ],
)
def test_credentials_of_a_store_are_not_printed(uri: str, printed: str) -> None:
    assert without_password(uri) == printed


def test_the_store_is_told_first_without_credentials() -> None:
    printed = io.StringIO()
    for uri in (SECRET, None):
        show_store(uri, "team", Console(file=printed, width=20))
    assert printed.getvalue() == "tracked in https://***@mlflow.example.org:5000/team, experiment team\n"


@pytest.mark.usefixtures("in_tmp")
def test_neither_results_nor_mistakes_show_credentials() -> None:
    params = {"plan.parameters": "1", "plan.multiply_adds": "1"}
    folder = make_trial(Path("runs"), "a", params=params, tags={"device": "cpu"})
    finish(folder)
    assert "s3cret" not in str(result_rows(folder, SECRET))
    with pytest.raises(TrackingError, match=r"^tracking\.uri=htp://\*\*\*@host cannot be used"):
        check_uri("htp://eve:s3cret@host")

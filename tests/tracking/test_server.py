"""A tracking server over HTTP with its artifact proxy: MLflow's own application, in a thread, started and stopped."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console
from werkzeug.serving import BaseWSGIServer, make_server

from convgrid.errors import TrackingError
from convgrid.tracking import writer_process
from convgrid.tracking.sync_all import sync_everything
from convgrid.tracking.writer_process import Sender
from sweep_folders import epoch_line, finish, make_sweep, make_trial

pytestmark = pytest.mark.filterwarnings("ignore:starlette.middleware.wsgi is deprecated")  # of MLflow's own code
SWEEPS, RUNS = Path("sweeps"), Path("runs")


class Server:
    """On one port, with one store."""

    def __init__(self) -> None:
        self._port = 0
        self.start()
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        from mlflow.server import app

        self._server: BaseWSGIServer = make_server("127.0.0.1", self._port, app, threaded=True)
        self._port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server(store: str, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    from mlflow.server import handlers

    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", store)
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/")
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", (in_tmp / "kept").as_uri())
    monkeypatch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.setattr(handlers, "_tracking_store", None)
    monkeypatch.setattr(handlers, "_artifact_repo", None)
    found = Server()
    yield found
    found.stop()


def held(uri: str, experiment: str = "trials") -> dict[str, tuple[str, list[int], list[str]]]:
    """Status, steps and artifacts of each trial's run."""
    client = MlflowClient(uri)
    known = client.get_experiment_by_name(experiment)
    assert known is not None
    runs = client.search_runs([known.experiment_id])
    trials = [run for run in runs if "convgrid.trial" in run.data.tags]
    assert len({run.data.tags["convgrid.trial"] for run in trials}) == len(trials)
    return {
        run.data.tags["convgrid.trial"]: (
            run.info.status,
            [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")],
            [file.path for file in client.list_artifacts(run.info.run_id)],
        )
        for run in trials
    }


LIGHT = ["config.yaml", "data.json", "environment.json", "plan.json"]


def test_a_server_that_goes_away_in_the_middle_gets_all_when_it_comes_back(
    server: Server, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_LOOK_DELAY", "INTERVAL"):
        monkeypatch.setattr(writer_process, name, 0.0)
    notes: list[str] = []
    first, second = (make_trial(RUNS, name, epochs=2, sweep="s1") for name in ("t0", "t1"))
    sender = Sender(server.uri, "trials", make_sweep(SWEEPS, "s1", ["t0", "t1"]), notes.append)
    for _ in range(2):
        sender.follow(first)
        sender.step()
    assert held(server.uri) == {"t0": ("RUNNING", [1, 2], LIGHT)}
    server.stop()
    with (first / "metrics.jsonl").open("a") as file:
        file.write(epoch_line(3))
    for folder in (first, second):
        finish(folder, epochs=3 if folder is first else 2)
        sender.follow(folder)
        sender.step()
    assert len(notes) == 1, notes
    assert notes[0].startswith(f"tracking.uri={server.uri} does not take what is new: ")
    server.start()
    assert sender.flush(30) == []
    assert held(server.uri) == {"t0": ("FINISHED", [1, 2, 3], LIGHT), "t1": ("FINISHED", [1, 2], LIGHT)}
    assert sorted(path.name for path in (in_tmp / "kept").rglob("*.*")) == sorted([*LIGHT, *LIGHT, "sweep.json"])


def test_what_a_server_missed_is_sent_afterwards_and_once(server: Server, in_tmp: Path) -> None:
    console, params = Console(width=200), {"tracking.uri": server.uri, "tracking.experiment": "digits"}
    server.stop()
    for name in ("t0", "t1"):
        finish(make_trial(RUNS, name, epochs=3, params=params, sweep="s1"), accuracy=0.8, params=params, sweep="s1")
    finish(make_trial(RUNS, "alone", epochs=3, params=params), params=params)
    finish(make_trial(RUNS, "untracked", epochs=3))
    tracking = {"uri": server.uri, "experiment": "digits"}
    make_sweep(SWEEPS, "s1", ["t0", "t1", None], status="killed", tracking=tracking)
    with pytest.raises(TrackingError, match=r"cannot be written: .*runs/ keeps everything. Try later"):
        sync_everything(console)
    server.start()
    with console.capture() as said:
        assert sync_everything(console) == 0
        assert sync_everything(console) == 0
    where = f"to {server.uri}, experiment digits"
    assert said.get().splitlines() == [
        f"sent 3 runs and 1 sweep {where}",
        f"sent nothing {where}; 4 were there already",
    ]
    curves = ["config.yaml", "data.json", "environment.json", "learning_curves.png", "plan.json"]
    expected = ("FINISHED", [1, 2, 3], LIGHT)
    assert held(server.uri, "digits") == {"t0": expected, "t1": expected, "alone": ("FINISHED", [1, 2, 3], curves)}


def test_another_store_gets_what_is_not_tracked_as_well_and_the_first_one_keeps_its_runs(
    store: str, in_tmp: Path
) -> None:
    console, other = Console(width=300), f"sqlite:///{in_tmp / 'other.db'}"
    (in_tmp / "other.db").write_bytes((in_tmp / "mlflow.db").read_bytes())
    finish(make_trial(RUNS, "tracked", params={"tracking.uri": store}), params={"tracking.uri": store}, epochs=0)
    finish(make_trial(RUNS, "untracked"), epochs=0)
    with console.capture() as said:
        for uri in (None, other, None, other):
            assert sync_everything(console, uri) == 0
    assert said.get().splitlines() == [
        f"sent 1 run to {store}, experiment convgrid",
        f"sent 2 runs to {other}, experiment convgrid",
        f"sent nothing to {store}, experiment convgrid; 1 was there already",
        f"sent nothing to {other}, experiment convgrid; 2 were there already",
    ]
    assert json.loads((RUNS / "tracked" / "tracked.json").read_text())["uri"] == other


def test_a_broken_sweep_is_not_sent_and_all_else_is(store: str, in_tmp: Path) -> None:
    console, params = Console(width=300), {"tracking.uri": store, "tracking.experiment": "convgrid"}
    finish(make_trial(RUNS, "t0", params=params, sweep="s0"), params=params, sweep="s0", epochs=0)
    (make_sweep(SWEEPS, "s0", ["t0"]) / "sweep.json").write_text("{broken")
    make_sweep(SWEEPS, "s1", ["t0"], tracking={"uri": store, "experiment": "convgrid"})
    with console.capture() as said:
        assert sync_everything(console) == 1
    broken, sent = said.get().splitlines()
    assert sent == f"sent 1 run and 1 sweep to {store}, experiment convgrid"
    assert broken.startswith("not sent: sweeps/s0/sweep.json cannot be read: Expecting property name")


def test_a_folder_without_tracked_runs_says_how_to_send_them(in_tmp: Path) -> None:
    console = Console(width=300)
    with console.capture() as said:
        assert sync_everything(console) == 0
    assert said.get() == f"{in_tmp / 'runs'} has no runs that are tracked. With --tracking-uri, all of them are sent.\n"

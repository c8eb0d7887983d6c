import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from convgrid.errors import TrackingError
from convgrid.tracking import Run

HISTORY = [{"train/loss": 1.0 / epoch, "val/accuracy": epoch / 10} for epoch in range(1, 6)]


def client(store: str) -> MlflowClient:
    return MlflowClient(tracking_uri=store)


def new_run(store: str, **params: Any) -> Run:
    return Run.create(store, "trials", name="n1 m2", params=params, tags={"convgrid.trial": "abc"})


def steps(store: str, run: Run, metric: str) -> list[tuple[int, float]]:
    return [(value.step, value.value) for value in client(store).get_metric_history(run.run_id, metric)]


def test_a_run_has_its_name_parameters_and_tags_in_full(store: str) -> None:
    long = "INPUT -> " + "CONV -> RELU -> " * 100 + "FC"
    many = {f"key.{number}": number for number in range(250)}
    run = new_run(store, **{"arch.pattern": long, "layer/norm": "batch"}, **many)
    seen = client(store).get_run(run.run_id)
    assert seen.info.run_name == "n1 m2"
    assert seen.info.status == "RUNNING"
    assert seen.data.params == {"arch.pattern": long, "layer/norm": "batch"} | {k: str(v) for k, v in many.items()}
    assert seen.data.tags["convgrid.trial"] == "abc"


def test_an_epoch_is_sent_once_also_by_a_later_process(store: str) -> None:
    run = new_run(store)
    run.send(HISTORY[:2])
    run.send(HISTORY[:3])
    again = Run(store, run.run_id)
    again.send(HISTORY[:3])
    again.send(HISTORY)
    assert steps(store, run, "train/loss") == [(epoch, 1.0 / epoch) for epoch in range(1, 6)]
    assert steps(store, run, "val/accuracy") == [(epoch, epoch / 10) for epoch in range(1, 6)]


def test_a_call_that_was_interrupted_after_it_arrived_is_repeated_without_harm(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(store)
    log_batch = MlflowClient.log_batch

    def interrupted(*args: Any, **kwargs: Any) -> None:
        log_batch(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.send(HISTORY)
    time.sleep(0.01)
    run.send(HISTORY)
    assert steps(store, run, "train/loss") == [(epoch, 1.0 / epoch) for epoch in range(1, 6)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_inside_a_call_waits_until_the_store_is_done(
    store: str, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """A transaction that it broke off left the database locked, and the run RUNNING."""
    run = new_run(store)
    log_batch = MlflowClient.log_batch
    after: list[str] = []

    def hit(*args: Any, **kwargs: Any) -> None:
        signal.raise_signal(number)
        log_batch(*args, **kwargs)
        after.append("written")

    before = signal.signal(number, signal.default_int_handler)  # in the background of a shell, SIGINT is ignored
    try:
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, "log_batch", hit)
            with pytest.raises(KeyboardInterrupt):
                run.send(HISTORY)
    finally:
        signal.signal(number, before)
    assert after == ["written"]
    run.finish("KILLED", "interrupted")
    assert steps(store, run, "train/loss") == [(epoch, 1.0 / epoch) for epoch in range(1, 6)]


def test_processes_that_open_a_new_store_at_once_all_get_a_run(in_tmp: Path) -> None:
    uri = f"sqlite:///{in_tmp / 'new.db'}"
    code = f"from convgrid.tracking import Run; Run.create({uri!r}, 'trials', name='x', params={{}}, tags={{}})"
    started = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(3)]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    experiment = client(uri).get_experiment_by_name("trials")
    assert experiment is not None
    assert len(client(uri).search_runs([experiment.experiment_id])) == 3


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_the_status_and_its_reason_are_kept(store: str, status: Any) -> None:
    run = new_run(store)
    run.finish(status, "because")
    seen = client(store).get_run(run.run_id)
    assert seen.info.status == status
    assert seen.info.end_time is not None
    assert seen.data.tags["convgrid.reason"] == "because"


def test_a_run_that_goes_on_is_running_again(store: str) -> None:
    run = new_run(store)
    run.finish("KILLED", "interrupted")
    Run(store, run.run_id).reopen()
    assert client(store).get_run(run.run_id).info.status == "RUNNING"
    assert "convgrid.reason" not in client(store).get_run(run.run_id).data.tags


def test_the_result_stands_at_its_best_epoch(store: str) -> None:
    run = new_run(store)
    run.result({"test/accuracy": 0.9}, 4)
    assert steps(store, run, "test/accuracy") == [(4, 0.9)]
    assert client(store).get_run(run.run_id).data.tags["convgrid.best_epoch"] == "4"


def test_artifacts_of_the_default_store_lie_beside_it(store: str, in_tmp: Path) -> None:
    run = new_run(store)
    (in_tmp / "plan.json").write_text("{}")
    run.keep(in_tmp / "plan.json")
    assert [path.name for path in (in_tmp / "mlartifacts").rglob("*.json")] == ["plan.json"]


def test_two_experiments_share_a_store(store: str) -> None:
    new_run(store)
    Run.create(store, "others", name="x", params={}, tags={})
    names = {experiment.name for experiment in client(store).search_experiments()}
    assert {"trials", "others"} <= names


def test_a_deleted_experiment_is_named(store: str) -> None:
    run = new_run(store)
    client(store).delete_experiment(client(store).get_run(run.run_id).info.experiment_id)
    with pytest.raises(TrackingError, match=r"tracking.experiment=trials was deleted in sqlite"):
        new_run(store)


def test_a_store_that_cannot_be_used_is_named(in_tmp: Path) -> None:
    (in_tmp / "broken.db").write_text("this is no database, and longer than a header of one hundred bytes" * 9)
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    for uri in (f"sqlite:///{in_tmp / 'broken.db'}", "nonsense://store", f"http://127.0.0.1:{closed}"):
        with pytest.raises(TrackingError) as error:
            Run.create(uri, "trials", name="x", params={}, tags={})
        assert str(error.value).startswith(f"tracking.uri={uri} cannot be used: ")
        assert str(error.value).endswith("Or run with tracking=none.")
        assert len(str(error.value).splitlines()) == 1


def test_a_run_that_the_store_does_not_hold_is_named(store: str) -> None:
    with pytest.raises(TrackingError, match=r"tracking.uri=sqlite:///.*mlflow.db has no run 123"):
        Run(store, "123")

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient

from convgrid.tracking.writer import Writer
from convgrid.tracking.writer_process import Sender
from forks import fork, fork_writers
from sweep_folders import epoch_line, finish, make_sweep, make_trial, work

SWEEPS, RUNS = Path("sweeps"), Path("runs")


def runs_of(store: str, tag: str = "convgrid.trial") -> list[MlflowRun]:
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("trials")
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    return [run for run in found if tag in run.data.tags]


def wait_for(is_true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.2)  # asking a store costs as much as a writer's work


def values(store: str, run: MlflowRun, metric: str) -> list[tuple[int, float]]:
    history = MlflowClient(tracking_uri=store).get_metric_history(run.info.run_id, metric)
    return [(point.step, point.value) for point in history]


def trials(count: int, **kinds: int) -> list[Path]:
    return [make_trial(RUNS, f"t{number}", **kinds) for number in range(count)]


def test_eight_workers_with_100_metrics_a_second_lose_no_value(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fork_writers(monkeypatch.setattr)
    folders = trials(8)
    writer = Writer(store, "trials", make_sweep(SWEEPS, "s1", [folder.name for folder in folders]))
    wait_for(lambda: (SWEEPS / "s1" / "parent.json").exists())
    os.kill(writer._process.pid, signal.SIGINT)  # Ctrl-C is the sweep's
    workers = [fork(work, folder, 3.0) for folder in folders]
    for folder in folders:
        writer.tell(folder)
    for worker, folder in zip(workers, folders, strict=True):
        worker.join()
        assert worker.exitcode == 0
        writer.tell(folder)
    assert writer.close(60) == []
    assert writer.notes() == []
    assert writer._starts == 1
    runs = runs_of(store)
    assert sorted(run.data.tags["convgrid.trial"] for run in runs) == [folder.name for folder in folders]
    for run in runs:
        assert run.info.status == "FINISHED"
        for metric in range(2, 10):
            assert values(store, run, f"m/{metric}") == [(epoch, metric + epoch) for epoch in range(1, 31)]


def send_all(store: str, sweep: str, folders: list[Path]) -> None:
    """Do what a writer's process does."""
    notes: list[str] = []
    sender = Sender(store, "trials", SWEEPS / sweep, notes.append)
    for folder in folders:
        sender.follow(folder)
    assert (sender.flush(60), notes) == ([], [])


def test_two_writers_of_the_same_trials_make_one_run_of_each(store: str) -> None:
    folders = trials(6, epochs=4)
    for name in ("s1", "s2"):
        make_sweep(SWEEPS, name, [folder.name for folder in folders])
    for folder in folders:
        finish(folder, epochs=4)
    for writer in [fork(send_all, store, name, folders) for name in ("s1", "s2")]:
        writer.join(120)
        assert writer.exitcode == 0
    runs = runs_of(store)
    assert len(runs) == 6
    for run in runs:
        assert values(store, run, "train/loss") == [(epoch, 1 / epoch) for epoch in range(1, 5)]
        assert {"convgrid.sweep.s1", "convgrid.sweep.s2"} <= run.data.tags.keys()
    assert len(runs_of(store, "convgrid.sweep")) == 2


def test_a_writer_that_is_killed_is_started_again_follows_what_runs_and_sends_all(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_writers(monkeypatch.setattr)
    folders = trials(4, epochs=3)
    writer = Writer(store, "trials", make_sweep(SWEEPS, "s1", [folder.name for folder in folders]))
    writer.tell(folders[0])
    wait_for(lambda: len(runs_of(store)) == 1)
    os.kill(writer._process.pid, signal.SIGKILL)
    writer._process.wait()
    assert writer.notes() == []  # which whoever waits for trials asks for all the time
    with (folders[0] / "metrics.jsonl").open("a") as file:
        file.write(epoch_line(4))  # nobody tells of an epoch
    wait_for(lambda: (4, 1 / 4) in values(store, runs_of(store)[0], "train/loss"))
    finish(folders[0], epochs=4)
    for folder in folders[1:]:
        finish(folder)
    for folder in folders:
        writer.tell(folder)
    assert writer.close(60) == []
    assert [run.info.status for run in runs_of(store)] == ["FINISHED"] * 4
    three = [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    sent = {run.data.tags["convgrid.trial"]: values(store, run, "train/loss") for run in runs_of(store)}
    assert sent == {"t0": [*three, (4, 1 / 4)], "t1": three, "t2": three, "t3": three}


def tell_and_wait(store: str) -> None:
    """What a training does, until it is killed."""
    writer = Writer(store, "trials", SWEEPS / "s1")
    writer.tell(RUNS / "t0")
    Path("writer").write_text(str(writer._process.pid))
    time.sleep(60)


def test_a_writer_whose_parent_died_sends_what_it_knows_and_ends(
    store: str, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_writers(monkeypatch.setattr)
    (folder,) = trials(1, epochs=3)
    finish(folder)
    make_sweep(SWEEPS, "s1", [folder.name])
    parent = fork(tell_and_wait, store)
    wait_for(lambda: (in_tmp / "writer").exists() and (in_tmp / "writer").read_text() != "")
    writer = int((in_tmp / "writer").read_text())
    parent.kill()
    parent.join()
    wait_for(lambda: not _is_alive(writer))
    assert [run.info.status for run in runs_of(store)] == ["FINISHED"]


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_writer_that_cannot_start_says_why(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(in_tmp))
    (in_tmp / "convgrid").mkdir()
    (in_tmp / "convgrid" / "__init__.py").write_text("raise RuntimeError('broken')")
    (folder,) = trials(1)
    sweep = make_sweep(SWEEPS, "s1", ["t0"])
    writer = Writer("sqlite:///x.db", "trials", sweep)
    writer.tell(folder)
    assert writer.close(30) == [folder, sweep]
    assert writer.notes() == [
        "Nothing is sent to MLflow: RuntimeError: broken. What is in runs/ is sent by: python -m convgrid sync"
    ]

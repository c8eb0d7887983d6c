import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient

from convgrid.runs.trial import set_right
from convgrid.tracking import sync as sync_module
from convgrid.tracking import writer_process
from convgrid.tracking.writer_process import Sender
from sweep_folders import epoch_line, finish, make_sweep, make_trial

SWEEPS, RUNS = Path("sweeps"), Path("runs")


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(writer_process, "time", clock)
    return clock


def run_of(store: str, tag: str = "convgrid.trial") -> MlflowRun:
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("trials")
    assert experiment is not None
    (run,) = [run for run in client.search_runs([experiment.experiment_id]) if tag in run.data.tags]
    return run


def statuses(store: str) -> dict[str, str]:
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("trials")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`convgrid.trial` != ''")
    return {run.data.tags["convgrid.trial"]: run.info.status for run in runs}


def steps(store: str) -> list[int]:
    history = MlflowClient(tracking_uri=store).get_metric_history(run_of(store).info.run_id, "train/loss")
    return [point.step for point in history]


def max_step(store: str, run: MlflowRun) -> int:
    return max(
        point.step for point in MlflowClient(tracking_uri=store).get_metric_history(run.info.run_id, "train/loss")
    )


def new_sender(store: str, sweep: Path) -> tuple[Sender, list[str]]:
    notes: list[str] = []
    return Sender(store, "trials", sweep, notes.append), notes


def work(sender: Sender, clock: Clock, seconds: float) -> None:
    """What the process does as long as it hears of nothing new."""
    end = clock.now + seconds
    while (wait := sender.idle()) is not None and clock.now + wait <= end:
        clock.sleep(wait)
        sender.step()
    clock.now = end


def test_values_arrive_within_seconds_while_the_trial_runs(store: str, clock: Clock) -> None:
    folder = make_trial(RUNS, "t0", epochs=2)
    sender, _ = new_sender(store, make_sweep(SWEEPS, "s1", ["t0"]))
    sender.follow(folder)
    work(sender, clock, 2)
    assert steps(store) == [1, 2]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(epoch_line(3))
    work(sender, clock, 2)
    assert steps(store) == [1, 2, 3]
    assert run_of(store).info.status == "RUNNING"


def test_a_trial_is_sent_at_most_once_a_second_and_at_once_when_it_ends(
    store: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[float] = []
    monkeypatch.setattr(sync_module, "sync", lambda folder, *_, **__: times.append(clock.now))
    folder = make_trial(RUNS, "t0")
    sender, _ = new_sender(store, make_sweep(SWEEPS, "s1", ["t0"]))
    start = clock.now
    for epoch in range(1, 51):  # five seconds
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(epoch_line(epoch))
        sender.follow(folder)
        work(sender, clock, 0.1)
    assert 3 <= len(times) <= 5
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 1.0
    finish(folder)
    sender.follow(folder)
    work(sender, clock, 0.1)
    assert times[-1] == pytest.approx(start + 5)


def test_a_trial_of_a_sweep_that_is_over_in_a_moment_is_sent_once(
    store: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[float] = []
    monkeypatch.setattr(sync_module, "sync", lambda folder, *_, **__: times.append(clock.now))
    folder = make_trial(RUNS, "t0", epochs=2)
    sender, _ = new_sender(store, make_sweep(SWEEPS, "s1", ["t0"]))
    start = clock.now
    sender.follow(folder)
    work(sender, clock, 1.5)
    finish(folder, epochs=2)
    sender.follow(folder)
    work(sender, clock, 1.0)
    assert times == [start + 2.0]


def test_short_trials_of_a_sweep_arrive_together_within_a_second_and_a_failure_among_them_alone(
    store: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions: list[int] = []
    one_transaction, log_batch = sync_module.one_transaction, MlflowClient.log_batch

    @contextmanager
    def counted(client: MlflowClient) -> Iterator[None]:
        transactions.append(0)
        with one_transaction(client):
            yield

    def counting(client: MlflowClient, run_id: str, *args: Any, **kwargs: Any) -> None:
        transactions[-1] += 1
        if client.get_run(run_id).data.tags["convgrid.trial"] == "bad":
            raise OSError("a disk's bad block")
        log_batch(client, run_id, *args, **kwargs)

    names = ["t0", "t1", "t2"]
    folders = [make_trial(RUNS, name, epochs=2) for name in [*names, "bad", "t3"]]
    sender, notes = new_sender(store, make_sweep(SWEEPS, "s1", [*names]))
    work(sender, clock, 0)
    monkeypatch.setattr(sync_module, "one_transaction", counted)
    monkeypatch.setattr(MlflowClient, "log_batch", counting)
    for folder in folders[:3]:
        finish(folder, epochs=2)
        sender.follow(folder)
    work(sender, clock, 1.0)
    assert transactions == [3]
    for folder in folders[3:]:
        finish(folder, epochs=2)
        sender.follow(folder)
    work(sender, clock, 10)
    assert statuses(store) == dict.fromkeys([*names, "t3"], "FINISHED") | {"bad": "RUNNING"}
    assert len(transactions) == 2
    assert "OSError: a disk's bad block" in notes[0]


def test_epochs_of_trials_that_run_arrive_together(store: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[Path]] = []
    sync_together = sync_module.sync_together

    def noted(folders: list[Path], *args: Any) -> dict[Path, bool]:
        sent.append(sorted(folders))
        return sync_together(folders, *args)

    monkeypatch.setattr(sync_module, "sync_together", noted)
    folders = [make_trial(RUNS, name, epochs=1) for name in ("t0", "t1", "t2")]
    sender, notes = new_sender(store, make_sweep(SWEEPS, "s1", [folder.name for folder in folders]))
    for folder in folders:
        sender.follow(folder)
    work(sender, clock, 2.5)
    assert sent == [folders]
    for folder in folders[:2]:
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(epoch_line(2))
    work(sender, clock, 2.5)
    assert sent == [folders, folders[:2]]
    assert notes == []
    runs = MlflowClient(tracking_uri=store).search_runs(
        ["1"], "tags.`convgrid.trial` != ''", order_by=["tags.`convgrid.trial`"]
    )
    assert [max_step(store, run) for run in runs] == [2, 2, 1]
    assert {run.info.status for run in runs} == {"RUNNING"}


def test_an_error_is_told_once_and_what_is_new_is_sent_when_the_store_is_there_again(
    store: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_trial(RUNS, "t0", epochs=3)
    finish(folder)
    sender, notes = new_sender(store, make_sweep(SWEEPS, "s1", ["t0"]))
    work(sender, clock, 1)
    attempts: list[float] = []

    def fails(*_: object, **__: object) -> None:
        attempts.append(clock.now)
        raise OSError("No space left on device\nand more")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", fails)
        sender.follow(folder)
        work(sender, clock, 300)
    assert notes == [
        f"tracking.uri={store} does not take what is new: OSError: No space left on device. "
        "Training goes on, and it is tried again; what is left in runs/ at the end is sent by: python -m convgrid sync"
    ]
    pauses = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert pauses[:7] == pytest.approx([0.5, 1, 2, 4, 8, 16, 32])
    assert set(pauses[7:]) == {60.0}
    work(sender, clock, 61)
    assert steps(store) == [1, 2, 3]
    assert notes[1:] == [f"tracking.uri={store} takes values again."]


def test_one_folder_that_takes_nothing_holds_up_no_other(store: str, clock: Clock) -> None:
    torn, whole = (make_trial(RUNS, name, epochs=1) for name in ("t0", "t1"))
    finish(whole, epochs=1)
    (torn / "tracked.json").mkdir()  # as good as a disk with a bad block
    sweep = make_sweep(SWEEPS, "s1", ["t1"])
    sender, notes = new_sender(store, sweep)
    for folder in (torn, whole):
        sender.follow(folder)
    assert sender.flush(10) == [torn]
    assert run_of(store).info.status == "FINISHED"
    assert run_of(store, "convgrid.sweep").data.metrics["trials/finished"] == 1
    assert "IsADirectoryError" in notes[0]


def test_a_store_that_is_none_keeps_everything_for_later(in_tmp: Path, clock: Clock) -> None:
    folder = make_trial(RUNS, "t0", epochs=1)
    finish(folder, epochs=1)
    (in_tmp / "broken.db").write_text("this is no database, and longer than a header of one hundred bytes" * 9)
    uri, sweep = f"sqlite:///{in_tmp / 'broken.db'}", make_sweep(SWEEPS, "s1", ["t0"])
    sender, notes = new_sender(uri, sweep)
    sender.follow(folder)
    assert sender.flush(3) == [folder, sweep]
    (note,) = notes
    assert note.startswith(f"tracking.uri={uri} does not take what is new: ")
    assert "makes a new one of that. Training goes on" in note


def test_the_sweeps_run_ends_with_its_totals(store: str, clock: Clock) -> None:
    folder = make_trial(RUNS, "t0", epochs=3, sweep="s1")
    sweep = make_sweep(SWEEPS, "s1", ["t0"])
    sender, _ = new_sender(store, sweep)
    with FileLock(sweep / "lock"):  # as the sweep's process holds it
        sender.follow(folder)
        work(sender, clock, 2)
        finish(folder)
        sender.follow(folder)
        work(sender, clock, 11)
    parent = run_of(store, "convgrid.sweep")
    assert (parent.info.status, parent.data.metrics["trials/finished"]) == ("RUNNING", 1)
    make_sweep(SWEEPS, "s1", ["t0"], status="finished")
    assert sender.flush(30) == []
    assert run_of(store, "convgrid.sweep").info.status == "FINISHED"
    assert run_of(store).data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert json.loads((sweep / "parent.json").read_text())["run_id"] == parent.info.run_id


def test_a_trial_that_still_runs_at_the_end_is_sent_as_far_as_it_is(store: str, clock: Clock) -> None:
    folder = make_trial(RUNS, "t0", epochs=2)
    sender, _ = new_sender(store, make_sweep(SWEEPS, "s1", ["t0"]))
    sender.follow(folder)
    assert sender.flush(30) == []
    assert steps(store) == [1, 2]


def test_a_trial_of_another_sweep_that_is_set_right_becomes_no_member(store: str, clock: Clock) -> None:
    folder = make_trial(RUNS, "t0", epochs=2)
    sender, _ = new_sender(store, make_sweep(SWEEPS, "s1", [None]))
    assert set_right(RUNS) == [folder]
    sender.follow(folder, is_member=False)
    assert sender.flush(30) == []
    run = run_of(store)
    assert run.info.status == "KILLED"
    assert {"convgrid.sweep.s1", "mlflow.parentRunId"} & run.data.tags.keys() == set()

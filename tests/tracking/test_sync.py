import getpass
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient

from convgrid.errors import ModelError
from convgrid.runs.trial import run_id_of, set_right
from convgrid.tracking import sync as sync_module
from convgrid.tracking.store import Store
from convgrid.tracking.sync import Parent, set_sweeps_right, sync, sync_sweep, sync_together
from forks import fork
from sweep_folders import STARTED, epoch_line, finish, make_sweep, make_trial, write_record

SWEEPS, RUNS = Path("sweeps"), Path("runs")


@pytest.fixture
def opened(store: str) -> Store:
    return Store.open(store, "trials")


def runs_of(store: Store) -> list[MlflowRun]:
    return list(store.client.search_runs([store.experiment_id]))


def the_run(store: Store) -> MlflowRun:
    (run,) = runs_of(store)
    return run


def points(store: Store, run_id: str, metric: str) -> list[tuple[int, float, int]]:
    return [(it.step, it.value, it.timestamp) for it in store.client.get_metric_history(run_id, metric)]


def expected(epochs: int) -> list[tuple[int, float, int]]:
    return [(epoch, epoch / 100, STARTED + 1000 * epoch) for epoch in range(1, epochs + 1)]


def test_a_finished_trial_stands_in_mlflow_in_full(opened: Store) -> None:
    params = {
        "arch.pattern": "INPUT -> " + "CONV -> " * 400 + "FC",
        **{f"key.{number}": number for number in range(150)},
    }
    folder = make_trial(RUNS, "abc", epochs=3, params=params)
    finish(folder)
    assert sync(folder, opened)
    run = the_run(opened)
    assert (run.info.run_name, run.info.status) == ("n1 m2 k1 adam", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (STARTED, STARTED + 60_000)
    assert run.data.params == {key: str(value) for key, value in params.items()}
    tags = {"convgrid.trial": "abc", "convgrid.outcome": "finished", "convgrid.best_epoch": "3", "seed": "0"}
    assert tags.items() <= run.data.tags.items()
    assert points(opened, run.info.run_id, "val/accuracy") == expected(3)
    assert points(opened, run.info.run_id, "best/val/accuracy") == [(3, 0.9, STARTED + 60_000)]
    assert run.data.metrics["test/accuracy"] == pytest.approx(0.89)
    names = [file.path for file in opened.client.list_artifacts(run.info.run_id)]
    assert names == ["config.yaml", "data.json", "environment.json", "plan.json"]


def test_a_running_trials_epochs_arrive_once_while_it_runs(opened: Store) -> None:
    folder = make_trial(RUNS, "abc", epochs=2)
    assert not sync(folder, opened)
    assert the_run(opened).info.status == "RUNNING"
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(epoch_line(3) + epoch_line(4)[:20])  # the process is writing the fourth
    sync(folder, opened)
    sync(folder, opened)
    assert points(opened, the_run(opened).info.run_id, "val/accuracy") == expected(3)


@pytest.mark.parametrize(
    ("status", "shown"), [("pruned", "FINISHED"), ("failed", "FAILED"), ("killed", "KILLED"), ("finished", "FINISHED")]
)
def test_a_status_is_true_and_has_its_reason(opened: Store, status: str, shown: str) -> None:
    folder = make_trial(RUNS, "abc", epochs=3)
    (folder / "log.txt").write_text("Traceback ...")
    finish(folder, status=status, reason="diverged")
    assert sync(folder, opened)
    run = the_run(opened)
    assert run.info.status == shown
    assert run.data.tags["convgrid.outcome"] == status
    assert run.data.tags["convgrid.reason"] == "diverged"
    logs = [file.path for file in opened.client.list_artifacts(run.info.run_id) if file.path == "log.txt"]
    assert logs == (["log.txt"] if status == "failed" else [])


def alone(folder: Path, store: Store) -> None:
    sync(folder, store)


def together(folder: Path, store: Store) -> None:
    sync_together([folder], store)


@pytest.mark.parametrize("send", [alone, together])
def test_a_killed_trial_that_goes_on_is_running_again_in_the_same_run(
    opened: Store, send: Callable[[Path, Store], None]
) -> None:
    folder = make_trial(RUNS, "abc", epochs=2)
    finish(folder, status="killed", reason="interrupted", epochs=2)
    send(folder, opened)
    assert "best/val/accuracy" not in the_run(opened).data.metrics
    make_trial(RUNS, "abc", epochs=3)
    send(folder, opened)
    run = the_run(opened)
    assert run.info.status == "RUNNING"
    assert {"convgrid.outcome", "convgrid.reason", "convgrid.best_epoch"} & set(run.data.tags) == set()
    finish(folder)
    send(folder, opened)
    run = the_run(opened)
    assert run.info.status == "FINISHED"
    assert points(opened, run.info.run_id, "val/accuracy") == expected(3)
    assert run.data.metrics["best/val/accuracy"] == 0.9


def test_a_trial_that_began_anew_gets_a_run_of_its_own(opened: Store) -> None:
    folder = make_trial(RUNS, "abc", epochs=3)
    finish(folder, status="failed", reason="diverged")
    sync(folder, opened)
    make_trial(RUNS, "abc", epochs=1, began=STARTED + 500_000)
    sync(folder, opened)
    run = the_run(opened)
    assert run.info.status == "RUNNING"
    assert points(opened, run.info.run_id, "val/accuracy") == [(1, 0.01, STARTED + 501_000)]


CALLS = ["create_run", "log_batch", "log_artifact", "set_terminated"]


@pytest.mark.parametrize("send", [alone, together])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_dies_at_a_call_is_replaced_without_a_second_run_or_value(
    opened: Store, monkeypatch: pytest.MonkeyPatch, call: str, when: str, send: Callable[[Path, Store], None]
) -> None:
    folder = make_trial(RUNS, "abc", epochs=3, params={"arch.n": 1})
    finish(folder)
    original = getattr(MlflowClient, call)

    def dies(*args: Any, **kwargs: Any) -> None:
        if when == "after":
            original(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, dies)
        with pytest.raises(KeyboardInterrupt):
            send(folder, opened)
    assert sync(folder, opened)
    run = the_run(opened)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"arch.n": "1"}
    assert points(opened, run.info.run_id, "val/accuracy") == expected(3)
    assert points(opened, run.info.run_id, "best/val/accuracy") == [(3, 0.9, STARTED + 60_000)]


def test_trials_sent_together_stand_in_a_database_like_those_sent_one_by_one(opened: Store, store: str) -> None:
    params = {f"key.{number}": number for number in range(101)}  # MLflow takes 100 a call
    names = ["t0", "t1", "t2", "t3", "t4"]
    sweep = make_sweep(SWEEPS, "s1", [*names])
    others = Store.open(store, "others")
    parents = [sync_sweep(sweep, each) for each in (opened, others)]
    running = [make_trial(RUNS, name, epochs=1, params=params, sweep="s1") for name in names[:4]]
    assert sync_together(running, opened, parents[0]) == dict.fromkeys(running, False)
    folders = [make_trial(RUNS, name, epochs=3, params=params, sweep="s1") for name in names]
    for folder, metrics in zip(folders[1:], ({"test/loss": math.nan}, {"test/loss": 1.0}, {}, {}), strict=True):
        finish(folder, metrics=metrics)
    finish(folders[2], status="failed", reason="it diverged")
    (folders[2] / "log.txt").write_text("Traceback")
    ended = {folder: folder.name != "t0" for folder in folders}
    assert sync_together(folders[:3], opened, parents[0]) == dict([*ended.items()][:3])
    assert sync_together(folders, opened, parents[0]) == ended
    for folder in folders:
        sync(folder, others, parents[1])
    found, expected = ({run.data.tags["convgrid.trial"]: run for run in members_of(each)} for each in (opened, others))
    assert [*found] == [*expected]
    for name, run in found.items():
        assert contents(opened, run, parents[0]) == contents(others, expected[name], parents[1])


def test_what_cannot_be_sent_together_is_left_to_be_sent_alone(opened: Store) -> None:
    anew, unnoted, other = (make_trial(RUNS, name, epochs=2) for name in ("anew", "unnoted", "other"))
    for folder in (anew, unnoted):
        sync(folder, opened)
    make_trial(RUNS, "anew", epochs=1, began=STARTED + 500_000)
    (unnoted / "tracked.json").write_text("")
    assert sync_together([anew, unnoted, other], opened) == {other: False}
    for folder in (anew, unnoted):
        sync(folder, opened)
    assert sorted(run.data.tags["convgrid.trial"] for run in runs_of(opened)) == ["anew", "other", "unnoted"]


def members_of(store: Store) -> list[MlflowRun]:
    runs = [run for run in runs_of(store) if "convgrid.trial" in run.data.tags]
    return sorted(runs, key=lambda run: run.data.tags["convgrid.trial"])


def contents(store: Store, run: MlflowRun, parent: Parent) -> dict[str, Any]:
    """All that a run holds, but for its own name and its parent's."""
    info, data, client = run.info, run.data, store.client
    histories = {metric: [str(point) for point in points(store, info.run_id, metric)] for metric in data.metrics}
    tags = {key: value.replace(parent.run_id, "parent") for key, value in data.tags.items()}
    files = {file.path: Path(client.download_artifacts(info.run_id, file.path)).read_text()
             for file in client.list_artifacts(info.run_id)}  # fmt: skip
    assert run.inputs is not None
    inputs = [(each.dataset, [(tag.key, tag.value) for tag in each.tags]) for each in run.inputs.dataset_inputs]
    times = (info.status, info.start_time, info.end_time, info.run_name, info.user_id, info.lifecycle_stage)
    return {"info": times, "params": data.params, "tags": tags, "metrics": histories, "files": files, "inputs": inputs}


def test_a_trial_that_has_arrived_costs_no_call(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_trial(RUNS, "abc", epochs=3)
    finish(folder)
    parent = sync_sweep(make_sweep(SWEEPS, "s1", ["abc"]), opened)
    sync(folder, opened, parent)
    calls: list[str] = []
    for name in [*CALLS, "get_run", "search_runs", "set_tag", "delete_tag", "update_run"]:
        monkeypatch.setattr(MlflowClient, name, lambda *_, name=name, **__: calls.append(name))
    sync(folder, opened, parent)
    assert [name for name in calls if name != "log_batch"] == []  # which returns at once where nothing is given


@pytest.mark.parametrize("text", ["", '{"place', "[1]", '{"run_id": "a"}'])
def test_where_what_is_known_does_not_read_the_run_is_found_again(opened: Store, text: str) -> None:
    folder = make_trial(RUNS, "abc", epochs=3)
    finish(folder)
    sync(folder, opened)
    (folder / "tracked.json").write_text(text)
    assert run_id_of(folder) == ""
    sync(folder, opened)
    run = the_run(opened)
    assert run_id_of(folder) == run.info.run_id
    assert points(opened, run.info.run_id, "val/accuracy") == expected(3)


@pytest.mark.parametrize("text", ["", "{broken", "[1]"])
def test_a_trial_whose_data_json_is_broken_arrives_without_it(opened: Store, text: str) -> None:
    folder = make_trial(RUNS, "abc", epochs=3)
    finish(folder)
    (folder / "data.json").write_text(text)
    assert sync(folder, opened)
    assert points(opened, the_run(opened).info.run_id, "val/accuracy") == expected(3)
    inputs = the_run(opened).inputs
    assert inputs is not None
    assert inputs.dataset_inputs == []


def test_a_run_that_a_person_deleted_is_made_again(opened: Store) -> None:
    folder = make_trial(RUNS, "abc", epochs=1)
    sync(folder, opened)
    opened.client.delete_run(the_run(opened).info.run_id)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(epoch_line(2))
    sync(folder, opened)
    assert points(opened, the_run(opened).info.run_id, "val/accuracy") == expected(2)


def test_another_store_gets_everything_and_the_first_one_nothing_twice(opened: Store, store: str) -> None:
    folder = make_trial(RUNS, "abc", epochs=2)
    other = Store.open(store, "others")
    for each in (opened, other, opened, other):
        sync(folder, each)
        assert points(each, the_run(each).info.run_id, "val/accuracy") == expected(2)


def test_a_trial_is_a_child_of_its_first_sweep_and_a_member_of_each(opened: Store) -> None:
    folder = make_trial(RUNS, "abc", epochs=1, sweep="s1")
    first, second = (sync_sweep(make_sweep(SWEEPS, name, ["abc"]), opened) for name in ("s1", "s2"))
    sync(folder, opened, first)
    sync(folder, opened, second)
    (child,) = [run for run in runs_of(opened) if "convgrid.trial" in run.data.tags]
    assert child.data.tags["mlflow.parentRunId"] == first.run_id
    assert child.data.tags["convgrid.sweep.s1"] == child.data.tags["convgrid.sweep.s2"] == "member"


def test_the_parent_run_has_the_grid_and_the_totals(opened: Store) -> None:
    for name, n, accuracy in (("a", "1", 0.99), ("b", "2", 0.95), ("d", "1", 0.89)):  # the luckiest is not the best
        finish(make_trial(RUNS, name, epochs=3, params={"arch.n": n}), accuracy=accuracy)
    finish(make_trial(RUNS, "c"), status="failed", reason="out of memory", metrics={})
    folder = make_sweep(SWEEPS, "s1", ["a", "b", "c", "d", None], skipped={"arch.m=4 pools": ["arch.m=4"]})
    with FileLock(folder / "lock"):  # as the sweep's process holds it
        parent = sync_sweep(folder, opened)
    run = opened.client.get_run(parent.run_id)
    assert run.info.status == "RUNNING"
    assert run.info.run_name == "arch.n=1,2 optimizer=sgd,adam"
    assert run.data.tags["convgrid.sweep"] == "s1"
    assert run.data.tags["convgrid.command"] == "run.py -m arch.n=1,2 optimizer=sgd,adam"
    assert "python" in run.data.tags
    assert run.data.params["arch.n"] == "1,2"
    assert run.data.params["objective.metric"] == "val/accuracy"
    assert run.data.metrics == {
        "trials/finished": 3, "trials/failed": 1, "trials/pruned": 0, "trials/killed": 0, "trials/left": 1,
        "trials/skipped": 1, "best/val/accuracy": 0.95,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "shown"), [("finished", "FINISHED"), ("killed", "KILLED"), ("failed", "FAILED"), ("running", "KILLED")]
)
def test_the_parents_status_is_the_sweeps_also_where_its_process_died(opened: Store, status: str, shown: str) -> None:
    folder = make_sweep(SWEEPS, "s1", [None])
    with FileLock(folder / "lock"):
        parent = sync_sweep(folder, opened)
        set_sweeps_right(SWEEPS, opened)
        assert opened.client.get_run(parent.run_id).info.status == "RUNNING"
    make_sweep(SWEEPS, "s1", [None], status=status)
    set_sweeps_right(SWEEPS, opened)
    assert opened.client.get_run(parent.run_id).info.status == shown


def test_the_parent_run_of_a_race_has_its_rules(opened: Store) -> None:
    rules = {"settings": 2, "tolerance": 0.001, "max_seeds": 20, "budget": None}
    parent = sync_sweep(make_sweep(SWEEPS, "s1", [], race=rules), opened)
    assert json.loads(opened.client.get_run(parent.run_id).data.tags["convgrid.race"]) == rules


def test_a_broken_sweep_keeps_no_other_from_being_set_right(opened: Store) -> None:
    parents = []
    for name in ("s0", "s1", "s2"):
        folder = make_sweep(SWEEPS, name, [None])
        with FileLock(folder / "lock"):
            parents.append(sync_sweep(folder, opened).run_id)
    (SWEEPS / "s1" / "sweep.json").write_text("{broken")
    set_sweeps_right(SWEEPS, opened)
    assert [opened.client.get_run(run_id).info.status for run_id in parents] == ["KILLED", "RUNNING", "KILLED"]


def test_totals_that_sink_again_are_shown_as_they_are(opened: Store) -> None:
    folder = make_trial(RUNS, "a")
    finish(folder, status="failed", reason="out of memory", metrics={})
    sweep = make_sweep(SWEEPS, "s1", ["a"])
    sync_sweep(sweep, opened)
    time.sleep(0.002)
    finish(folder)
    parent = sync_sweep(sweep, opened)
    metrics = opened.client.get_run(parent.run_id).data.metrics
    assert (metrics["trials/failed"], metrics["trials/finished"]) == (0, 1)


def test_a_trial_without_a_record_is_waited_for(opened: Store) -> None:
    (RUNS / "abc").mkdir(parents=True)
    assert not sync(RUNS / "abc", opened)
    assert runs_of(opened) == []


def test_a_trial_left_running_by_a_dead_process_becomes_killed(opened: Store) -> None:
    dead, alive, ended = (make_trial(RUNS, name, epochs=2) for name in ("dead", "alive", "ended"))
    finish(ended)
    with FileLock(alive / "lock"):
        assert set_right(RUNS) == [dead]
    sync(dead, opened)
    run = the_run(opened)
    assert (run.info.status, run.info.end_time) == ("KILLED", STARTED + 2000)
    assert run.data.tags["convgrid.reason"] == "its process ended"


def test_a_single_run_is_a_member_of_a_sweep_but_nobodys_child(opened: Store) -> None:
    folder = make_trial(RUNS, "abc", epochs=3)
    finish(folder)
    sync(folder, opened, sync_sweep(make_sweep(SWEEPS, "s1", ["abc"]), opened))
    (run,) = [run for run in runs_of(opened) if "convgrid.trial" in run.data.tags]
    assert run.data.tags["convgrid.sweep.s1"] == "member"
    assert "mlflow.parentRunId" not in run.data.tags


def test_a_trial_that_failed_before_its_network_was_built_stands_in_mlflow(opened: Store) -> None:
    folder = RUNS / "abc"
    folder.mkdir(parents=True)
    end = {
        "status": "failed",
        "reason": "no",
        "ended": STARTED,
        "metrics": {},
        "best_epoch": 0,
        "epochs": 0,
        "seconds": 0,
    }
    (folder / "run.json").write_text(json.dumps(end))
    assert sync(folder, opened)
    assert (the_run(opened).info.status, the_run(opened).info.run_name) == ("FAILED", "abc")
    make_trial(RUNS, "abc", params={"arch.n": "1"})
    sync(folder, opened)
    assert the_run(opened).data.params == {"arch.n": "1"}


def test_two_processes_that_start_one_sweep_make_one_parent_and_one_child(store: str) -> None:
    make_sweep(SWEEPS, "s1", ["abc"])
    finish(make_trial(RUNS, "abc", epochs=3))

    def start() -> None:
        opened = Store.open(store, "trials")
        sync(RUNS / "abc", opened, sync_sweep(SWEEPS / "s1", opened))

    started = [fork(start) for _ in range(2)]
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    runs = runs_of(Store.open(store, "trials"))
    assert sorted(next(key for key in run.data.tags if key in LABELS) for run in runs) == [*LABELS]


LABELS = ("convgrid.sweep", "convgrid.trial")


def test_pictures_weights_and_the_model_are_stored_only_where_asked_for(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[tuple[str, str, str | None]] = []
    monkeypatch.setattr(
        sync_module, "store_model", lambda _, uri, run_id, *, register, parts: stored.append((uri, run_id, register))
    )
    folder = make_trial(RUNS, "abc", epochs=3)
    for name in ("best.ckpt", "misclassified.png", "confusion_test.csv"):
        (folder / name).write_bytes(b"something")
    finish(folder)
    sync(folder, opened)
    assert files(opened) == ["config.yaml", "data.json", "environment.json", "plan.json"]
    assert stored == []
    for register in (None, None, "digits", "digits", None):
        sync(folder, opened, whole=True, register=register)
    pictures = ["confusion_test.csv", "learning_curves.png", "misclassified.png"]
    assert files(opened) == sorted(
        [*pictures, "best.ckpt", "config.yaml", "data.json", "environment.json", "plan.json"]
    )
    run_id = the_run(opened).info.run_id
    assert stored == [(opened.uri, run_id, None), (opened.uri, run_id, "digits")]
    assert (folder / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def files(store: Store) -> list[str]:
    return [file.path for file in store.client.list_artifacts(the_run(store).info.run_id)]


def test_a_model_that_cannot_be_made_is_told_and_not_tried_again(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(sync_module, "store_model", fails)
    folder = make_trial(RUNS, "abc", epochs=1)
    (folder / "best.ckpt").touch()
    finish(folder, epochs=1)
    with pytest.raises(ModelError, match="The model of runs/abc is not stored: RuntimeError: no such operator"):
        sync(folder, opened, whole=True)
    assert sync(folder, opened, whole=True)
    assert the_run(opened).info.status == "FINISHED"


def test_the_data_set_of_all_trials_is_one(opened: Store) -> None:
    data = {
        "name": "digits", "digest": "0123456789abcdef", "task": "classification", "names": ["0", "1"],
        "shape": [1, 8, 8], "dtype": "uint8", "pixels": [0, 16], "images": {"train": 90, "validation": 20},
    }  # fmt: skip
    for name in ("a", "b"):
        folder = make_trial(RUNS, name, epochs=1, params={"data.root": "/photos" if name == "b" else None})
        (folder / "data.json").write_text(json.dumps(data))
        sync(folder, opened)
        sync(folder, opened)
    for run in runs_of(opened):
        found = only(run.inputs.dataset_inputs)  # pyright: ignore[reportOptionalMemberAccess]
        assert (found.dataset.name, found.dataset.digest) == ("digits", "0123456789abcdef")
        assert [(tag.key, tag.value) for tag in found.tags] == [("mlflow.data.context", "training")]
        assert json.loads(found.dataset.profile) == {"train": 90, "validation": 20, "shape": [1, 8, 8], "classes": 2}


def only(found: list[Any]) -> Any:
    (one,) = found
    return one


def test_a_parameter_longer_than_the_store_takes_ends_in_dots(opened: Store) -> None:
    sync(make_trial(RUNS, "abc", params={"arch.pattern": "x" * 6000, "loss.weights": "y" * 6001}), opened)
    params = the_run(opened).data.params
    assert params == {"arch.pattern": "x" * 6000, "loss.weights": "y" * 5997 + "..."}


def test_mlflows_own_tags_name_the_source_the_version_and_the_user(opened: Store) -> None:
    sync(make_trial(RUNS, "abc", tags={"git.commit": "abc", "command": "python run.py arch.n=2"}), opened)
    tags = the_run(opened).data.tags
    assert tags["mlflow.source.name"] == "run.py"
    assert tags["mlflow.source.git.commit"] == "abc"
    assert tags["mlflow.source.type"] == "LOCAL"
    assert tags["mlflow.user"] == getpass.getuser()


def test_how_busy_the_machine_was_arrives_once(opened: Store) -> None:
    folder = make_trial(RUNS, "abc", epochs=1)
    for sample in range(1, 4):
        with (folder / "system.jsonl").open("a") as file:
            file.write(json.dumps({"time": STARTED + sample, "metrics": {"system/cpu": sample / 10}}) + "\n")
        sync(folder, opened)
    found = points(opened, the_run(opened).info.run_id, "system/cpu")
    assert found == [(0, 0.1, STARTED + 1), (1, 0.2, STARTED + 2), (2, 0.3, STARTED + 3)]


def test_what_cannot_be_sent_raises_and_is_sent_later(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_trial(RUNS, "abc", epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", lambda *_, **__: (_ for _ in ()).throw(OSError("no disk")))
        with pytest.raises(OSError, match="no disk"):
            sync(folder, opened)
    write_record(folder, status="running")
    sync(folder, opened)
    assert points(opened, the_run(opened).info.run_id, "val/accuracy") == expected(1)

"""A sweep from the command line to MLflow, and once more."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from convgrid.cli.main import main
from convgrid.compare import answer, load
from forks import fork_within, fork_workers

RUN = Path(__file__).parents[2] / "run.py"
GRID = ("arch.m=1,2,4", "sweep.seeds=2", "data.limit=100", "arch.filters=4", "trainer.max_epochs=2", "trainer=cpu")


def again() -> None:
    fork_workers()
    sys.exit(main(["run", "-m", *GRID], [str(RUN), "-m", *GRID]))


def test_a_sweep_is_planned_trained_ranked_and_tracked_and_is_not_trained_twice(
    in_tmp: Path, migrated_store: Path
) -> None:
    shutil.copyfile(migrated_store, in_tmp / "mlflow.db")
    command = [sys.executable, str(RUN), "-m", *GRID]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    first = done.stdout
    assert "points         6" in first
    assert "arch.m=4 pools a 8x8 input 4 times" in first
    assert first.count("[4/4] ") == 1
    *_, head, best, second_best, settles, report, dashboard = first.splitlines()
    ranked = [head, best, second_best, settles]
    assert re.search(r" more seeds? each", settles)  # two seeds are too few
    assert report == "report     python -m convgrid compare"
    assert dashboard == "dashboard  python -m convgrid ui"
    assert ranked[0].split() == ["arch.m", "val/accuracy", "p", "parameters", "multiply-adds", "time"]
    assert float(ranked[1].split()[2]) >= float(ranked[2].split()[2])

    trials = load()
    found = answer(trials)
    assert found.sentence in first
    assert (trials.keys, trials.repetitions, len(trials.frame), len(trials.curves)) == (("arch.m",), ("seed",), 4, 24)
    assert found.chosen_test is not None
    assert found.failures == {}

    client = MlflowClient(tracking_uri=f"sqlite:///{in_tmp / 'mlflow.db'}")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    (parent,) = [run for run in runs if "convgrid.command" in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert parent.data.tags["convgrid.command"] == shlex.join(["python", str(RUN), "-m", *GRID])
    assert len(runs) == 5
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted((run.data.params["arch.m"], run.data.params["seed"]) for run in children) == [
        ("1", "0"), ("1", "1"), ("2", "0"), ("2", "1"),
    ]  # fmt: skip
    for run in children:
        history = client.get_metric_history(run.info.run_id, "val/accuracy")
        assert [metric.step for metric in history] == [1, 2]
        assert run.data.metrics["best/val/accuracy"] == max(metric.value for metric in history)
    assert parent.data.metrics["best/val/accuracy"] == pytest.approx(found.settings[0].mean)

    mlflow.set_tracking_uri(f"sqlite:///{in_tmp / 'mlflow.db'}")
    (model,) = mlflow.search_logged_models([parent.info.experiment_id], output_format="list")
    winner = client.get_run(str(model.source_run_id))
    seeds = [run for run in children if run.data.params["arch.m"] == str(found.settings[0].values["arch.m"])]
    assert winner.info.run_id in [run.info.run_id for run in seeds]
    assert winner.data.metrics["best/val/accuracy"] == max(run.data.metrics["best/val/accuracy"] for run in seeds)
    predicted = mlflow.pyfunc.load_model(model.model_uri).predict(np.zeros((3, 1, 8, 8), np.uint8))
    assert predicted.shape == (3, 11)

    process = fork_within(in_tmp, in_tmp / "second", again)
    process.join(120)
    second = (in_tmp / "second").read_text()
    assert process.exitcode == 0, second
    assert "to train       0" in second
    assert second.splitlines()[-6:-2] == ranked
    assert len(client.search_runs([parent.info.experiment_id])) == 5

    logged = load(experiment="convgrid", tracking_uri=f"sqlite:///{in_tmp / 'mlflow.db'}")
    assert (logged.keys, logged.repetitions, logged.metric, logged.swept) == (
        trials.keys, trials.repetitions, trials.metric, trials.swept,
    )  # fmt: skip
    folders = {run.info.run_id: run.data.tags["convgrid.trial"] for run in children}
    frame = logged.frame.rename(index=folders).loc[trials.frame.index, trials.frame.columns]
    pd.testing.assert_frame_equal(frame.drop(columns="seconds"), trials.frame.drop(columns="seconds"))
    in_order = ["trial", "metric", "epoch"]
    pd.testing.assert_frame_equal(
        logged.curves.replace({"trial": folders}).sort_values(in_order).reset_index(drop=True),
        trials.curves.sort_values(in_order).reset_index(drop=True),
    )
    assert answer(logged).sentence == found.sentence

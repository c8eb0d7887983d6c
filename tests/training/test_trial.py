import contextlib
import io
import json
import os
import platform
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import yaml
from mlflow.entities import Run as MlflowRun
from mlflow.tracking import MlflowClient
from rich.console import Console
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from conftest import compose_settings
from convgrid.cli.main import main
from convgrid.cli.run import train
from convgrid.config import Settings
from convgrid.errors import ConfigError, DataError, Interrupted, Mistakes, TrainingError
from convgrid.runs.find import find_to_resume
from convgrid.runs.trial import EpochLog, read_epochs, read_record
from convgrid.tracking.writer import following
from convgrid.training.evaluation import Evaluation
from convgrid.training.setup import read
from convgrid.training.trial import run
from forks import fork, fork_writers

SettingsMaker = Callable[..., Settings]
SMALL = ("data.limit=100", "trainer.max_epochs=2", "arch.filters=4", "arch.hidden=8")


class Screen(Console):
    """A console whose text can be read."""

    def __init__(self) -> None:
        super().__init__(file=io.StringIO(), width=120)

    def text(self) -> str:
        assert isinstance(self.file, io.StringIO)
        return self.file.getvalue()

    def row(self, name: str) -> str:
        """The last value shown under a name."""
        return re.findall(rf"^{re.escape(name)}  +(.*?) *$", self.text(), re.MULTILINE)[-1]


@pytest.fixture
def screen() -> Screen:
    return Screen()


@dataclass(frozen=True)
class Tracked:
    """A run that was trained, tracked and shown."""

    client: MlflowClient
    run: MlflowRun
    folder: Path
    settings: Settings
    screen: Screen


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Tracked:
    place, screen = tmp_path_factory.mktemp("tracked"), Screen()
    shutil.copyfile(migrated_store, place / "mlflow.db")
    uri, before = f"sqlite:///{place / 'mlflow.db'}", Path.cwd()
    chosen = compose_settings(
        f"tracking.uri={uri}", "layer/norm=batch", "arch.m=3", "trainer.max_epochs=3", "data.limit=400"
    )
    os.chdir(place)
    try:
        with pytest.MonkeyPatch.context() as patch:
            fork_writers(patch.setattr)
            with following(chosen) as follow:
                run(chosen, screen, follow=follow)
    finally:
        os.chdir(before)
    client = MlflowClient(uri)
    (seen,) = client.search_runs([client.get_experiment_by_name("convgrid").experiment_id])  # pyright: ignore
    return Tracked(client, seen, next((place / "runs").iterdir()), chosen, screen)


def test_a_run_stands_in_mlflow_with_all_that_explains_it(tracked: Tracked, tmp_path: Path) -> None:
    seen, client, screen = tracked.run, tracked.client, tracked.screen
    assert seen.info.status == "FINISHED"
    assert seen.info.run_name == "n1 m3 k1 adam"
    assert seen.info.run_id == screen.row("MLflow run")
    assert seen.data.params["optimizer"] == "adam"
    assert seen.data.params["optimizer.lr"] == "0.001"
    assert seen.data.params["layer/norm"] == "batch"
    assert seen.data.params["arch.m"] == "3"
    assert int(seen.data.params["plan.parameters"]) == int(screen.row("parameters").replace(",", ""))
    names = ("loss", "accuracy", "top5", "f1", "calibration_error", "auroc")
    assert set(seen.data.metrics) == {"train/loss", "best/train/loss"} | {
        f"{part}/{name}" for part in ("val", "best/val", "test") for name in names
    }
    for metric in ("train/loss", *(f"val/{name}" for name in names)):
        assert [value.step for value in client.get_metric_history(seen.info.run_id, metric)] == [1, 2, 3]
    assert 0 < seen.data.metrics["test/accuracy"] <= 1
    accuracies = [value.value for value in client.get_metric_history(seen.info.run_id, "val/accuracy")]
    assert seen.data.metrics["best/val/accuracy"] == max(accuracies)
    assert {"seed": "0", "device": "cpu", "host": platform.node(), "convgrid.outcome": "finished"}.items() <= (
        seen.data.tags.items()
    )
    assert {file.path for file in client.list_artifacts(seen.info.run_id)} == {
        "config.yaml", "data.json", "plan.json", "environment.json", "best.ckpt", "confusion_validation.csv",
        "confusion_test.csv", "misclassified.png", "learning_curves.png",
    }  # fmt: skip
    (data,) = seen.inputs.dataset_inputs  # pyright: ignore[reportOptionalMemberAccess]
    assert (data.dataset.name, data.dataset.digest) == ("digits", read(tracked.settings).digest)
    stored = yaml.safe_load(Path(client.download_artifacts(seen.info.run_id, "config.yaml", str(tmp_path))).read_text())
    assert stored["values"]["arch"]["m"] == 3


def test_the_logged_model_predicts_probabilities_of_raw_images(tracked: Tracked) -> None:
    """What it says of the test images agrees with the test metrics that the run reports."""
    (logged,) = tracked.client.search_logged_models([tracked.run.info.experiment_id])
    assert logged.source_run_id == tracked.run.info.run_id
    test = read(tracked.settings).test
    assert test is not None
    mlflow.set_tracking_uri(tracked.settings.values["tracking"]["uri"])
    predictions = mlflow.pyfunc.load_model(logged.model_uri).predict(test.images.numpy())  # pyright: ignore
    np.testing.assert_allclose(predictions.drop(columns="class").sum(axis=1), 1, rtol=1e-5)
    classes, told = test.targets.numpy(), predictions["class"].astype(int)
    accuracy, f1 = accuracy_score(classes, told), f1_score(classes, told, average="macro")
    assert re.match(rf"loss \S+  accuracy {accuracy:.4g}  top5 \S+  f1 {f1:.4g}  ", tracked.screen.row("test"))
    rows = [row.split(",") for row in (tracked.folder / "confusion_test.csv").read_text().splitlines()]
    assert rows[0] == ["class / predicted", *"0123456789"]
    assert [row[0] for row in rows[1:]] == list("0123456789")
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == confusion_matrix(classes, told).tolist()


def test_progress_is_short_and_the_result_is_complete(settings: SettingsMaker, in_tmp: Path, screen: Screen) -> None:
    run(settings(*SMALL, "tracking=none", "objective.metric=val/f1"), screen)
    (first,) = re.findall(r"^epoch 1/2  .*$", screen.text(), re.MULTILINE)
    assert re.findall(r"([a-z]+/\w+) ", first) == ["train/loss", "val/loss", "val/accuracy", "val/f1"]
    assert re.fullmatch(r"[12] of 2, by val/f1", screen.row("best epoch"))
    for part in ("validation", "test"):
        names = re.findall(r"([a-z]\w*) ", screen.row(part))
        assert names == ["loss", "accuracy", "top5", "f1", "calibration_error", "auroc"]


@pytest.mark.parametrize(
    ("metric", "defined"),
    [("val/auroc", "val/accuracy, val/top5, val/f1, val/calibration_error, val/loss"), ("val/accuracy", None)],
)
def test_an_objective_that_the_validation_part_does_not_define_is_told_before_a_run_exists(
    settings: SettingsMaker, in_tmp: Path, screen: Screen, metric: str, defined: str | None
) -> None:
    """Its images are all of one class."""
    images, classes = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 6
    np.savez("own.npz", x_train=images, y_train=classes, x_val=images[:3], y_val=np.ones(3, int))
    chosen = settings(
        "data=arrays", "data.path=own.npz", "data.shape=[1,8,8]", "trainer.max_epochs=1", "arch=linear",
        "tracking=none", f"objective.metric={metric}",
    )  # fmt: skip
    if defined is None:
        run(chosen, screen)
        assert "auroc" not in screen.text()
        return
    with pytest.raises(DataError) as caught:
        run(chosen, screen)
    assert str(caught.value) == (
        f"objective.metric={metric} is not defined for the validation part: its targets do not vary. "
        f"Use one of {defined}, or other images for validation."
    )
    assert not (in_tmp / "runs").exists()


def test_the_same_config_twice_makes_two_runs_with_the_same_metrics(
    settings: SettingsMaker, in_tmp: Path, screen: Screen
) -> None:
    for _ in range(2):
        run(settings(*SMALL, "tracking=none"), screen)
    folders = sorted(path.name for path in (in_tmp / "runs").iterdir())
    assert len(folders) == 2
    assert folders[1] == f"{folders[0]}-2"
    histories = [torch.load(in_tmp / "runs" / name / "last.ckpt", weights_only=True)["history"] for name in folders]
    assert histories[0] == histories[1]


def test_a_finished_run_only_shows_its_result(
    settings: SettingsMaker, in_tmp: Path, screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    run(settings(*SMALL, "tracking=none"), screen)
    (folder,) = (in_tmp / "runs").iterdir()
    before = (folder / "last.ckpt").stat().st_mtime_ns
    find_to_resume(folder.name).lock.release()
    assert main(["run", f"resume={folder.name}"]) == 0
    assert (folder / "last.ckpt").stat().st_mtime_ns == before
    shown = capsys.readouterr().out
    said, *result, more = shown.splitlines()
    assert more == f"For more epochs, as a new run: python run.py resume={folder.name} trainer.max_epochs=4"
    assert said == f"runs/{folder.name} has finished: nothing is left to train. Its result:"
    assert result == [line.rstrip() for line in screen.text().splitlines()[-len(result) :]]
    assert re.fullmatch(r"[12] of 2, by val/accuracy", screen.row("best epoch"))


def test_a_run_that_diverges_is_failed_and_says_why(settings: SettingsMaker, in_tmp: Path, screen: Screen) -> None:
    chosen = settings(
        *SMALL, "tracking=none", "optimizer=sgd", "optimizer.lr=1e30", "loss=mean_squared_error", "activation=linear"
    )
    with pytest.raises(TrainingError):
        run(chosen, screen)
    (folder,) = (in_tmp / "runs").iterdir()
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "failed"
    assert record["reason"].startswith("train/loss became")
    assert "DivergenceError: train/loss became" in (folder / "log.txt").read_text()


def test_a_folder_has_the_epochs_of_a_run_whose_process_died_behind_its_last_checkpoint(
    settings: SettingsMaker, in_tmp: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(*SMALL, "tracking=none")
    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "append", lambda _, history: 1 / 0 if len(history) == 2 else None)
        with pytest.raises(ZeroDivisionError):
            run(chosen, screen)
    (folder,) = (in_tmp / "runs").iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"
    (taken := find_to_resume(folder.name)).lock.release()
    run(chosen, screen, taken)
    epochs = [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2]


def test_what_components_refuse_is_told_together_before_a_run_exists(
    settings: SettingsMaker, in_tmp: Path, screen: Screen
) -> None:
    chosen = settings(
        "optimizer.lr=-1.0", "schedule=cosine", "schedule.min_fraction=2.0", "activation=elu", "activation.alpha=-1.0"
    )
    with pytest.raises(Mistakes) as error:
        run(chosen, screen)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    for line, key in zip(lines, ("optimizer.lr=-1", "schedule.min_fraction=2.0", "activation.alpha=-1"), strict=True):
        assert line.startswith(f"ConfigError: {key}")
    assert list(in_tmp.iterdir()) == []


def test_missing_data_is_told_before_a_run_exists(settings: SettingsMaker, in_tmp: Path, screen: Screen) -> None:
    with pytest.raises(DataError, match="photos"):
        run(settings("data=image_folder", "data.root=photos"), screen)
    assert list(in_tmp.iterdir()) == []


def test_a_gpu_that_is_not_there_is_named(
    settings: SettingsMaker, in_tmp: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ConfigError, match=r"trainer.accelerator=gpu, but torch finds no GPU. Use trainer=auto or trainer=cpu"
    ):
        run(settings("trainer=gpu", "tracking=none"), screen)


def test_overfit_reaches_a_loss_near_zero_on_one_batch(settings: SettingsMaker, in_tmp: Path, screen: Screen) -> None:
    run(settings("trainer=overfit", "trainer.max_epochs=40", "optimizer.lr=0.005", "tracking=none"), screen)
    (folder,) = (in_tmp / "runs").iterdir()
    history = torch.load(folder / "last.ckpt", weights_only=True)["history"]
    assert history[-1]["train/loss"] < 0.01
    assert history[-1]["val/accuracy"] == 1
    assert "test" not in screen.text()


def test_a_training_whose_objective_is_no_number_has_failed(
    settings: SettingsMaker, in_tmp: Path, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Evaluation.finish
    monkeypatch.setattr(Evaluation, "finish", lambda *part: {**finish(*part), "val/accuracy": float("nan")})
    with pytest.raises(TrainingError, match=r"^val/accuracy was nan in every epoch"):
        run(settings(*SMALL, "tracking=none"), screen)
    record = read_record(next((in_tmp / "runs").iterdir()))
    assert (record["status"], record["epochs"]) == ("failed", 2)


def test_debug_sees_little_data(settings: SettingsMaker, in_tmp: Path, screen: Screen) -> None:
    data = read(settings("trainer=debug"))
    assert data.test is not None
    assert [len(part) for part in (data.train, data.validation, data.test)] == [128, 128, 128]
    run(settings("trainer=debug", "tracking=none"), screen)
    assert screen.row("best epoch").startswith(("1 of 2", "2 of 2"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_a_cluster_stops_goes_on_bit_by_bit(
    number: signal.Signals, in_tmp: Path, screen: Screen, settings: SettingsMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(*SMALL, "trainer.max_epochs=3", "tracking=none")
    undisturbed = [epoch["metrics"] for epoch in read_epochs(train(chosen, None, screen))]
    before, append = signal.getsignal(number), EpochLog.append

    def stop(log: EpochLog, history: Any) -> None:
        append(log, history)
        signal.raise_signal(number)
        signal.raise_signal(number)  # as a second word of warning: the end goes on

    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "append", stop)
        with pytest.raises(Interrupted, match=r"Stopped after epoch 1\. To go on: "):
            train(chosen, None, screen)
    assert signal.getsignal(number) == before
    folder = find_to_resume("last")
    assert (folder.record["status"], folder.record["reason"]) == ("killed", "interrupted")
    resumed = read_epochs(train(chosen, folder, screen))
    assert [epoch["metrics"] for epoch in resumed] == undisturbed


def test_a_cluster_around_a_run_is_not_looked_at(
    in_tmp: Path, screen: Screen, settings: SettingsMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_tmp / "srun").write_text("#!/bin/sh\n")
    (in_tmp / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(in_tmp), prepend=os.pathsep)
    chosen = settings(*SMALL, "tracking=none")
    run(chosen, screen)  # srun is there and not used
    for name, value in {"NTASKS": "4", "JOB_NAME": "train", "JOB_ID": "7", "PROCID": "3", "LOCALID": "3"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    path = run(settings(*SMALL, "seed=1", "tracking=none"), screen)
    assert read_record(path)["status"] == "finished"
    assert not list(path.glob("hpc_ckpt*"))


def _type(out: Path, *words: str) -> None:
    """What `python run.py` does, in a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with out.open("w", buffering=1) as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        status = main(["run", *words])
    sys.exit(status)


def test_a_run_interrupted_by_ctrl_c_goes_on(store: str, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fork_writers(monkeypatch.setattr)
    (out := in_tmp / "out.txt").touch()
    child = fork(_type, out, "trainer.max_epochs=30", "data.limit=100")
    deadline = time.monotonic() + 60
    while "epoch  3/30" not in out.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGINT)
    child.join(90)
    assert child.exitcode == 130
    assert "Traceback" not in out.read_text()
    (run_id,) = re.findall(r"To go on: python run.py resume=(\w+)", out.read_text())
    client = MlflowClient(store)
    assert client.get_run(run_id).info.status == "KILLED"
    assert main(["run", f"resume={run_id}"]) == 0
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [value.step for value in client.get_metric_history(run_id, "train/loss")] == list(range(1, 31))
    tracked = json.loads(next((in_tmp / "runs").glob("*/tracked.json")).read_text())
    assert tracked["run_id"] == run_id

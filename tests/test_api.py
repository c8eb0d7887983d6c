"""convgrid in Python: the same as the commands, and nothing of the process is changed."""

import contextlib
import gc
import io
import json
import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import convgrid
from convgrid import api, compare
from convgrid.cli.main import main
from convgrid.runs.trial import read_record
from convgrid.system.notebook import Written
from forks import fork_workers, fork_writers
from trained_models import PHOTOS, write_arrays

TINY = ["data.limit=100", "arch.filters=4", "trainer.max_epochs=2", "tracking=none"]
SWEPT = [*TINY, "arch.n=1,2", "trainer.max_epochs=1", "sweep.workers=2", "trainer=cpu"]


def command(*words: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["run", *words]) == 0


def command_of(folder: Path) -> str:
    """What a run's folder says that was typed."""
    return json.loads((folder / "environment.json").read_text())["command"]


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps without a fork server, which takes seconds to import torch; that of a program has one."""
    fork_workers(monkeypatch.setattr)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> "convgrid.Sweep":
    """A sweep to be looked at only."""
    with contextlib.chdir(tmp_path_factory.mktemp("swept")), pytest.MonkeyPatch.context() as patch:
        fork_workers(patch.setattr)
        return convgrid.multirun([*SWEPT], quiet=True)


# --- the words


def test_import_takes_nothing_large_and_a_plan_no_torch() -> None:
    code = (
        "import sys, convgrid; before = len(sys.modules); assert 'hydra' not in sys.modules;"
        "assert 'train' in dir(convgrid); print(convgrid.plan(['arch.n=2']));"
        "print({'torch', 'lightning', 'mlflow', 'pandas', 'scipy', 'sklearn'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("INPUT 1x8x8\n")
    assert done.stdout.endswith("set()\n")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = convgrid.trian  # pyright: ignore[reportAttributeAccessIssue]


def test_a_plan_is_the_commands_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "dry_run=true", "arch=deep", "data=cifar10"]) == 0
    planned = convgrid.plan(["arch=deep", "data=cifar10"])
    assert f"{planned}\n" == capsys.readouterr().out
    assert isinstance(planned, api.Planned)
    assert planned.plan.parameters == 567_082
    html = planned._repr_html_()
    assert html.startswith("<pre")
    assert "567,082" in html


def test_a_plan_of_a_sweep_counts_its_points(in_tmp: Path) -> None:
    planned = convgrid.plan(["-m", "arch.n=1,2,3", "optimizer=sgd,adam"])
    assert str(planned).split()[:2] == ["points", "6"]
    assert [*in_tmp.iterdir()] == []


@pytest.mark.parametrize(
    ("call", "words", "message"),
    [
        (convgrid.train, ["arch.m=6"], "arch.m=6 pools a 8x8 input 6 times, but after 3 it is 1x1. Use arch.m<=3 or"),
        (convgrid.train, ["arch.n=1,2"], "arch.n=1,2 has several values. Use convgrid.multirun to sweep over them."),
        (
            convgrid.train,
            ["sweep.seeds=2"],
            "sweep.seeds=2 has no effect on a single training. Use convgrid.multirun to sweep",
        ),
        (convgrid.train, ["-m", "arch.n=1,2"], "This is a sweep. Use convgrid.multirun."),
        (convgrid.train, ["dry_run=true"], "dry_run=true trains nothing. Use convgrid.plan, or leave it out."),
        (convgrid.multirun, ["dry_run=true"], "dry_run=true trains nothing. Use convgrid.plan"),
        (convgrid.multirun, ["arch.m=6,7"], "PlanError: arch.m=6 pools a 8x8 input 6 times"),
        (convgrid.plan, ["--help"], "Flags and keys of Hydra's own are for the command"),
        (convgrid.plan, "arch.n=2", "'arch.n=2' must be a list of texts"),
        (convgrid.plan, [3], "[3] must be a list of texts"),
        (convgrid.load, "nowhere", "nowhere is not a run or sweep known in"),
    ],
)
def test_mistakes_are_raised(in_tmp: Path, call: Callable[..., object], words: object, message: str) -> None:
    with pytest.raises(convgrid.ConvgridError) as raised:
        call(words)
    assert str(raised.value).startswith(message)
    assert raised.value._render_traceback_() == raised.value.tell().splitlines()
    assert [*in_tmp.iterdir()] == []


def test_all_mistakes_are_told_at_once(in_tmp: Path) -> None:
    with pytest.raises(convgrid.ConvgridError) as raised:
        convgrid.train(["optimizer.momentun=0.9", "arch.m=6"])
    assert [line.partition(":")[0] for line in raised.value._render_traceback_()] == ["ConfigError", "PlanError"]


# --- a run


def test_a_run_is_the_commands_bit_for_bit(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.chdir(in_tmp), contextlib.ExitStack() as stack:
        (in_tmp / "command").mkdir()
        stack.enter_context(contextlib.chdir("command"))
        command(*TINY)
    (typed,) = Path("command/runs").iterdir()
    run = convgrid.train(TINY)
    assert "epoch 2/2" in capsys.readouterr().out
    assert (run.id, run.folder) == (typed.name, in_tmp / "runs" / typed.name)
    assert run.metrics == read_record(typed)["metrics"]
    assert command_of(run.folder) == f"python -m convgrid run {' '.join(TINY)}"  # not the kernel's, or pytest's
    assert command_of(typed) == f"convgrid run {' '.join(TINY)}"
    assert run.history.index.tolist() == [1, 2]
    assert run.history["val/accuracy"].max() == run.metrics["best/val/accuracy"]
    assert repr(run).startswith(f"Run {run.id}: val/accuracy {run.metrics['best/val/accuracy']:.4g}, test/accuracy ")
    figure = run.plot()
    assert [axes.get_title() for axes in figure.axes] == ["loss", "val/accuracy"]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_quiet_run_shows_nothing(in_tmp: Path, capfd: pytest.CaptureFixture[str]) -> None:
    convgrid.train(TINY, quiet=True)
    assert capfd.readouterr() == ("", "")


def test_a_second_call_makes_a_second_run_and_resume_gives_the_first(in_tmp: Path) -> None:
    first, second = convgrid.train(TINY, quiet=True), convgrid.train(TINY, quiet=True)
    assert second.id == f"{first.id}-2"
    assert second.metrics == first.metrics
    assert convgrid.train([f"resume={first.id}"], quiet=True).folder == first.folder


def test_a_run_in_a_thread_is_the_same(in_tmp: Path) -> None:
    found: list[convgrid.Run] = []
    thread = threading.Thread(target=lambda: found.append(convgrid.train(TINY, quiet=True)))
    thread.start()
    thread.join()
    assert found[0].metrics == convgrid.train(TINY, quiet=True).metrics


def test_a_tracked_run_is_in_mlflow(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    fork_writers(monkeypatch.setattr)
    run = convgrid.train([*TINY[:-1], f"tracking.uri={store}"], quiet=True)
    stored = MlflowClient(tracking_uri=store).get_run(run.mlflow_id)
    assert stored.info.status == "FINISHED"
    assert stored.data.metrics["best/val/accuracy"] == run.metrics["best/val/accuracy"]


@pytest.mark.usefixtures("forked")
def test_options_of_ones_own_come_from_a_folder(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (in_tmp / "mine" / "activation").mkdir(parents=True)
    (in_tmp / "mine" / "my_bent.py").write_text("def bent(x, *, by=0.5):\n    return x.clamp(min=0) + by * x\n")
    (in_tmp / "mine" / "activation" / "bent.yaml").write_text("_target_: my_bent.bent\nby: 0.5\n")
    monkeypatch.syspath_prepend(str(in_tmp / "mine"))
    run = convgrid.train([*TINY, "activation=bent"], config_dir=in_tmp / "mine", quiet=True)
    assert run.model.names == list("0123456789")
    sweep = convgrid.multirun([*SWEPT[:-3], "activation=bent,relu", "sweep.workers=1"], config_dir="mine", quiet=True)
    assert sorted(sweep.frame["activation"].unique()) == ["bent", "relu"]
    with pytest.raises(convgrid.ConvgridError, match="--config-dir nowhere is not a folder"):
        convgrid.plan(config_dir="nowhere")


def interrupt_when(file: str) -> threading.Thread:
    """Ctrl-C once a file has three lines: the first epochs import what the process has not had yet."""

    def wait() -> None:
        while not any(path.read_text().count("\n") > 2 for path in Path().glob(file)):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_an_interrupted_run_goes_on(in_tmp: Path) -> None:
    words = [*TINY, "trainer.max_epochs=50"]
    before = signal.getsignal(signal.SIGINT)
    thread = interrupt_when("runs/*/metrics.jsonl")
    with pytest.raises(convgrid.Interrupted) as stopped:
        convgrid.train(words, quiet=True)
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    (folder,) = Path("runs").iterdir()
    assert read_record(folder)["status"] == "killed"
    going_on = f'convgrid.train(["resume=runs/{folder.name}"])'
    assert str(stopped.value).endswith(f"To go on: {going_on}")
    assert stopped.value._render_traceback_() == [str(stopped.value)]
    run = convgrid.train([f"resume=runs/{folder.name}"], quiet=True)
    assert run.history.index.tolist() == list(range(1, 51))
    assert run.metrics == convgrid.train(words, quiet=True).metrics


# --- a sweep


@pytest.mark.usefixtures("forked")
def test_a_sweep_is_the_commands_bit_for_bit(swept: convgrid.Sweep, in_tmp: Path) -> None:
    command("-m", *SWEPT)
    (typed,) = Path("sweeps").iterdir()
    assert typed.name == swept.id
    for trial in Path("runs").iterdir():
        assert read_record(trial)["metrics"] == read_record(swept.folder.parents[1] / trial)["metrics"]
    there = swept.frame.drop(columns=["seconds", "tag.command"])
    here = compare.load(swept.id).frame.drop(columns=["seconds", "tag.command"])
    pd.testing.assert_frame_equal(there.sort_index(), here.sort_index())


def test_a_sweep_gives_the_answer_the_report_and_the_best(swept: convgrid.Sweep) -> None:
    with contextlib.chdir(swept.folder.parents[1]):
        assert swept.answer == compare.answer(compare.load(swept.id))
    assert repr(swept) == f"Sweep {swept.id}: {swept.answer.sentence}"
    assert swept.best.id in swept.answer.settings[0].trials
    assert swept.best.metrics["best/val/accuracy"] == swept.frame["best/val/accuracy"].max()
    assert swept.report == swept.folder / "report" / "report.html"
    assert swept.report.read_text().startswith("<!")
    stored = json.loads((swept.folder / "sweep.json").read_text())
    assert stored["command"] == f"python -m convgrid run -m {' '.join(SWEPT)}"
    assert {*map(command_of, swept.folder.parents[1].glob("runs/*"))} == {stored["command"]}


@pytest.mark.usefixtures("forked")
def test_runs_of_a_sweep_are_named_by_what_varies_most_first(in_tmp: Path) -> None:
    words = ["arch.n=1,2", "optimizer.lr=0.1,0.2,0.3", "sweep.where=arch.n==1 or optimizer.lr == 0.1", "sweep.seeds=2"]
    convgrid.multirun([*SWEPT[:-3], *words, "trainer.max_epochs=1", "sweep.workers=2"], quiet=True)
    names = sorted(read_record(trial)["name"] for trial in Path("runs").iterdir())
    assert names == [f"seed {seed} lr={lr}" for seed in (0, 1) for lr in ("0.1 n1", "0.1 n2", "0.2 n1", "0.3 n1")]


@pytest.mark.usefixtures("forked")
def test_an_interrupted_sweep_goes_on_with_the_same_call(in_tmp: Path) -> None:
    words = [*(word for word in SWEPT if "max_epochs" not in word), "trainer.max_epochs=60"]
    thread = interrupt_when("runs/*/metrics.jsonl")
    with pytest.raises(convgrid.Interrupted) as stopped:
        convgrid.multirun(words, quiet=True)
    thread.join()
    assert str(stopped.value) == "Stopped. To go on: the same call again."
    again = convgrid.multirun(words, quiet=True)
    assert [*again.frame["status"]] == ["finished"] * 2
    assert [*again.frame["epochs"]] == [60] * 2


SCRIPT = f"""
import multiprocessing, os, threading
import convgrid
def state():
    alive = threading.enumerate(), multiprocessing.active_children()
    return {{**os.environ}}, alive, multiprocessing.get_start_method(allow_none=True)
before = state()
sweep = convgrid.multirun({SWEPT!r})
print("as before" if state() == before else "changed")
print("best", sweep.best.metrics["best/val/accuracy"])
"""


def test_a_program_without_a_main_guard_that_sweeps_in_a_thread_is_run_once(
    in_tmp: Path, swept: convgrid.Sweep
) -> None:
    lines = "".join(f"    {line}\n" for line in SCRIPT.splitlines())
    (in_tmp / "sweep.py").write_text(
        f"import threading\ndef work():\n{lines}\nthread = threading.Thread(target=work)\nthread.start()\nthread.join()"
    )
    argv = [sys.executable, "sweep.py"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2] == "as before"
    assert done.stdout.splitlines()[-1] == f"best {swept.best.metrics['best/val/accuracy']}"
    assert done.stdout.count("is best: ") == 1


# --- a model


def test_files_and_arrays_are_predicted_as_by_the_command(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = np.arange(40) % 2
    run = convgrid.train([*write_arrays(in_tmp / "own.npz", targets), *TINY[1:]], quiet=True)
    images = np.load("own.npz")["images"][:3]
    Path("photos").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(f"photos/{number}.png")
    said = convgrid.load("last").predict("photos")
    capsys.readouterr()
    assert main(["predict", run.id, "photos", "--csv"]) == 0
    typed = pd.read_csv(io.StringIO(capsys.readouterr().out), index_col="file", dtype={"class": str})
    pd.testing.assert_frame_equal(said, typed)
    assert said.columns.tolist() == ["class", "probability_0", "probability_1"]
    first = convgrid.load(run.folder / "best.ckpt").predict(["photos/0.png"])
    pd.testing.assert_frame_equal(first, said.iloc[:1], atol=1e-6)
    for arrays in (images, images.transpose(0, 2, 3, 1)):
        assert run.model.predict(arrays).to_numpy().tolist() == said.to_numpy().tolist()
    assert run.model.predict(images[0]).shape == (1, 3)
    assert f"data=arrays own.npz: {'x'.join(map(str, PHOTOS))} -> 0, 1" in repr(run.model)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 9, 9), np.uint8), r"images is uint8 of shape \[2, 9, 9\]. The model takes uint8 of shape"),
        (np.zeros((2, 8, 8), np.float32), "images is float32 of shape"),
        (np.zeros((1, 2, 1, 8, 8), np.uint8), "images is uint8 of shape"),
    ],
)
def test_other_images_are_refused(trained_digits: Path, images: object, message: str) -> None:
    with pytest.raises(convgrid.ConvgridError, match=message):
        convgrid.load(trained_digits).predict(images)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("shape", [(8, 8), (5, 8, 8), (5, 8, 8, 1), (5, 1, 8, 8)])
def test_grey_images_need_no_channel(trained_digits: Path, shape: tuple[int, ...]) -> None:
    model = convgrid.load(trained_digits)
    images = np.random.default_rng(0).integers(0, 17, shape, dtype=np.uint8)
    count = 1 if len(shape) == 2 else 5
    direct = model.predict(images.reshape(count, 1, 8, 8))
    pd.testing.assert_frame_equal(model.predict(images), direct)


# --- the process


def state() -> dict[str, object]:
    """All of the process that convgrid, torch, Lightning or Hydra could change, and somebody else could miss."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in sorted(logging.root.manager.loggerDict))]
    return {
        "threads": torch.get_num_threads(),
        "alive": threading.enumerate(),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "warnings": [*warnings.filters],
        "folder": os.getcwd(),
        "logging": [(logger.name, logger.level, [*logger.handlers], logger.disabled) for logger in loggers],
        "words": [*sys.argv],
        "paths": [*sys.path],
        "environment": {**os.environ},
        "torch": torch.default_generator.get_state().tolist(),
        "defaults": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_anomaly_enabled()),
        "numpy": str(np.random.get_state()),  # noqa: NPY002  (what others draw from)
        "random": random.getstate(),
        "collector": (gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "streams": (sys.stdout, sys.stderr, sys.excepthook, sys.displayhook),
        "children": multiprocessing.active_children(),
    }


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("call", "words", "error"),
    [
        (convgrid.plan, ["arch.n=2"], None),
        (convgrid.train, [*TINY[:-1], "tracking.uri=sqlite:///mlflow.db"], None),  # into the store that is there
        (convgrid.train, [*TINY, "optimizer=sgd", "optimizer.lr=1e30"], convgrid.ConvgridError),
        (convgrid.train, [*TINY, "optimizer.lr=-1"], convgrid.ConvgridError),
        (convgrid.train, [*TINY, "trainer.detect_anomaly=true", "trainer.threads=2"], None),
        (convgrid.multirun, [*SWEPT, "optimizer=sgd", "optimizer.lr=0.1,1e30"], None),  # the second diverges
        (convgrid.multirun, [*SWEPT, "arch.m=6"], convgrid.ConvgridError),
    ],
)
def test_the_process_is_as_before(
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[..., object],
    words: list[str],
    error: type[Exception] | None,
) -> None:
    """Less a fork server: what that could change, the program without a main guard looks at."""
    fork_writers(monkeypatch.setattr)
    tracking = [word for word in words if word.startswith("tracking.uri=")] or ["tracking=none"]
    convgrid.train([*TINY[:-1], "trainer=debug", *tracking], quiet=True)  # what is imported, and registered once
    gc.unfreeze()  # what pytest's start and commands of other tests have frozen
    before = state()
    with pytest.raises(error) if error else contextlib.nullcontext():
        call(words)
    after = state()
    gc.freeze()
    assert {name: value for name, value in after.items() if value != before[name]} == {}


def test_written_is_text_and_html() -> None:
    written = Written(lambda console: console.print("[bold]a < b[/bold]"))
    assert repr(written) == "a < b"
    assert '<span style="font-weight: bold">a &lt; b</span>' in written._repr_html_()

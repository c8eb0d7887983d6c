"""A finished run goes on to more epochs in a folder of its own, or says why it cannot."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from conftest import compose_settings
from convgrid.cli.main import main
from convgrid.config import Settings
from convgrid.errors import TrainingError
from convgrid.runs.trial import Outcome, TrialFolder, create, is_finished, lock, read_epochs, read_record
from convgrid.schedules import Progress, constant, cosine, one_cycle, reduce_on_plateau, step
from convgrid.training.longer import check_longer
from convgrid.training.trial import run

SMALL = (
    "data.limit=96", "arch.filters=2", "arch.hidden=4", "arch.m=1", "layer/dropout=plain", "layer/norm=batch",
    "augment=keras_blog", "optimizer=nadam", "tracking=none", "trainer=cpu",
)  # fmt: skip


def train(epochs: int, *more: str) -> Path:
    return run(compose_settings(*SMALL, f"trainer.max_epochs={epochs}", *more), Console(file=io.StringIO()))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_longer_run_is_bit_identical_to_one_that_was_as_long_from_the_start(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = train(2)
    before = contents(short)
    assert main(["run", f"resume={short.name}", "trainer.max_epochs=4"]) == 0
    (longer,) = {*Path("runs").iterdir()} - {short}
    assert contents(short) == before
    lock_of_short = lock(short)
    assert lock_of_short is not None
    lock_of_short.lock.release()
    whole = train(4)
    assert whole.name == f"{longer.name}-2"  # its config is that of a run of 4 epochs
    assert [epoch["metrics"] for epoch in read_epochs(longer)] == [epoch["metrics"] for epoch in read_epochs(whole)]
    assert read_record(longer)["metrics"] == read_record(whole)["metrics"]
    assert read_record(longer)["tags"]["convgrid.continues"] == short.name
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = (torch.load(folder / name, weights_only=True)["state_dict"] for folder in (longer, whole))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    capsys.readouterr()
    assert main(["run", f"resume={longer.name}"]) == 0  # which has the 4 epochs
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"runs/{longer.name} has finished")
    assert said[-1] == f"For more epochs, as a new run: python run.py resume={longer.name} trainer.max_epochs=8"
    assert main(["run", f"resume={short.name}", "trainer.max_epochs=1"]) == 1
    assert "a finished run to more epochs. Leave out trainer.max_epochs=1 (it was 2)" in capsys.readouterr().err
    (short / "last.ckpt").unlink()
    assert main(["run", f"resume={short.name}", "trainer.max_epochs=5"]) == 1
    assert capsys.readouterr().err.strip() == (
        f"TrainingError: resume={short.name} trainer.max_epochs=5: runs/{short.name} has no last.ckpt to go on from "
        "(it was removed). Start a new run from its weights instead, with "
        f"arch.weights={short.name}."
    )
    assert len(list(Path("runs").iterdir())) == 3


def finished(folder: TrialFolder, epochs: int, metric: str = "val/accuracy", mode: str = "max") -> Path:
    """What a training of some epochs leaves, by hand; from the third on nothing gets better."""
    values = [0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3][:epochs]
    history = [{metric: value if mode == "max" else 1 - value} for value in values]
    state = {"state_dict": {}, "history": history, "confusions": {}, "examples": {}}
    torch.save({**state, "steps_done": 3 * epochs}, folder.path / "last.ckpt")
    folder.end(Outcome("finished"))
    folder.update(objective=[metric, mode])
    folder.lock.release()
    return folder.path


@pytest.fixture
def short(in_tmp: Path) -> Callable[..., Path]:
    def make(epochs: int, *overrides: str, **known: str) -> Path:
        return finished(create("abc", compose_settings("trainer.max_epochs=8", *overrides)), epochs, **known)

    return make


def longer(*overrides: str) -> Settings:
    return compose_settings("trainer.max_epochs=16", "resume=abc", *overrides)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_schedules_that_do_not_go_by_the_number_of_epochs_may_go_on(short: Callable[..., Path], mode: str) -> None:
    path = short(8, mode=mode)
    assert is_finished(read_record(path))

    def at_the_end_of_a_long_one(progress: Progress) -> float:
        return 1.0 if progress.step < 24 else 1 / progress.max_epochs

    for schedule in (constant, step, reduce_on_plateau, at_the_end_of_a_long_one):
        check_longer(path, longer(), schedule)


def test_reduce_on_plateau_sees_the_history_of_each_epoch(short: Callable[..., Path]) -> None:
    seen: list[tuple[int, tuple[float, ...]]] = []

    def note(progress: Progress) -> float:
        seen.append((progress.step, tuple(progress.history)))
        return 1.0

    check_longer(short(8), longer(), note)
    assert (6, (-0.1, -0.2)) in seen
    assert {step for step, _ in seen} == set(range(24))


@pytest.mark.parametrize("schedule", [cosine, one_cycle])
def test_a_schedule_by_the_number_of_epochs_offers_the_weights(
    short: Callable[..., Path], schedule: Callable[[Progress], float]
) -> None:
    path = short(8, f"schedule={schedule.__name__}")
    with pytest.raises(TrainingError) as error:
        check_longer(path, longer(f"schedule={schedule.__name__}"), schedule)
    assert str(error.value) == (
        f"resume=abc trainer.max_epochs=16: schedule={schedule.__name__} goes by the number of epochs, so that "
        "runs/abc was trained with other learning rates than a run of 16 epochs has. "
        "Start a new run from its weights instead, with arch.weights=abc."
    )


def test_what_patience_ended_would_end_again(short: Callable[..., Path]) -> None:
    path = short(5, "trainer.patience=2")
    with pytest.raises(TrainingError, match=r"trainer\.patience=2 ended runs/abc after epoch 5\. Start a new run"):
        check_longer(path, longer("trainer.patience=2"), constant)


def test_a_damaged_state_is_named(short: Callable[..., Path]) -> None:
    path = short(8)
    (path / "last.ckpt").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"abc/last\.ckpt cannot be read: it is empty\. Start a new run from its"):
        check_longer(path, longer(), constant)

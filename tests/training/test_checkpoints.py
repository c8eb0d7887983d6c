"""A state that is torn, damaged or lost is found out before a training goes on from it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from convgrid.errors import TrainingError
from convgrid.runs.trial import BEST, LAST
from convgrid.training import checkpoints
from convgrid.training.checkpoints import PREVIOUS, Keep, settle

Damage = Callable[[Path], object]


def zero(file: Path) -> None:
    """As a disk leaves pages that it never got."""
    content = file.read_bytes()
    file.write_bytes(content[:3000] + b"\0" * 4096 + content[7096:])


DAMAGES: dict[str, Damage] = {
    "empty": lambda file: file.write_bytes(b""),
    "torn": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "zeros": zero,
    "another program's": lambda file: torch.save({"epoch": 3}, file),
    "text": lambda file: file.write_text("no checkpoint"),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


class Trainer:
    """Writes what Lightning's would of a training that has come so far."""

    history: list[dict[str, float]]

    def save_checkpoint(self, file: Path) -> None:
        weights = {"w": torch.full((3000,), float(len(self.history)))}
        rest = {"confusions": {}, "examples": {}, "layout": checkpoints.LAYOUT}
        torch.save({"state_dict": weights, "history": self.history, **rest}, file)


def trained(folder: Path, *accuracies: float) -> None:
    """A training that has come to the end of so many epochs."""
    trainer = Trainer()
    keep = Keep(folder, "val/accuracy", "max", lambda: trainer.history)
    for epoch in range(1, len(accuracies) + 1):
        trainer.history = [{"val/accuracy": value} for value in accuracies[:epoch]]
        keep.on_train_epoch_end(trainer, None)  # pyright: ignore[reportArgumentType]


def settled(folder: Path, **more: Any) -> str:
    return settle(folder, "val/accuracy", "max", **{"start_over": True, **more})


def epochs(file: Path) -> int:
    return len(torch.load(file, weights_only=True)["history"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs so long that the disk is waited for after each."""
    monkeypatch.setattr(checkpoints, "sync_is_due", lambda _: True)


def test_a_training_that_is_whole_goes_on_as_it_is(tmp_path: Path) -> None:
    assert settled(tmp_path) == ""
    trained(tmp_path, 0.1, 0.3, 0.2)
    assert settled(tmp_path) == ""
    assert (epochs(tmp_path / LAST), epochs(tmp_path / BEST)) == (3, 2)
    assert names(tmp_path) == [BEST, LAST, PREVIOUS]


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_last_state_is_told_and_the_one_before_is_taken(damage: str, tmp_path: Path) -> None:
    trained(tmp_path, 0.1, 0.3, 0.2)
    DAMAGES[damage](tmp_path / LAST)
    told = settled(tmp_path)
    assert told.startswith(f"{tmp_path / LAST} cannot be read: ")
    assert told.endswith(". It goes on after epoch 2.")
    assert epochs(tmp_path / LAST) == epochs(tmp_path / BEST) == 2


@pytest.mark.usefixtures("slow")
def test_a_state_that_was_lost_between_two_names_is_the_one_before(tmp_path: Path) -> None:
    trained(tmp_path, 0.1, 0.3)
    (tmp_path / LAST).unlink()
    assert settled(tmp_path) == ""
    assert epochs(tmp_path / LAST) == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_no_state_is_whole_the_training_starts_over(damage: str, tmp_path: Path) -> None:
    trained(tmp_path, 0.1, 0.3, 0.2)
    for name in (LAST, PREVIOUS):
        DAMAGES[damage](tmp_path / name)
    assert settled(tmp_path).endswith(". The training starts over.")
    assert names(tmp_path) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_best_weights_are_taken_from_a_state_that_has_them(damage: str, tmp_path: Path) -> None:
    trained(tmp_path, 0.1, 0.3)
    DAMAGES[damage](tmp_path / BEST)
    if (tmp_path / BEST).is_dir():
        (tmp_path / BEST).rmdir()
    assert settled(tmp_path) == ""
    assert epochs(tmp_path / BEST) == 2


@pytest.mark.usefixtures("slow")
def test_best_weights_that_no_state_has_are_trained_again(tmp_path: Path) -> None:
    trained(tmp_path, 0.1, 0.3, 0.2)
    (tmp_path / BEST).write_bytes(b"")
    told = settled(tmp_path)
    assert told == f"{tmp_path / BEST} cannot be read: it is empty. It goes on after epoch 2."
    assert epochs(tmp_path / BEST) == 2
    trained(tmp_path, 0.3, 0.2, 0.1)
    (tmp_path / BEST).unlink()
    assert settled(tmp_path).endswith("best.ckpt is missing. The training starts over.")


def test_a_state_of_an_earlier_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    trained(tmp_path, 0.1)
    state = torch.load(tmp_path / LAST, weights_only=True)
    torch.save({**state, "layout": 2}, tmp_path / LAST)
    with pytest.raises(TrainingError, match=r"last\.ckpt cannot be read: it is of an earlier version.* Remove it"):
        settled(tmp_path, start_over=False)
    assert settled(tmp_path, start_over=True).endswith("The training starts over.")


@pytest.mark.parametrize("waited", [{1}, {2}, {1, 3}])
@pytest.mark.parametrize("order", ["1234", "4321", "2143", "2134", "3142"])
def test_a_power_cut_leaves_a_state_with_its_best_weights(
    order: str, waited: set[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was never waited for is lost: its name is there, its content is not."""
    accuracies, safe = [int(digit) / 10 for digit in order], set[int]()
    monkeypatch.setattr(os, "fsync", lambda handle: safe.add(os.fstat(handle).st_ino))
    for count in range(min(waited), len(accuracies) + 1):
        folder = tmp_path / str(count)
        folder.mkdir()
        safe.clear()
        due = iter(range(1, 5))
        monkeypatch.setattr(checkpoints, "sync_is_due", lambda _, due=due: next(due) in waited)
        trained(folder, *accuracies[:count])
        for file in folder.iterdir():
            if file.stat().st_ino not in safe:
                file.write_bytes(b"")
        assert not settled(folder).endswith("starts over."), count
        history = [{"val/accuracy": value} for value in accuracies[: epochs(folder / LAST)]]
        best = max(range(len(history)), key=lambda epoch: history[epoch]["val/accuracy"]) + 1
        assert epochs(folder / BEST) >= best
        shutil.rmtree(folder)

"""Which weights a sweep keeps: of the best settings, by their means, as its answer ranks them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from convgrid.config import Settings, architecture
from convgrid.network.plan import plan
from convgrid.sweep.interfaces import Outcome, Trial
from convgrid.sweep.retention import Retention

Ended = Callable[..., Outcome]


class Kept:
    """Trials that end, each with weights in a folder of its own."""

    def __init__(self, settings: Settings, folder: Path, keep: int | None) -> None:
        self.settings, self.folder = settings, folder
        self.plan = plan(architecture(settings), (1, 8, 8), 10)
        self.checkpoints = Retention(keep, "val/accuracy", "max")

    def end(self, n: int, seed: int, accuracy: float, *, status: str = "finished", removable: bool = True) -> None:
        folder = self.folder / f"n{n}s{seed}"
        folder.mkdir()
        (folder / "best.ckpt").touch()
        trial = Trial((), self.settings, self.plan, "", "", {"arch.n": str(n), "seed": str(seed)})
        metrics = {"best/val/accuracy": accuracy}
        self.checkpoints.ended(
            trial,
            Outcome(status, metrics=metrics, folder=str(folder)),  # pyright: ignore[reportArgumentType]
            removable=removable,
        )

    @property
    def left(self) -> list[str]:
        return sorted(path.parent.name for path in self.folder.glob("*/best.ckpt"))


@pytest.fixture
def sweep(settings: Callable[..., Settings], tmp_path: Path) -> Callable[..., Kept]:
    return lambda keep: Kept(settings(), tmp_path, keep)


def test_the_winner_is_the_best_trial_of_the_setting_with_the_best_mean(sweep: Callable[..., Kept]) -> None:
    kept = sweep(1)
    for n, seed, accuracy in ((1, 0, 0.99), (1, 1, 0.80), (2, 0, 0.93), (2, 1, 0.95), (3, 0, 0.5)):
        kept.end(n, seed, accuracy)
    assert kept.left == ["n1s0", "n2s1", "n3s0"]  # the best of each setting, until all are in
    winner = kept.checkpoints.close()
    assert winner is not None
    assert Path(winner.folder).name == "n2s1"
    assert kept.left == ["n2s1"]


def test_a_setting_that_starts_badly_may_still_win(sweep: Callable[..., Kept]) -> None:
    """By its first seed it is the last of nine, as many as keep their weights until the end."""
    kept = sweep(1)
    for n in range(8):
        kept.end(n, 0, 0.90 + n / 1000)
    kept.end(9, 0, 0.89)
    kept.end(9, 1, 1.0)
    winner = kept.checkpoints.close()
    assert winner is not None
    assert Path(winner.folder).name == "n9s1"


def test_the_disk_never_holds_the_weights_of_many_settings(sweep: Callable[..., Kept]) -> None:
    kept = sweep(2)
    for n in range(50):
        kept.end(n, 0, n / 100)
    assert len(kept.left) == 10
    kept.checkpoints.close()
    assert kept.left == ["n48s0", "n49s0"]


def test_none_keeps_nothing_all_keeps_everything(sweep: Callable[..., Kept]) -> None:
    for keep, left in ((0, []), (None, ["n1s0", "n2s0", "n2s1"])):
        kept = sweep(keep)
        kept.end(1, 0, 0.9)
        kept.end(2, 0, 0.8)
        kept.end(2, 1, 0.7)
        kept.checkpoints.close()
        assert kept.left == left
        for path in kept.folder.iterdir():
            (path / "best.ckpt").unlink(missing_ok=True)
            path.rmdir()


def test_pruned_trials_keep_nothing_and_single_runs_what_they_have(sweep: Callable[..., Kept]) -> None:
    kept = sweep(1)
    kept.end(1, 0, 0.9)
    kept.end(2, 0, 0.99, status="pruned")
    kept.end(3, 0, 0.5, removable=False)
    kept.checkpoints.close()
    assert kept.left == ["n1s0", "n3s0"]

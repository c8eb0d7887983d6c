"""Which weights a sweep keeps: of the best settings, by their means, as its answer ranks them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from convgrid.config import Settings, architecture
from convgrid.network.plan import plan
from convgrid.runs.sweep import SweepFolder
from convgrid.runs.weights import held
from convgrid.sweep.interfaces import Outcome, Trial
from convgrid.sweep.retention import Retention
from convgrid.sweep.sources import GridSource, NotedSource
from sweep_folders import make_sweep

KNOWN = {"command": "run.py -m", "objective": ["val/accuracy", "max"], "varying": {}, "skipped": {}}

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


def test_the_winner_of_another_sweep_stays(
    sweep: Callable[..., Kept], in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `sweep.seeds=2`, then `4` leave it: the better trial of two is not that of four."""
    kept = sweep(1)
    make_sweep(Path("sweeps"), "0a", ["n1s0", "n1s1"], status="finished", winner="n1s0")
    (make_sweep(Path("sweeps"), "0b", []) / "sweep.json").write_text("{")
    for seed, accuracy in enumerate((0.8, 0.7, 0.9)):
        kept.end(1, seed, accuracy)
    assert kept.left == ["n1s0", "n1s2"]
    make_sweep(Path("sweeps"), "0c", ["n1s2"], status="finished", winner="n1s2")  # meanwhile, by another process
    kept.end(1, 3, 0.95)
    assert kept.left == ["n1s0", "n1s2", "n1s3"]
    assert "sweeps/0b/sweep.json cannot be read" in capsys.readouterr().err


def test_weights_that_a_command_reads_stay(sweep: Callable[..., Kept]) -> None:
    kept = sweep(1)
    kept.end(1, 0, 0.7)
    kept.end(2, 0, 0.6)
    with held(kept.folder / "n1s0"), held(kept.folder / "n1s0"):  # two commands at a time
        kept.end(1, 1, 0.8)
    kept.end(2, 1, 0.65)
    assert kept.left == ["n1s0", "n1s1", "n2s1"]
    with held(kept.folder / "gone"):  # the command itself says that there is nothing
        pass


@pytest.mark.parametrize(("trained_by", "left"), [("0a", True), (None, True), ("0b", False)])
def test_a_sweep_removes_weights_of_trials_that_it_trained_itself(
    trained_by: str | None, left: bool, sweep: Callable[..., Kept], in_tmp: Path
) -> None:
    kept = sweep(0)
    folder = in_tmp / "runs" / "abc"
    folder.mkdir(parents=True)
    (folder / "best.ckpt").touch()
    (folder / "run.json").write_text(json.dumps({"status": "running"} | ({"sweep": trained_by} if trained_by else {})))
    noted = NotedSource(GridSource([]), SweepFolder("0b", (), KNOWN), kept.checkpoints, lambda: None)
    trial = Trial((), kept.settings, kept.plan, "", "", {"arch.n": "1"})
    noted.ended(trial, Outcome("finished", metrics={"best/val/accuracy": 0.5}, folder="runs/abc"))
    assert (folder / "best.ckpt").exists() == left


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

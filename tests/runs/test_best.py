"""One notion of what is best: every place that names the best of a sweep names the same setting."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from convgrid.cli.sweeps import show_sweeps
from convgrid.compare import answer, load
from convgrid.runs.best import Results
from convgrid.runs.find import find_run
from convgrid.runs.sweep import read_sweep, standing
from convgrid.sweep.interfaces import Outcome, Survey, Trial
from convgrid.sweep.retention import Retention
from convgrid.sweep.view import SweepProgress
from convgrid.tracking.run_contents import wanted_of_sweep
from sweep_folders import finish, make_sweep, make_trial

RUNS, SWEEPS = Path("runs"), Path("sweeps")
# By width, seed and fold; the luckiest trial is of the setting that is worst on the mean, and is of fold 1 twice.
RESULTS = {
    ("1", "0", "[1,2]"): 0.99, ("1", "1", "[1,2]"): 0.97, ("1", "0", "[2,2]"): 0.60,
    ("2", "0", "[1,2]"): 0.84, ("2", "0", "[2,2]"): 0.82, ("3", "0", "[1,2]"): 0.80, ("3", "0", "[2,2]"): 0.81,
}  # fmt: skip
VARYING = {"arch.n": ["1", "2", "3"], "seed": ["0", "1"], "fold": ["[1,2]", "[2,2]"]}


@pytest.fixture
def outcomes(in_tmp: Path) -> dict[str, Outcome]:
    found = {}
    for number, ((n, seed, fold), value) in enumerate(RESULTS.items()):
        params = {"arch.n": n, "seed": seed, "fold": fold, "plan.multiply_adds": "10", "plan.parameters": "5"}
        folder = make_trial(RUNS, f"t{number}", epochs=2, params=params)
        finish(folder, accuracy=value)
        (folder / "best.ckpt").write_text("weights")
        found[folder.name] = Outcome("finished", metrics={"best/val/accuracy": value}, folder=str(folder))
    make_sweep(SWEEPS, "0a", [*found], varying=VARYING)
    return found


def trial(n: str, seed: str, fold: str) -> Trial:
    plan = cast(Any, SimpleNamespace(multiply_adds=10, activation_bytes=0))
    return Trial((), cast(Any, None), plan, f"{n} {seed} {fold}", "", {"arch.n": n, "seed": seed, "fold": fold})


def test_the_best_is_the_same_everywhere(outcomes: dict[str, Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = read_sweep(SWEEPS / "0a")
    of_answer = answer(load("0a")).settings[0]
    assert (of_answer.values, of_answer.mean) == ({"arch.n": 2}, pytest.approx(0.83))
    now = standing(sweep)
    assert (now.setting, now.mean, now.runs) == ({"arch.n": "2"}, pytest.approx(0.83), 2)
    assert find_run("0a").name == "t3"  # its better trial
    printed = io.StringIO()
    show_sweeps(Console(file=printed, width=200))
    assert "  best      val/accuracy 0.83 (mean of 2)  arch.n=2\n" in printed.getvalue()
    assert wanted_of_sweep(SWEEPS / "0a", sweep, is_new=True).totals["best/val/accuracy"] == pytest.approx(0.83)
    monkeypatch.setattr(Trial, "cost", 1, raising=False)
    progress, kept = SweepProgress(Survey(7, ()), "val/accuracy", "max"), Retention(1, "val/accuracy", "max")
    for values, outcome in zip(RESULTS, outcomes.values(), strict=True):
        progress.ended(0, trial(*values), outcome)
        kept.ended(trial(*values), outcome, removable=True)
    assert progress.best == ("arch.n=2", pytest.approx(0.83), 2)
    winner = kept.close()
    assert winner is not None
    assert winner.folder == "runs/t3"


def test_of_equals_the_cheaper_setting_is_best_and_less_may_be_better() -> None:
    results = Results("min")
    for n, cost in (("1", 30.0), ("2", 20.0), ("3", 10.0)):
        results.add({"arch.n": n, "seed": "0"}, 0.5 + (n == "3"), cost)
    assert results.best() == (("arch.n", "2"),)


def test_before_a_trial_has_finished_there_is_no_best(in_tmp: Path) -> None:
    make_sweep(SWEEPS, "0a", [None], varying=VARYING)
    now = standing(read_sweep(SWEEPS / "0a"))
    assert (now.best, now.runs) == (None, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.7976931348623157e308])
def test_what_is_no_number_is_not_best(outcomes: dict[str, Outcome], value: float) -> None:
    finish(RUNS / "t5", accuracy=value)
    now = standing(read_sweep(SWEEPS / "0a"))
    assert (now.setting, now.mean) == ({"arch.n": "2"}, pytest.approx(0.83))

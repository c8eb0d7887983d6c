"""A race as a sweep runs it: what is asked for, what is planned and refused, and that a race cut off goes on alike."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

from convgrid.cli.main import main
from convgrid.compare.racing import RaceRules
from convgrid.config import Settings
from convgrid.network.plan import Plan
from convgrid.sweep.interfaces import WAIT, Outcome, Survey, Trial
from convgrid.sweep.race import Look, RaceSource
from convgrid.sweep.view import SweepProgress, screen

NAMES = ("a", "b", "c", "d")
LADDER = (0.922, 0.93, 0.928, 0.70)


class Numbered:
    """Settings of which only the seed is asked for."""

    def __init__(self, seed: int) -> None:
        self.seed, self.trainer = seed, type("Trainer", (), {"max_epochs": 1})


def survey(names: Sequence[str] = NAMES, seeds: int = 20, finished: frozenset[str] = frozenset()) -> Survey:
    small = cast(Plan, type("Plan", (), {"multiply_adds": 1}))
    trials = [
        Trial((), cast(Settings, Numbered(seed)), small, f"{name}{seed}", "", {"optimizer": name, "seed": str(seed)})
        for seed in range(seeds)  # not in the order of the settings
        for name in names
    ]
    return Survey(len(trials), tuple(trials), finished=finished)


def results(means: Sequence[float], spread: float = 0.003) -> dict[str, float]:
    generator = np.random.default_rng(1)
    return {
        f"{name}{seed}": mean + spread * generator.standard_normal()
        for name, mean in zip(NAMES, means, strict=True)
        for seed in range(20)
    }


def source(looks: list[Look], rules: RaceRules | None = None, **known: Any) -> RaceSource:
    return RaceSource(survey(**known), rules or RaceRules(4, 0.001, 20, None), "val/accuracy", "max", looks.append)


def finished(value: float) -> Outcome:
    return Outcome("finished", metrics={"best/val/accuracy": value})


def train(race: RaceSource, values: Mapping[str, float], *, workers: int = 3, most: int | None = None) -> list[str]:
    """Stand in for the scheduler: so many at once, ended in any order; the keys that were trained, up to so many."""
    running: list[Trial] = []
    ended: list[str] = []
    generator = np.random.default_rng(7)
    while len(ended) != most:
        trial = race.next() if len(running) < workers else WAIT
        if isinstance(trial, Trial):
            running.append(trial)
        elif running:
            done = running.pop(int(generator.integers(len(running))))
            race.ended(done, finished(values[done.key]))
            ended.append(done.key)
        else:
            assert trial is None
            break
    return ended


def test_seeds_go_where_the_answer_is_open() -> None:
    looks: list[Look] = []
    race = source(looks)
    trained = train(race, results(LADDER))
    counts = {name: sum(key[0] == name for key in trained) for name in NAMES}
    assert counts["d"] == 3 < counts["a"] <= counts["c"] <= counts["b"] <= 20
    assert race.leader == (("optimizer", "b"),)
    assert race.asked == len(trained) == len(set(trained)) == sum(counts.values())
    assert [look.seeds for look in looks] == [3, 5, 8, 13, 20]
    assert looks[0].settings == len(looks[0].left) == 4
    assert (("optimizer", "d"),) not in looks[1].left
    assert [look.asked for look in looks][-1] == len(trained)


def test_a_look_waits_for_its_last_trial() -> None:
    race = source([])
    first = [race.next() for _ in range(12)]
    assert all(isinstance(trial, Trial) for trial in first)
    assert race.next() == WAIT
    values = results(LADDER)
    for trial in first[:-1]:
        assert isinstance(trial, Trial)
        race.ended(trial, finished(values[trial.key]))
        assert race.next() == WAIT
    assert race.leader is None


def test_a_trial_that_was_killed_is_still_to_come_and_one_that_failed_is_not() -> None:
    race = source([])
    trials = [trial for _ in range(12) if isinstance(trial := race.next(), Trial)]
    race.ended(trials[0], Outcome("killed"))
    for trial in trials[1:]:
        race.ended(
            trial, Outcome("failed") if trial.varying["optimizer"] == "b" else finished(results(LADDER)[trial.key])
        )
    assert race.next() == WAIT
    race.ended(trials[0], finished(results(LADDER)[trials[0].key]))
    following = race.next()
    assert isinstance(following, Trial)
    assert following.varying["optimizer"] != "b"


@pytest.mark.parametrize("moment", [0, 5, 12, 13, 17])
def test_a_race_that_was_cut_off_goes_on_and_decides_the_same(moment: int) -> None:
    values, undisturbed = results(LADDER), source([])
    whole = train(undisturbed, values)
    before = train(source([]), values, workers=2, most=moment)
    assert len(before) == moment < len(whole)
    again = source([], finished=frozenset(before))  # an earlier result is handed out at once
    after = train(again, values, workers=4)
    assert sorted(after) == sorted(whole)
    assert again.leader == undisturbed.leader
    assert again._race == undisturbed._race


def test_the_view_counts_a_race_look_by_look_and_names_who_is_in() -> None:
    progress = SweepProgress(Survey(0, ()), "val/accuracy", "max")
    looks: list[Look] = []
    values, race = results(LADDER), source(looks, finished=frozenset({"a0"}))
    totals, lines = [], [""]

    def drawn() -> Iterator[str]:
        console = Console(width=100, file=io.StringIO(), record=True)
        console.print(screen(progress, console))
        yield from console.export_text().splitlines()

    while (trial := race.next()) is not None:
        assert isinstance(trial, Trial)
        if looks and progress.race is not looks[-1]:
            progress.look(looks[-1])
            totals.append((progress.done, progress.total))
            lines = [*drawn()]
        race.ended(trial, finished(values[trial.key]))
        progress.ended(0, trial, finished(values[trial.key]))
    assert totals[:2] == [(1, 12), (12, looks[1].asked)]
    assert progress.done == progress.total == race.asked
    assert any(line.startswith(f"race  {len(looks[-1].left)} of 4 settings in question") for line in lines)
    assert any("optimizer=b" in line and "optimizer=d" not in line for line in lines)


# --- what is planned, and what is refused


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int) -> str:
    assert main(["run", "-m", "dry_run=true", *words]) == status
    told = capsys.readouterr()
    return told.out if status == 0 else told.err


@pytest.mark.usefixtures("in_tmp")
def test_the_plan_of_a_race_says_the_least_and_the_most(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "arch.n=1,2", "arch.m=1,2", "sweep.seeds=auto", "sweep.tolerance=0.002", status=0)
    assert re.search(r"^to train +12 to 80$", told, re.MULTILINE)
    assert "until the best is told from all others or none is better by more than 0.002" in told
    budget = said(
        capsys, "arch.n=1,2", "arch.m=1,2", "sweep.seeds=auto", "sweep.max_seeds=8", "sweep.max_trials=30", status=0
    )
    assert re.search(r"^to train +12 to 30$", budget, re.MULTILINE)
    assert "at most 8, 30 trials in all;" in budget


RACE = ("arch.n=1,2", "sweep.seeds=auto")


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "sweep.seeds=auto does not end where settings are equally good. Add sweep.tolerance=0.002, a difference"),
        (("sweep.tolerance=0",), "sweep.tolerance=0 must be above 0, in the unit of the objective, such as 0.002."),
        (("sweep.tolerance=1", "sweep.folds=5"), "Leave out sweep.folds=5 or use sweep.seeds=5."),
        (
            ("sweep.tolerance=1", "sweep/pruner=median"),
            "sweep.seeds=auto needs each trial's result, and sweep/pruner=median ends some before.",
        ),
        (("sweep.tolerance=1", "sweep.max_seeds=30"), "sweep.max_seeds=30 must be at most 20."),
        (("sweep.tolerance=1", "sweep.max_seeds=2"), "sweep.max_seeds=2 must be at least 3."),
        (
            ("sweep.max_trials=5",),
            "sweep.max_trials=5 is too few for a race of 2 settings, which begins with 3 seeds each. Use at least 6.",
        ),
        (("sweep.tolerance=1", 'sweep.where="seed < 5"'), "Leave seed out of it."),
        (
            ("sweep=random", "sweep.max_trials=5"),
            "sweep.seeds=auto needs all settings from the start, and sweep=random draws them. Use sweep=grid or "
            "sweep.seeds=5.",
        ),
        (("sweep.seeds=3", "sweep.tolerance=0.1"), "sweep.tolerance=0.1 has no effect without sweep.seeds=auto."),
    ],
)  # fmt: skip
def test_a_race_that_cannot_be_is_refused_with_the_reason(
    words: Sequence[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in " ".join(said(capsys, *RACE, *words, status=1).split())

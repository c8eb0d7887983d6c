"""What is typed for a search: checked, read as a space, and drawn from by chance."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from convgrid.config import CONF, Composition, Settings, check
from convgrid.errors import ConvgridError
from convgrid.sweep.interfaces import Outcome, Source, Survey, Trial
from convgrid.sweep.plan_table import show_front, show_space
from convgrid.sweep.pruning import with_pruning
from convgrid.sweep.search import search_of
from convgrid.sweep.search_plan import SearchPlan, plan_random, plan_search
from forks import fork_convgrid

LR = "optimizer.lr=tag(log,interval(1e-4,1e-1))"


@pytest.fixture(autouse=True)
def empty_folder(in_tmp: Path) -> Path:
    return in_tmp


def asked(*argv: str) -> tuple[SearchPlan, Settings]:
    command = check(["-m", *argv])
    assert command.settings is not None
    return plan_search(command.grids[0], Composition(command.composer), command.settings), command.settings


def drawn(*argv: str) -> Survey:
    return plan_random(*asked("sweep=random", *argv))


def told(*argv: str) -> list[str]:
    with pytest.raises(ConvgridError) as caught:
        drawn(*argv) if "sweep=random" in argv else asked(*argv)
    return caught.value.tell().splitlines()


def values(survey: Survey, key: str) -> list[Any]:
    group, name = key.split(".")
    return [trial.settings.values[group].get(name) for trial in survey.trials]


# --- by chance


def test_chance_draws_as_many_trials_as_asked_for_none_twice() -> None:
    survey = drawn("sweep.max_trials=40", LR, "arch.n=1,2,3", "arch.k=int(interval(0,2))")
    assert len(survey.trials) == len({trial.key for trial in survey.trials}) == 40
    assert all(1e-4 <= rate <= 0.1 for rate in values(survey, "optimizer.lr"))
    assert set(values(survey, "arch.n")) == {1, 2, 3}
    assert set(values(survey, "arch.k")) == {0, 1, 2}


def test_the_seed_decides_on_what_chance_draws() -> None:
    first, again, other = (values(drawn("sweep.max_trials=5", LR, f"seed={n}"), "optimizer.lr") for n in (0, 0, 1))
    assert first == again
    assert not set(first) & set(other)


def test_more_trials_begin_with_the_same() -> None:
    few, many = (values(drawn(f"sweep.max_trials={count}", LR), "optimizer.lr") for count in (3, 6))
    assert many[:3] == few


def test_points_that_cannot_be_do_not_count() -> None:
    survey = drawn("sweep.max_trials=6", LR, "arch.m=2,9")
    assert values(survey, "arch.m") == [2] * 6
    (points,) = survey.skipped.values()
    assert survey.num_points == 6 + len(points) > 6


def test_a_small_space_says_that_there_is_no_more() -> None:
    survey = drawn("sweep.max_trials=30", "arch.n=1,2,3")
    assert sorted(values(survey, "arch.n")) == [1, 2, 3]
    assert survey.notes == ("There seem to be no more than these: sweep.max_trials=30 were asked for.",)


def test_a_space_in_which_nothing_can_be_ends() -> None:
    (line,) = told("sweep=random", "sweep.max_trials=2", LR, "arch.m=9")
    assert line.startswith("PlanError: arch.m=9 pools a 8x8 input 9 times")


def test_a_key_of_some_options_is_drawn_with_those_only() -> None:
    survey = drawn("sweep.max_trials=20", "optimizer=sgd,adam", "optimizer.momentum=interval(0.5,0.9)")
    momentum: dict[str, set[float | None]] = {"sgd": set(), "adam": set()}
    for trial in survey.trials:
        momentum[trial.settings.choices["optimizer"]].add(trial.settings.values["optimizer"].get("momentum"))
    assert momentum["adam"] == {None}
    assert len(momentum["sgd"]) == 19  # adam is one point


def test_a_condition_leaves_a_key_at_its_default() -> None:
    conditions = "sweep.conditions=[\"arch.hidden if arch.k > 0 and optimizer == 'adam'\"]"
    survey = drawn("sweep.max_trials=20", conditions, "arch.k=0,1", "arch.hidden=int(interval(8,64))")
    hidden = dict.fromkeys((0, 1), frozenset())
    for trial in survey.trials:
        arch = trial.settings.values["arch"]
        hidden[arch["k"]] |= {arch["hidden"]}
    assert hidden[0] == {128}
    assert len(hidden[1]) == 19


def test_seeds_of_a_point_count_each() -> None:
    survey = drawn("sweep.max_trials=6", "sweep.seeds=3", LR)
    assert [trial.settings.values["seed"] for trial in survey.trials] == [0, 1, 2, 0, 1, 2]
    assert len(set(values(survey, "optimizer.lr"))) == 2


# --- mistakes


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["arch.n=1,2"], "sweep=optuna needs to know how many trials to train. Add sweep.max_trials=30."),
        (['sweep.union=[["arch=linear"]]'], "sweep.union works with sweep=grid only. Leave it out with sweep=optuna."),
        (["sweep.conditions=[1]"], "sweep.conditions=[1] must be a list of texts."),
        (["sweep.objectives=[val/accurcy]"], "sweep.objectives: val/accurcy is not a metric of this"),
        (["sweep.storage=sqlite:///mlflow.db"], "sweep.storage=sqlite:///mlflow.db is MLflow's store."),
        (["sweep.sampler.startup_trials=0"], "sweep.sampler.startup_trials=0 must be at least 1."),
        (["sweep/sampler=qmc", "sweep.sampler.sequence=x"], "sweep.sampler.sequence=x must be one of sobol, halton."),
        (["sweep/pruner=median", "sweep.pruner.min_epochs=0"], "sweep.pruner.min_epochs=0 must be at least 1."),
        (["sweep/pruner=meridian"], "sweep/pruner=meridian is not an option of sweep/pruner. Did you mean median?"),
        (["sweep.pruner=median"], "sweep.pruner is a group. Did you mean sweep/pruner=median?"),
        (["sweep/pruner=none,median"], "sweep/pruner=none,median cannot be swept: sweep concerns the whole sweep."),
        (['sweep.conditions=["arch.k if arch.z"]', "arch.k=0,1"], "sweep.conditions: arch.z is neither a key"),
    ],
)
def test_a_mistake_in_what_a_search_is_asked_is_told(argv: list[str], line: str) -> None:
    needed = [] if "needs to know" in line else ["sweep.max_trials=3"]
    assert any(line in found for found in told("sweep=optuna", *needed, *argv))


def test_an_interval_without_a_search_and_a_sampler_without_optuna_name_the_fix() -> None:
    assert told(LR) == [
        f"ConfigError: {LR}: an interval is for a search. "
        "Add sweep=optuna sweep.max_trials=30 (or sweep=random), or give values: range(start,stop,step)."
    ]
    assert told("arch.n=1,2", "sweep/sampler=gp") == [
        "ConfigError: sweep/sampler=gp goes with sweep=optuna. Add that, or leave it out."
    ]


def test_the_groups_of_a_sweep_have_the_same_keys_and_defaults() -> None:
    grid, chance, optuna = (
        yaml.safe_load((CONF / "sweep" / f"{name}.yaml").read_text()) for name in ("grid", "random", "optuna")
    )
    assert set(chance) - set(grid) == {"conditions"}
    assert set(optuna) - set(chance) == {"defaults", "objectives", "storage"}
    assert set(grid) - set(chance) == {"tolerance", "max_seeds"}  # of a race, which a search cannot be
    assert all(grid[key] == chance[key] for key in set(grid) & set(chance))
    assert {key: optuna[key] for key in chance} == chance


# --- Optuna


def trials_of(source: Source) -> Iterator[Trial]:
    while isinstance(trial := source.next(), Trial):
        yield trial


def test_what_is_asked_makes_a_search_that_goes_on_where_more_trials_are_asked_for() -> None:
    searched = ["sweep=optuna", "sweep/sampler=random", LR, "arch.m=1,9", "sweep/pruner=successive_halving"]
    (few, settings), (many, more) = (asked(*searched, f"sweep.max_trials={count}") for count in (2, 4))
    assert few.key == many.key != asked(*searched, "sweep.max_trials=2", "seed=1")[0].key
    source = with_pruning(search_of(settings, few.key, few.space, few.trials), settings)
    first = list(trials_of(source))
    assert [set(trial.varying) for trial in first] == [{"optimizer.lr", "arch.m"}] * 2
    again = search_of(more, many.key, many.space, many.trials)
    handed_out = list(trials_of(again))
    assert [trial.config_key for trial in handed_out[:2]] == [trial.config_key for trial in first]
    assert len({trial.key for trial in handed_out}) == 4
    assert all("pools a 8x8 input 9 times" in reason for reason in again.skipped)


def test_a_search_is_forgotten_when_all_is_trained_again() -> None:
    searched = ["sweep=optuna", "sweep/sampler=random", LR, "sweep.max_trials=2"]
    found, settings = asked(*searched)
    assert len(list(trials_of(search_of(settings, found.key, found.space, found.trials)))) == 2
    found, settings = asked(*searched, "sweep.rerun=all")
    afresh = search_of(settings, found.key, found.space, found.trials)
    assert afresh.study.get_trials() == []


def test_a_space_is_shown() -> None:
    searched = ["sweep=optuna", "sweep.max_trials=30", LR, "optimizer=sgd,adam", "optimizer.momentum=0.5,0.9"]
    found, settings = asked(
        *searched, "arch.k=0,1", "arch.n=choice(${arch.m},3)", "arch.hidden=32,64",
        'sweep.conditions=["arch.hidden if arch.k > 0"]',
        "sweep/pruner=hyperband",
    )  # fmt: skip
    text = io.StringIO()
    show_space(found.space, settings, Console(file=text, width=100))
    assert text.getvalue().splitlines() == [
        "searched   optimizer=sgd,adam",
        "           arch.k=0,1",
        "           arch.n=${arch.m},3",
        "           optimizer.lr=0.0001 to 0.1, by orders of magnitude",
        "           optimizer.momentum=0.5,0.9  if optimizer is sgd",
        "           arch.hidden=32,64  if arch.k > 0",
        "by         tpe, 30 trials",
        "for        val/accuracy (max)",
        "kept in    sqlite:///optuna.db",
        "pruned by  hyperband  min_epochs=1  reduction_factor=3",
    ]


def test_a_dry_run_of_a_search_imports_neither_torch_nor_optuna() -> None:
    command = f"""
import sys
from convgrid.cli.main import main
assert main(["run", "-m", "dry_run=true", "sweep=optuna", "sweep.max_trials=30", "{LR}"]) == 0
assert main(["run", "-m", "dry_run=true", "sweep=random", "sweep.max_trials=30", "{LR}"]) == 0
print(sorted({{"torch", "optuna", "mlflow"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_trials_that_no_other_beats_are_shown_where_there_are_several_objectives() -> None:
    trials = drawn("sweep.max_trials=3", "arch.n=1,2,3").trials
    by_layers = sorted(trials, key=lambda trial: trial.plan.parameters)
    reached = zip(by_layers, (0.9, 0.8, 0.95), strict=True)
    results = [(trial, Outcome("finished", metrics={"best/val/accuracy": value})) for trial, value in reached]
    text = io.StringIO()
    show_front(results, {"val/accuracy": "max"}, Console(file=text))
    assert text.getvalue() == ""
    show_front(results, {"val/accuracy": "max", "parameters": "min"}, Console(file=text, width=100))
    assert text.getvalue().splitlines() == [
        "2 of 3 trials are beaten by no other in val/accuracy and parameters:",
        "  val/accuracy 0.9500  parameters 145,354  arch.n=3",
        "  val/accuracy 0.9000  parameters 53,002  arch.n=1",
    ]


def test_a_search_with_a_pruner_trains_and_shows_the_same_when_it_is_started_again(in_tmp: Path) -> None:
    small = ["arch.filters=2", "arch.hidden=8", "trainer.max_epochs=2", "data.limit=60", "tracking=none"]
    searched = ["sweep=optuna", "sweep.max_trials=4", "sweep/pruner=successive_halving", LR, "arch.m=1,9"]
    said = [in_tmp / "first", in_tmp / "again"]
    for file in said:
        process = fork_convgrid(in_tmp, file, "run", "-m", *searched, *small)
        process.join()
        assert process.exitcode == 0, file.read_text()
    lines, lines_again = (
        [
            re.sub(r", about .* left", "", trial)
            for trial in re.findall(r"^\[.*?\] (.*)$", file.read_text(), re.MULTILINE)
        ]
        for file in said
    )
    assert len(lines) == 4
    assert any("val/accuracy" in line for line in lines)
    assert {*lines_again} == {*lines}
    stored = json.loads(next(in_tmp.glob("sweeps/*/sweep.json")).read_text())
    assert len(stored["trials"]) == 4

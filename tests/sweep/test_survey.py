"""A sweep's points before anything trains: which there are, which are infeasible, which are one."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from convgrid.component import Component
from convgrid.config import Composer, Composition, check, command, config_key, files, register_experiments
from convgrid.config.composer import find_options
from convgrid.errors import ConfigError, ConvgridError
from convgrid.sweep.grid_plan import plan_grid
from convgrid.sweep.interfaces import Survey
from convgrid.sweep.plan_table import show_survey

Surveying = Callable[..., Survey]


def look(*argv: str) -> Survey:
    command = check(["-m", *argv])
    assert command.settings is not None
    return plan_grid(command.grids, Composition(command.composer), command.settings)


def told(*argv: str) -> list[str]:
    with pytest.raises(ConvgridError) as caught:
        look(*argv)
    return caught.value.tell().splitlines()


def varying(survey: Survey) -> list[str]:
    return [" ".join(f"{key}={value}" for key, value in trial.varying.items()) for trial in survey.trials]


COMPOSER = Composer("config", find_options(None))


@pytest.fixture(autouse=True)
def beforehand(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder; what one test has composed, the next has at once."""
    monkeypatch.setattr(command, "Composer", lambda *_: COMPOSER)


@pytest.fixture
def experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    monkeypatch.setattr(command, "Composer", Composer)
    monkeypatch.setattr(files, "EXPERIMENTS", tmp_path)

    def register(text: str) -> None:
        (tmp_path / "mine.yaml").write_text(f"# @package _global_\n{text}")
        register_experiments()

    return register


# --- trials


def test_a_trial_has_its_overrides_its_settings_and_its_plan() -> None:
    survey = look("arch.n=1,2", "optimizer=sgd", "optimizer.lr=0.5")
    assert survey.num_points == 2
    assert [trial.overrides for trial in survey.trials] == [
        ("arch.n=1", "optimizer=sgd", "optimizer.lr=0.5"),
        ("arch.n=2", "optimizer=sgd", "optimizer.lr=0.5"),
    ]
    assert [trial.settings.values["arch"]["n"] for trial in survey.trials] == [1, 2]
    assert {trial.settings.values["optimizer"]["lr"] for trial in survey.trials} == {0.5}
    assert [sum(layer.kind == "CONV" for layer in trial.plan.layers) for trial in survey.trials] == [2, 4]
    assert varying(survey) == ["arch.n=1", "arch.n=2"]
    assert [trial.config_key for trial in survey.trials] == [config_key(trial.settings) for trial in survey.trials]
    assert (survey.repeats, survey.skipped, survey.finished, survey.notes) == ({}, {}, frozenset(), ())


def test_points_that_cannot_be_are_skipped_and_grouped_by_their_reason() -> None:
    survey = look("arch.m=3,4,5", "arch.n=1,2", "optimizer=sgd,adam")
    assert survey.num_points == 12
    assert len(survey.trials) == 4
    assert {reason: len(points) for reason, points in survey.skipped.items()} == {
        "arch.m=4 pools a 8x8 input 4 times, but after 3 it is 1x1. Use arch.m<=3 or layer/pool=none.": 4,
        "arch.m=5 pools a 8x8 input 5 times, but after 3 it is 1x1. Use arch.m<=3 or layer/pool=none.": 4,
    }
    assert next(iter(survey.skipped.values()))[0] == ("arch.m=4", "arch.n=1", "optimizer=sgd")


def test_other_values_that_cannot_be_skip_their_points_only() -> None:
    survey = look("data.batch_size=0,32", "loss=hinge,poisson")
    assert varying(survey) == [""]
    assert [len(points) for points in survey.skipped.values()] == [1, 1, 1]
    assert "data.batch_size=0 must be at least 1." in survey.skipped
    both = [reason for reason in survey.skipped if "\n" in reason]
    assert both[0].splitlines()[0] == "ConfigError: data.batch_size=0 must be at least 1."
    assert both[0].splitlines()[1].startswith("ConfigError: loss=poisson does not fit a classification")


def test_a_sweep_of_which_every_point_is_wrong_is_refused_with_all_that_is() -> None:
    assert told("arch.m=6,7", "seed=0,1") == [
        "PlanError: arch.m=6 pools a 8x8 input 6 times, but after 3 it is 1x1. Use arch.m<=3 or layer/pool=none.",
        "PlanError: arch.m=7 pools a 8x8 input 7 times, but after 3 it is 1x1. Use arch.m<=3 or layer/pool=none.",
    ]
    assert told("arch.n=1,2", "seed=-1") == ["ConfigError: seed=-1 must be at least 0."]


def test_points_of_one_network_and_config_train_once() -> None:
    # n=0 leaves no convolution, and without pools m is idle
    survey = look("arch.n=0,1", "arch.m=1,2", "layer/pool=none")
    assert varying(survey) == ["arch.n=0 arch.m=1", "arch.n=1 arch.m=1", "arch.n=1 arch.m=2"]
    assert survey.repeats == {survey.trials[0].key: (("arch.n=0", "arch.m=2", "layer/pool=none"),)}


def test_one_network_written_in_two_ways_trains_once() -> None:
    survey = look("arch.pattern=INPUT -> CONV(8) -> RELU -> FC,INPUT -> [CONV(8, kernel=3) -> ACT]*1 -> FC")
    assert len(survey.trials) == 1
    assert len(look("arch.pattern=INPUT -> CONV(8) -> RELU -> FC,INPUT -> CONV(8) -> TANH -> FC").trials) == 2


@pytest.mark.parametrize(
    "typed",
    [
        "seed=0,1",
        "data.split_seed=0,1",
        "arch.init=torch,he_normal",
        "data=image_folder data.num_classes=3 data.root=a,b",
    ],
)
def test_what_the_plan_does_not_tell_makes_another_trial(typed: str) -> None:
    assert len(look(*typed.split()).trials) == 2


@pytest.mark.parametrize("typed", ["tracking=mlflow,none", "tracking.experiment=a,b", "sweep.retries=0,1"])
def test_what_is_of_the_whole_sweep_is_not_swept(typed: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be swept: .* concerns the whole sweep\. Give it one value"):
        look(typed)


def test_a_sweep_is_not_resumed_by_a_run() -> None:
    assert told("resume=1a2b", "seed=0,1") == [
        "ConfigError: resume='1a2b': a sweep goes on with what is unfinished when it is started again. "
        "Leave out resume."
    ]


# --- keys that only some points have, or use


def test_a_key_of_some_options_applies_where_it_exists() -> None:
    survey = look("optimizer=sgd,adam", "optimizer.momentum=0.8,0.9", "optimizer.lr=0.1,0.2")
    assert len(survey.trials) == 6
    assert sum(map(len, survey.repeats.values())) == 2
    assert varying(survey)[-2:] == ["optimizer=adam optimizer.lr=0.1", "optimizer=adam optimizer.lr=0.2"]
    assert survey.notes == ("optimizer.momentum is left out of 4 points, whose options do not have that key.",)


def test_a_dict_of_keys_applies_as_far_as_the_options_have_them() -> None:
    survey = look("optimizer=sgd,adam", "optimizer={lr:0.5,momentum:0.7}")
    sgd, adam = (trial.settings.values["optimizer"] for trial in survey.trials)
    assert (sgd["lr"], sgd["momentum"]) == (0.5, 0.7)
    assert adam["lr"] == 0.5
    assert "momentum" not in adam


def test_a_key_that_some_patterns_do_not_ask_for_is_noted() -> None:
    survey = look("arch=linear,convnet", "arch.n=1,2,3")
    assert len(survey.trials) == 4
    assert survey.notes == ("arch.n has no effect in 3 points, whose pattern does not ask for it.",)


def test_from_scratch_and_from_weights_are_points_of_one_sweep(trained_digits: Path) -> None:
    survey = look(
        "arch.filters=4", f"arch.weights=null,{trained_digits}", "arch.freeze=none,features", "arch.loaded_lr=1,0.1"
    )
    assert varying(survey) == [
        "arch.weights=null arch.freeze=none arch.loaded_lr=1",
        *(f"arch.weights='{trained_digits}' arch.freeze={freeze} arch.loaded_lr={rate}"
          for freeze in ("none", "features") for rate in ("1", "0.1")),
    ]  # fmt: skip
    assert [trial.settings.arch.weights for trial in survey.trials[1:]] == [f"{trained_digits}/best.ckpt"] * 4
    assert [trial.plan.num_frozen for trial in survey.trials] == [0, 0, 0, 6, 6]
    (skipped,) = survey.skipped
    assert skipped.startswith("arch.freeze=features would keep random weights")
    assert sum(map(len, survey.repeats.values())) == 1
    assert survey.notes == ("arch.loaded_lr has no effect in 2 points, without weights to load.",)


def test_points_that_weights_do_not_fit_are_skipped(trained_digits: Path) -> None:
    survey = look("arch.filters=4,5", f"arch.weights={trained_digits}", "sweep.where=trainable > 100")
    assert varying(survey) == [""]
    (skipped,) = survey.skipped
    assert "conv1 is 5x1x3x3, bias, and 4x1x3x3, bias there" in skipped


def test_a_key_without_effect_in_any_point_is_a_mistake() -> None:
    assert told("arch=linear", "arch.n=1,2", "layer/pool=max", "seed=0,1") == [
        "ConfigError: arch.n=1,2 has no effect: the pattern INPUT -> FC has no N. Leave it out.",
        "ConfigError: layer/pool=max has no effect: the pattern INPUT -> FC has no POOL. Leave it out.",
    ]


def test_an_interpolation_is_checked_where_it_leads() -> None:
    survey = look("seed=3,4", "arch.n=${seed}")
    assert [trial.settings.values["arch"]["n"] for trial in survey.trials] == [3, 4]
    assert told("seed=1,2", "arch.n=${arch.init}") == [
        "ConfigError: arch.n=${arch.init} is glorot_uniform, but must be a whole number, as its default 1."
    ]


# --- zip, union, where, seeds, folds, max_trials


def test_zipped_keys_advance_together() -> None:
    survey = look("arch.n=1,2", "arch.m=3,2", "sweep.zip=[[arch.n,arch.m]]", "seed=0,1")
    assert varying(survey) == [
        "arch.n=1 arch.m=3 seed=0", "arch.n=1 arch.m=3 seed=1", "arch.n=2 arch.m=2 seed=0", "arch.n=2 arch.m=2 seed=1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[arch.n,arch.m]", "must be a list of lists of keys, two or more in each. Did you mean [[arch.n,arch.m]]?"),
        ("[[arch.n]]", "must be a list of lists of keys, two or more in each. Did you mean [[arch.n,arch.m]]?"),
        ("[[arch.n,arch.k]]", "arch.k is not swept. Give it values, or leave it out."),
        (
            "[[arch.n,arch.m],[arch.n,seed]]",
            "arch.n is named twice. Put all keys that advance together into one list.",
        ),
    ],
)
def test_a_zip_that_cannot_be_is_told(value: str, message: str) -> None:
    lines = told(f"sweep.zip={value}", "arch.n=1,2", "arch.m=1,2", "seed=0,1")
    assert len(lines) == 1
    assert lines[0].endswith(message)


def test_the_grids_of_a_union_follow_one_another_with_what_is_typed_beside() -> None:
    survey = look('sweep.union=[["arch=linear"],["arch.n=1,2","arch.m=1,2","optimizer=sgd"]]', "seed=0,1")
    assert survey.num_points == 10
    assert len(survey.trials) == 10
    assert varying(survey)[:3] == ["seed=0 arch=linear", "seed=1 arch=linear", "seed=0 arch.n=1 arch.m=1 optimizer=sgd"]


def test_a_grid_of_a_union_has_the_last_word() -> None:
    survey = look('sweep.union=[["seed=7"],["arch.n=2"]]', "seed=0,1")
    assert varying(survey) == ["seed=7", "seed=0 arch.n=2", "seed=1 arch.n=2"]


def test_what_is_of_the_whole_sweep_stands_beside_a_union() -> None:
    assert told('sweep.union=[["sweep.seeds=3"],["arch.n=2"]]') == [
        "ConfigError: sweep.seeds=3 is not allowed in sweep.union: sweep concerns the whole sweep. "
        "Type it outside of sweep.union."
    ]


def test_where_keeps_points_by_their_config_and_their_plan() -> None:
    everything = look("arch.n=1,2", "arch.m=1,2,3", "optimizer=sgd,adam")
    kept = look("arch.n=1,2", "arch.m=1,2,3", "optimizer=sgd,adam", "sweep.where=params < 6e4 and optimizer == 'sgd'")
    expected = [
        trial.key
        for trial in everything.trials
        if trial.plan.parameters < 60_000 and trial.settings.choices["optimizer"] == "sgd"
    ]
    assert 0 < len(expected) < 6
    assert [trial.key for trial in kept.trials] == expected
    assert {reason: len(points) for reason, points in kept.skipped.items()} == {
        "sweep.where=params < 6e4 and optimizer == 'sgd'": 12 - len(expected)
    }


def test_where_is_asked_before_the_plan_where_it_does_not_need_it() -> None:
    survey = look("arch.m=2,6", "sweep.where=arch.m <= 3")
    assert list(survey.skipped) == ["sweep.where=arch.m <= 3"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parameters == params and params == 650", True),
        ("multiply_adds == 640 and layers == 1", True),
        ("activation_bytes == 40", True),  # ten float32 scores
        # Adam keeps 4 numbers a weight; 32 images of 64 pixels, 10 scores, as many gradients
        ("memory == 4 * (4 * 650 + 32 * (64 + 10 + 10))", True),
        ("receptive_field == 1", True),
        ("layer/pool == 'max' and layer.conv.kernel_size == 3", True),
        ("optimizer.lr > 1", False),
    ],
)
def test_the_plans_quantities_are_known(text: str, expected: bool) -> None:
    if expected:
        assert len(look("arch=linear", f"sweep.where={text}").trials) == 1
    else:
        assert told("arch=linear", f"sweep.where={text}") == [
            f"ConfigError: sweep.where={text} leaves none of 1 point. Ask for less."
        ]


def test_a_where_that_does_not_read_is_told_with_the_rest_that_is_wrong_with_the_grid() -> None:
    lines = told("sweep.where=arch.nn < 3", "sweep.zip=[[arch.n,arch.m]]", "arch.n=1,2", "arch.m=1,2,3")
    assert lines == [
        "ConfigError: sweep.zip=[[arch.n,arch.m]]: keys that advance together need equally many values, "
        "but have: arch.n 2, arch.m 3.",
        "ConfigError: sweep.where: arch.nn is neither a key nor a quantity of the plan. Did you mean arch.n?",
        "  arch.nn < 3",
        "  ^",
    ]


def test_seeds_repeat_each_point() -> None:
    survey = look("arch.n=1,2", "seed=5", "sweep.seeds=3")
    assert survey.num_points == 6
    assert [(t.settings.values["arch"]["n"], t.settings.values["seed"]) for t in survey.trials] == [
        (n, seed) for n in (1, 2) for seed in (5, 6, 7)
    ]
    assert varying(survey)[0] == "arch.n=1 seed=5"


def test_folds_repeat_each_point() -> None:
    survey = look("arch.n=1,2", "sweep.folds=3", "sweep.seeds=2")
    assert survey.num_points == 12
    assert [trial.settings.values["fold"] for trial in survey.trials[:4]] == [[1, 3], [1, 3], [2, 3], [2, 3]]
    assert told("fold=[1,3]", "sweep.folds=3") == [
        "ConfigError: sweep.folds=3 takes every fold, so fold cannot be set. Leave out one of the two."
    ]


def test_max_trials_keeps_the_first_that_can_be() -> None:
    survey = look("arch.m=6,1,2,3", "optimizer=sgd,adam", "optimizer.momentum=0.1,0.2", "sweep.max_trials=4")
    assert survey.num_points == 16
    assert varying(survey) == [
        "arch.m=1 optimizer=sgd optimizer.momentum=0.1", "arch.m=1 optimizer=sgd optimizer.momentum=0.2",
        "arch.m=1 optimizer=adam", "arch.m=2 optimizer=sgd optimizer.momentum=0.1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "typed",
    [
        "sweep.seeds=0", "sweep.folds=1", "sweep.max_trials=0", "sweep.workers=0", "sweep.retries=-1",
        "sweep.rerun=some", "sweep.trial_timeout=0", "sweep.trial_timeout=-1.5",
        "sweep.trial_timeout=nan",
    ],
)  # fmt: skip
def test_values_of_the_sweep_have_ranges(typed: str) -> None:
    (line,) = told("arch.n=1,2", typed)
    assert line.startswith(f"ConfigError: {typed} must be ")


@pytest.mark.parametrize("kept", ["best:0", "best", "some"])
def test_checkpoints_kept_are_all_none_or_so_many(kept: str) -> None:
    assert told("arch.n=1,2", f"sweep.keep_checkpoints={kept}") == [
        f"ConfigError: sweep.keep_checkpoints={kept} must be all, none, or best:N such as best:1."
    ]


# --- an experiment that is a sweep


def test_experiments_that_are_sweeps_of_their_own_are_no_points_of_one(
    experiments: Callable[[str], None], tmp_path: Path
) -> None:
    (tmp_path / "repeated.yaml").write_text("# @package _global_\nsweep:\n  seeds: 3\n")
    (tmp_path / "gridded.yaml").write_text("# @package _global_\nhydra:\n  sweeper:\n    params:\n      arch.n: 1,2\n")
    experiments("optimizer:\n  lr: 0.5\n")
    text = "experiments=mine,repeated,gridded"
    assert told(text) == [
        f"ConfigError: {text}: {name} is a sweep of its own. Run it by itself: python run.py experiments={name}"
        for name in ("repeated", "gridded")
    ]


def test_an_experiment_can_be_a_sweep_of_its_own(experiments: Callable[[str], None]) -> None:
    experiments(
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      arch.n: 1,2,3\n      optimizer.lr: range(1,3)\n"
        "arch: {m: 1}\nsweep: {seeds: 2, where: arch.n < 3}\n"
    )
    command = check(["experiments=mine", "optimizer.lr=0.5"])
    assert command.settings is not None
    survey = plan_grid(command.grids, Composition(command.composer), command.settings)
    assert survey.num_points == 6
    assert [trial.settings.values["arch"]["m"] for trial in survey.trials] == [1] * 4
    assert survey.trials[0].overrides == ("arch.n=1", "optimizer.lr=0.5", "experiments=mine", "seed=0")


def test_all_that_is_wrong_with_an_experiments_sweep_is_told(experiments: Callable[[str], None]) -> None:
    experiments("hydra:\n  sweeper:\n    params:\n      arch.n: 1,x\n      arch.units: 1,2\nsweep: {sedes: 2}\n")
    assert told("experiments=mine") == [
        "ConfigError: arch.n=x must be a whole number, as its default 1.",
        "ConfigError: arch.units is not a key of arch=convnet. Did you mean arch.init?",
        "ConfigError: experiments/mine.yaml: sweep.sedes is not a key of sweep=grid. Did you mean sweep.seeds?",
    ]


def test_experiments_can_be_swept(experiments: Callable[[str], None]) -> None:
    experiments("arch: {m: 1}\n")
    assert [trial.settings.values["arch"]["m"] for trial in look("experiments=mine", "arch.n=1,2").trials] == [1, 1]


# --- what was trained before


END = {"reason": "", "ended": 1, "metrics": {}, "best_epoch": 1, "epochs": 1, "seconds": 1.0}


def test_trials_that_a_run_has_finished_are_counted(in_tmp: Path) -> None:
    trials = look("arch.n=1,2,3", "seed=0,1").trials
    records = [
        {"status": "finished", "config_key": trials[0].config_key},
        {"status": "pruned", "config_key": trials[1].config_key},
        {"status": "failed", "config_key": trials[2].config_key},
        {"status": "running", "config_key": trials[3].config_key},
        {"status": "finished"},
    ]
    for number, record in enumerate(records):
        (in_tmp / "runs" / str(number)).mkdir(parents=True)
        (in_tmp / "runs" / str(number) / "run.json").write_text(json.dumps({**END, **record}))
    (in_tmp / "runs" / "torn").mkdir()
    (in_tmp / "runs" / "torn" / "run.json").write_text('{"status": "fini')
    assert look("arch.n=1,2,3", "seed=0,1").finished == {trials[0].key, trials[1].key}
    assert look("arch.n=1,2,3", "seed=0,1", "sweep.rerun=all").finished == frozenset()


# --- the table


def shown(survey: Survey, seconds: float | None = None, pruner: Component | None = None) -> list[str]:
    console = Console(width=80, record=True, file=io.StringIO())
    show_survey(survey, console, seconds=seconds, pruner=pruner)
    return console.export_text().splitlines()


def test_the_plan_of_a_sweep_is_a_few_lines() -> None:
    survey = look("arch.m=1,2,4", "optimizer=sgd,adam", "optimizer.momentum=0.1,0.2", "seed=range(0,40)")
    # one stage leaves 32 filters of 4x4 pixels, two leave 64 of 2x2; then 128 units, then 10
    one = 320 + (32 * 16 + 1) * 128 + 1290
    two = 320 + (32 * 9 + 1) * 64 + (64 * 4 + 1) * 128 + 1290
    steps = 64 * 32 * 9
    assert shown(survey, seconds=math.pi * 60) == [
        "points         480",
        "varying        arch.m=1,2",
        "               optimizer=sgd,adam",
        "               optimizer.momentum=0.1,0.2",
        "               seed=0, ... 40 values ..., 39",
        "to train       240",
        "repeats        80  of another point's network and config",
        "skipped        160",
        "               160  arch.m=4 pools a 8x8 input 4 times, but after 3 it is 1x1. "
        "Use arch.m<=3 or layer/pool=none.",
        f"parameters     {two:,} to {one:,}",
        f"multiply-adds  {steps + 512 * 128 + 1280:,} to {steps + 16 * 64 * 288 + 256 * 128 + 1280:,} an image",
        "time           about 3 min of training, as earlier trials took",
        "notes          optimizer.momentum is left out of 160 points, whose options do not have that key.",
    ]


def test_the_plan_of_a_sweep_tells_what_ends_poor_trials() -> None:
    pruner = Component("median", "convgrid.sweep.pruning.median", {"min_epochs": 2, "startup_trials": 5})
    lines = shown(look("arch.n=1,2"), seconds=120, pruner=pruner)
    assert "pruned by      median  min_epochs=2  startup_trials=5" in lines
    assert "time           about 2 min of training, as earlier trials took, less what is pruned" in lines


def test_the_plan_of_a_sweep_names_the_most_frequent_reasons() -> None:
    lines = shown(look("arch.m=1,5,6,7,8,9,10,11,12,13,14"))
    start = lines.index("skipped        10")
    assert lines[start + 9] == "               and 2 reasons more"
    assert len(lines) == start + 12

"""The command line as the user sees it: exit status, what goes where, what is left on the disk."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from convgrid import sweep
from convgrid.cli.main import main
from convgrid.config import Settings, files
from convgrid.errors import DataError, Interrupted
from convgrid.sweep.interfaces import Survey
from convgrid.sweep.train import Swept
from convgrid.tracking import writer
from convgrid.training import trial

ROOT = Path(__file__).parents[2]
Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def without_traces() -> Iterator[None]:
    """Hydra keeps itself and log handlers on the captured streams, where a process would end."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    GlobalHydra.instance().clear()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def typed(in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run a command line in an empty folder: exit status, stdout, stderr."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(writer, "start_writer", lambda *_: None)  # nothing is trained, and so nothing tracked

    def type_(*argv: str) -> tuple[int, str, str]:
        status = main(["run", *argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return type_


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What would have been trained."""
    seen: list[Settings] = []
    monkeypatch.setattr(trial, "run", lambda settings, *_: seen.append(settings))
    return seen


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[Survey]:
    """What would have been swept."""
    seen: list[Survey] = []
    monkeypatch.setattr(sweep, "train_sweep", lambda survey, *_: seen.append(survey) or Swept("", 3))
    monkeypatch.setattr(sweep, "warm_up", lambda: None)
    return seen


# --- mistakes


def test_a_mistake_ends_with_status_1_and_a_line_on_stderr(typed: Typed, in_tmp: Path) -> None:
    status, out, err = typed("optimizer=sgd", "optimizer.momentun=0.9", "arch.m=6")
    assert (status, out) == (1, "")
    assert err == (
        "ConfigError: optimizer.momentun is not a key of optimizer=sgd. Did you mean optimizer.momentum?\n"
        "PlanError: arch.m=6 pools a 8x8 input 6 times, but after 3 it is 1x1. Use arch.m<=3 or layer/pool=none.\n"
    )
    assert list(in_tmp.iterdir()) == []


@pytest.mark.parametrize(
    "argv",
    [
        ["optimizer.lr=-1"],
        ["loss.label_smoothing=2"],
        ["data.split=[0.5,0.6]"],
        ["data=arrays"],
        ["data=image_folder", "data.root=nowhere"],
        ["activation._target_=nowhere.relu"],
        ["resume=nothing"],
        ["resume=nothing", "arch.m=3"],
        ["-m", "arch.m=6,7"],
        ["-m", "arch.m=6,7", "hydra.verbose=false"],
    ],
)
def test_what_is_found_after_composing_is_as_tidy(typed: Typed, in_tmp: Path, argv: list[str]) -> None:
    status, out, err = typed(*argv)
    assert (status, out) == (1, "")
    assert re.match(r"(Config|Data|Plan)Error: .{20,}", err)
    assert 1 <= len(err.splitlines()) <= 3
    assert "Traceback" not in err
    assert list(in_tmp.iterdir()) == []


OF_NUMBERS = (
    "mean_squared_error, mean_absolute_error, logcosh, mean_absolute_percentage_error, poisson, "
    "mean_squared_logarithmic_error, cosine_proximity"
)
OF_CLASSES = (
    "mean_squared_error, mean_absolute_error, logcosh, hinge, squared_hinge, categorical_hinge, "
    "categorical_crossentropy, sparse_categorical_crossentropy, kullback_leibler_divergence, binary_crossentropy, "
    "cosine_proximity"
)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["loss=mean_absolute_percentage_error"],
            "ConfigError: loss=mean_absolute_percentage_error does not fit a classification: it divides by the "
            f"targets, and those of classes are mostly 0. Use one of {OF_CLASSES}.",
        ),
        (
            ["loss=poisson", "data=random"],
            "ConfigError: loss=poisson does not fit a classification: it is the likelihood of counts, which classes "
            f"are not. Use one of {OF_CLASSES}.",
        ),
        (
            ["loss=hinge", "data=digits_angle"],
            "ConfigError: loss=hinge does not fit a regression: it asks for a sign, which a number to predict is not. "
            f"Use one of {OF_NUMBERS}.",
        ),
        (
            ["data=digits_angle"],
            "ConfigError: loss=categorical_crossentropy does not fit a regression: it takes probabilities of classes, "
            f"which numbers to predict are not. Use one of {OF_NUMBERS}.",
        ),
        (
            ["loss=cosine_proximity", "data=digits_angle"],
            "ConfigError: loss=cosine_proximity needs 2 target columns or more, and the data has 1. "
            "Use loss=mean_squared_error, or more columns.",
        ),
        (
            ["loss=poisson", "data=digits_angle", "target=minmax"],
            "ConfigError: target=minmax does not fit loss=poisson: it takes some targets to 0 or below, where that "
            "loss means nothing. Use target=auto or target=none.",
        ),
        (
            ["loss=hinge", "target=log"],
            "ConfigError: target=log has no effect: it scales numbers, and the data has classes. Leave it out.",
        ),
    ],
)
def test_a_loss_that_does_not_fit_the_data_is_refused_before_anything_is_made(
    typed: Typed, in_tmp: Path, argv: list[str], message: str
) -> None:
    assert typed(*argv) == (1, "", f"{message}\n")
    assert list(in_tmp.iterdir()) == []


def test_two_components_mistakes_are_told_together(typed: Typed) -> None:
    _, _, err = typed("optimizer.lr=-1", "loss.label_smoothing=2")
    assert err == (
        "ConfigError: optimizer.lr=-1 must be above 0.\n"
        "ConfigError: loss.label_smoothing=2 must be in [0, 1]: it is a share of the target.\n"
    )


def test_a_data_error_while_training_is_told_without_a_traceback(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DataError("cat/7.png cannot be read.")

    monkeypatch.setattr(trial, "run", fail)
    assert typed() == (1, "", "DataError: cat/7.png cannot be read.\n")


@pytest.mark.parametrize(
    ("interrupt", "said"),
    [(KeyboardInterrupt(), "Stopped."), (Interrupted("Go on with resume=1a."), "Go on with resume=1a.")],
)
def test_an_interruption_ends_with_status_130(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, interrupt: KeyboardInterrupt, said: str
) -> None:
    def stop(*_: object) -> None:
        raise interrupt

    monkeypatch.setattr(trial, "run", stop)
    assert typed() == (130, "", f"\n{said}\n")


def test_a_bug_keeps_its_traceback(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python prints it, and ends with status 1."""

    def bug(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(trial, "run", bug)
    with pytest.raises(RuntimeError, match="a bug"):
        typed()


# --- what reaches the training


def test_overrides_reach_the_training(typed: Typed, trained: list[Settings]) -> None:
    pattern = "INPUT -> CONV(6, kernel=5) -> RELU -> FC"
    status, _, err = typed("optimizer=sgd", "optimizer.momentum=0.9", "seed=${arch.k}", f"arch.pattern={pattern}")
    assert (status, err) == (0, "")
    (settings,) = trained
    assert settings.choices["optimizer"] == "sgd"
    assert settings.values["optimizer"]["momentum"] == 0.9
    assert settings.values["seed"] == 1
    assert settings.values["arch"]["pattern"] == pattern


# Both ways to a sweep: around Hydra, and through it where its own keys are typed.
@pytest.mark.parametrize("flag", ["-m", "hydra.mode=MULTIRUN"])
def test_a_sweep_hands_its_points_to_the_scheduler(typed: Typed, swept: list[Survey], in_tmp: Path, flag: str) -> None:
    line = ["optimizer=sgd,adam", flag, "arch.m=range(1,5)", "optimizer.momentum=0.5", "sweep.seeds=2"]
    status, out, err = typed(*line)
    assert (status, err) == (3, "")
    assert out.startswith("points         16\n")
    (survey,) = swept
    assert [(t.settings.values["arch"]["m"], t.settings.values["seed"]) for t in survey.trials] == [
        (m, seed) for _ in ("sgd", "adam") for m in (1, 2, 3) for seed in (0, 1)
    ]
    assert [t.settings.values["optimizer"].get("momentum") for t in survey.trials] == [0.5] * 6 + [None] * 6
    assert [len(points) for points in survey.skipped.values()] == [4]
    assert list(in_tmp.iterdir()) == []


def test_hydras_sweeper_params_are_swept(typed: Typed, swept: list[Survey]) -> None:
    typed("-m", "hydra.sweeper.params={arch.n:'1,2',seed:7}", "seed=3,4")
    (survey,) = swept
    assert [trial.overrides for trial in survey.trials] == [
        ("arch.n=1", "seed=3"), ("arch.n=1", "seed=4"), ("arch.n=2", "seed=3"), ("arch.n=2", "seed=4"),
    ]  # fmt: skip


def test_a_sweep_over_patterns_has_each(typed: Typed, swept: list[Survey]) -> None:
    typed("-m", "arch.pattern=INPUT -> FC,INPUT -> CONV(6, kernel=5) -> RELU -> FC")
    patterns = [trial.settings.values["arch"]["pattern"] for trial in swept[0].trials]
    assert patterns == ["INPUT -> FC", "INPUT -> CONV(6, kernel=5) -> RELU -> FC"]


def test_hydras_own_sweeper_still_trains_one_point_after_another(
    typed: Typed, trained: list[Settings], in_tmp: Path
) -> None:
    status, _, err = typed("-m", "arch.m=1,6", "hydra/sweeper=basic")
    assert status == 1
    assert err.startswith("PlanError: arch.m=6 pools a 8x8 input 6 times")
    assert [settings.values["arch"]["m"] for settings in trained] == [1]


def test_an_experiment_reaches_the_training(
    typed: Typed, trained: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_question.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /optimizer: sgd\noptimizer:\n  momentum: 0.5\narch:\n  m: 1\n"
    )
    monkeypatch.setattr(files, "EXPERIMENTS", tmp_path)
    assert typed("experiments=own_question", "arch.m=3")[0] == 0
    (settings,) = trained
    assert settings.choices["optimizer"] == "sgd"
    assert settings.values["optimizer"]["momentum"] == 0.5
    assert settings.values["arch"]["m"] == 3


# --- dry runs


def totals(out: str) -> list[tuple[int, int]]:
    """Parameters and multiply-adds of each plan that was printed."""
    found = re.findall(r"^total +([\d,]+) +([\d,]+) ", out, re.MULTILINE)
    return [(int(parameters.replace(",", "")), int(adds.replace(",", ""))) for parameters, adds in found]


def test_a_dry_run_prints_the_plan_and_leaves_nothing(typed: Typed, in_tmp: Path) -> None:
    status, out, err = typed("dry_run=true", "arch=linear")
    assert (status, err) == (0, "")
    assert totals(out) == [(650, 640)]
    assert list(in_tmp.iterdir()) == []


def test_a_dry_run_of_lenet_has_its_numbers(typed: Typed) -> None:
    lenet = (
        "INPUT -> [CONV(6, kernel=5, padding=valid) -> TANH -> POOL]*1 -> CONV(16, kernel=5, padding=valid) -> TANH -> "
        "POOL -> FC(120) -> TANH -> FC(84) -> TANH -> FC"
    )
    _, out, _ = typed("dry_run=true", "data=random", "data.shape=[1,32,32]", f"arch.pattern={lenet}")
    # LeNet-5 as in the issue; its multiply-adds counted by hand
    adds = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10
    assert totals(out) == [(61_706, adds)]


@pytest.mark.parametrize(
    ("option", "shape"),
    [
        ("digits", "1x8x8"), ("mnist", "1x28x28"), ("fashion_mnist", "1x28x28"), ("cifar10", "3x32x32"),
        ("cifar100", "3x32x32"), ("random", "3x32x32"), ("arrays", "1x28x28"), ("image_folder", "3x64x64"),
    ],
)  # fmt: skip
def test_a_dry_run_needs_no_data(typed: Typed, in_tmp: Path, option: str, shape: str) -> None:
    classes = ["data.num_classes=7"] if option in ("arrays", "image_folder") else []
    status, out, err = typed("dry_run=true", f"data={option}", *classes)
    assert (status, err) == (0, "")
    assert out.startswith(f"INPUT {shape}\n")
    outputs = {"cifar100": 100, "arrays": 7, "image_folder": 7}.get(option, 10)
    assert re.search(rf"^output +{outputs} ", out, re.MULTILINE)
    assert list(in_tmp.iterdir()) == []


def test_the_pattern_of_a_dry_run_can_be_run_again(typed: Typed) -> None:
    _, first, _ = typed("dry_run=true", "arch.n=2")
    pattern = first.splitlines()[-1]
    _, again, _ = typed("dry_run=true", f"arch.pattern={pattern}")
    assert totals(again) == totals(first)
    assert again.splitlines()[-1] == pattern


def test_a_dry_run_of_a_sweep_prints_what_it_would_do(typed: Typed, swept: list[Survey], in_tmp: Path) -> None:
    status, out, _ = typed("-m", "dry_run=true", "arch=linear,conv_fc", "arch.n=1,2", "arch.m=1", "layer/pool=none,max")
    assert (status, swept, list(in_tmp.iterdir())) == (1, [], [])
    status, out, _ = typed("-m", "dry_run=true", "arch=linear,conv_fc")
    assert (status, swept, list(in_tmp.iterdir())) == (0, [], [])
    # conv_fc: 32 filters of 3x3 over 8x8, then 10 units over 2048 features
    assert out.splitlines() == [
        "points         2",
        "varying        arch=linear,conv_fc",
        "to train       2",
        f"parameters     650 to {320 + 20_490:,}",
        f"multiply-adds  640 to {64 * 32 * 9 + 20_480:,} an image",
    ]


# --- looking


def test_the_config_is_printed_as_yaml(typed: Typed, in_tmp: Path) -> None:
    status, out, _ = typed("--cfg", "job", "optimizer=sgd", "arch.m=99")
    printed = yaml.safe_load(out)
    assert status == 0
    assert printed["optimizer"] == yaml.safe_load((ROOT / "conf" / "optimizer" / "sgd.yaml").read_text())
    assert printed["arch"]["m"] == 99
    assert "hydra" not in printed
    assert list(in_tmp.iterdir()) == []


@pytest.mark.parametrize("kind", ["hydra", "all"])
def test_hydras_own_config_is_printed(typed: Typed, kind: str) -> None:
    status, out, _ = typed("--cfg", kind)
    assert status == 0
    assert yaml.safe_load(out)["hydra"]["job"]["name"] == "convgrid"


def test_a_part_of_the_config_is_printed(typed: Typed) -> None:
    _, out, _ = typed("--cfg", "job", "--package", "objective")
    assert yaml.safe_load(out) == {"metric": "auto", "mode": "auto"}


def test_help_starts_with_commands_to_try_and_lists_every_option(typed: Typed) -> None:
    status, out, err = typed("--help")
    assert (status, err) == (0, "")
    assert out.startswith("convgrid trains the ConvNet that a pattern and the options below describe.\n")
    for group in (ROOT / "conf").glob("[!h]*/**/*.yaml"):  # hydra/ is Hydra's own
        assert re.search(rf"^{group.parent.relative_to(ROOT / 'conf')}: .*\b{group.stem}\b", out, re.MULTILINE)
    assert "momentum" not in out
    assert "lr: 0.001" in out


def test_the_commands_that_help_shows_are_right(typed: Typed, trained: list[Settings]) -> None:
    import shlex

    _, out, _ = typed("--help")
    commands = [re.split(r" {2,}", line.strip())[0] for line in out.splitlines() if line.startswith("  python run.py")]
    assert len(commands) == 7
    for command in commands:
        argv = shlex.split(command)[2:]
        if "FOLDER" not in command and "RUN" not in command:
            assert typed(*argv)[0] == 0, command


@pytest.mark.parametrize("flag", [["--hydra-help"], ["--version"], ["--info", "searchpath"], ["--info", "defaults"]])
def test_hydras_own_flags_work(typed: Typed, flag: list[str]) -> None:
    status, out, err = typed(*flag)
    assert (status, err) == (0, "")
    assert len(out) > 5


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("optimizer=", "optimizer=adadelta optimizer=adagrad optimizer=adam optimizer=adamax optimizer=nadam"),
        ("optimizer=sgd optimizer.m", "optimizer.momentum="),
        ("arch=conv", "arch=conv_fc arch=conv_pool arch=convnet"),
        ("layer/no", "layer/norm="),
    ],
)
def test_the_shell_completes_options_and_keys(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, line: str, expected: str
) -> None:
    monkeypatch.setenv("COMP_LINE", f"run.py {line}")
    status, out, _ = typed("-sc", "query=bash")
    assert status == 0
    assert " ".join(out.split()).startswith(expected)


# --- the installed command

NO_COMMAND = "usage: convgrid COMMAND ...\nconvgrid: error: {!r} is not a command.{}\n"
LISTED = " Commands: run, compare, predict, export, adopt, features, preview, cache, sweeps, node, sync, ui."


@pytest.mark.parametrize(
    ("words", "status", "where", "text"),
    [
        (["--help"], 0, "out", "usage: convgrid COMMAND ...\n"),
        ([], 2, "err", "usage: convgrid COMMAND ...\n"),
        (
            ["rnu", "arch.m=3"],
            2,
            "err",
            NO_COMMAND.format("rnu", " Did you mean run?"),
        ),
        (
            ["comapre"],
            2,
            "err",
            NO_COMMAND.format("comapre", " Did you mean compare?"),
        ),
        (
            ["launch"],
            2,
            "err",
            NO_COMMAND.format("launch", LISTED),
        ),
        (["sweeps"], 0, "out", "There are no sweeps in "),
        (["sweeps", "--help"], 0, "out", "usage: convgrid sweeps"),
        (["sweeps", "all"], 2, "err", "usage: convgrid sweeps"),
        (["run", "dry_run=true", "arch=linear"], 0, "out", "INPUT 1x8x8"),
        (["run", "arch=liner"], 1, "err", "ConfigError: arch=liner is not an option of arch. Did you mean linear?"),
        (["run", "--help"], 0, "out", "convgrid trains the ConvNet"),
        (["export", "nothing"], 1, "err", "ConfigError: nothing is not a run or sweep known in"),
        (["predict", "nothing", "photo.jpg"], 1, "err", "ConfigError: nothing is not a run or sweep known in"),
    ],
)
def test_the_installed_command_has_subcommands(
    in_tmp: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    where: str,
    text: str,
) -> None:
    assert main(words) == status
    captured = capsys.readouterr()
    assert getattr(captured, where).startswith(text)
    assert getattr(captured, "err" if where == "out" else "out") == ""


# --- in a process of its own

HEAVY = ("torch", "lightning", "mlflow", "sklearn", "numpy", "pandas")
LOOKS = {
    "--help": 0, "sweeps": 0, "predict --help": 0, "run --help": 0, "run --cfg job": 0, "run dry_run=true arch.n=2": 0,
    "rnu": 2,
}  # fmt: skip
LIST_IMPORTS = f"""
import sys
from convgrid.cli.main import main
for words in {[*LOOKS]}:
    status = main(words.split())
    print("HEAVY", words, status, [name for name in {HEAVY} if name in sys.modules])
"""


def python(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, *argv]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


def test_looking_imports_nothing_that_training_needs(tmp_path: Path) -> None:
    done = python("-c", LIST_IMPORTS, cwd=tmp_path)
    told = [line for line in done.stdout.splitlines() if line.startswith("HEAVY")]
    assert told == [f"HEAVY {words} {status} []" for words, status in LOOKS.items()]


def test_run_py_plans_in_any_folder(tmp_path: Path) -> None:
    done = python(str(ROOT / "run.py"), "dry_run=true", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert totals(done.stdout) == [(53_002, 347_392)]
    assert list(tmp_path.iterdir()) == []


def test_run_py_tells_mistakes_and_ends_with_status_1(tmp_path: Path) -> None:
    done = python(str(ROOT / "run.py"), "optimizer=sdg", "arch.m=x", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.partition(" ")[0] for line in done.stderr.splitlines()] == ["ConfigError:", "ConfigError:"]
    assert list(tmp_path.iterdir()) == []

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from convgrid.cli.main import main
from convgrid.compare import Answer, Trials, answer
from convgrid.compare.console import show
from convgrid.compare.racing import RaceRules
from sweep_folders import finish, make_sweep, make_trial
from synthetic_trials import depth, make_trials


def shown(trials: Trials, width: int = 100) -> list[str]:
    out = Console(file=io.StringIO(), width=width)
    show(trials, answer(trials, in_full=False), out)
    assert isinstance(out.file, io.StringIO)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


def test_the_answer_comes_first_then_a_table_with_a_column_a_key() -> None:
    trials = make_trials({"arch.n": (1, 2, 3), "optimizer": ("adam", "sgd")}, spread=0.001)
    sentence, head, *rows = shown(trials)
    assert sentence == answer(trials).sentence
    assert head.split() == ["arch.n", "optimizer", "val/accuracy", "p", "parameters", "multiply-adds", "time"]
    assert [row.split()[:3] for row in rows] == [
        ["1", "3", "adam"], ["2", "2", "adam"], ["3", "1", "adam"],
        ["4", "3", "sgd"], ["5", "2", "sgd"], ["6", "1", "sgd"],
    ]  # fmt: skip
    first = answer(trials).settings[0]
    assert rows[0].split()[3:6] == [f"{first.mean:.5f}", "+-", f"{first.spread:.5f}"]
    assert rows[0].split()[6:8] == ["3,000", "30,000"]  # the best has no p
    assert rows[-1].split()[6:10] == ["<", "0.001", "1,000", "10,000"]


def test_what_is_unfair_stands_before_the_table() -> None:
    lines = shown(make_trials(failed=[0]))
    assert lines[1].startswith("Missing repetitions: n=1 m=1 optimizer=adam has 2 of 3 seeds.")
    assert lines[2].split()[4:6] == ["p", "runs"]  # how many there are is told where it differs
    assert lines[-3:] == ["1 failed", "    1  ValueError: no room for 0 MiB", "       such as 000000000000"]


def test_single_runs_have_no_p_and_no_count() -> None:
    lines = shown(make_trials(seeds=1))
    assert lines[1].split() == ["arch.n", "arch.m", "optimizer", "val/accuracy", "parameters", "multiply-adds", "time"]


def test_settings_too_long_for_a_column_stand_below_their_numbers() -> None:
    patterns = [f"INPUT -> {'CONV -> RELU -> ' * count}FC" for count in (9, 10)]
    _, head, first, below, *_ = shown(make_trials({"arch.pattern": patterns}, truth=depth), 80)
    assert head.split() == ["val/accuracy", "p", "parameters", "multiply-adds", "time"]
    assert first.split()[0] == "1"
    assert below.strip() in [f"arch.pattern={pattern}" for pattern in patterns]


def test_a_long_ranking_names_what_it_leaves_out() -> None:
    lines = shown(make_trials({"arch.n": tuple(range(25))}, seeds=1, spread=0.0))
    assert len(lines) == 2 + 20 + 1
    assert lines[-1] == "and 5 settings more, down to val/accuracy 0.850"


def test_trials_that_are_left_come_last_with_the_command() -> None:
    lines = shown(replace(make_trials(pruned=[35]), left=3, command="python run.py -m arch.n=1,2"))
    assert lines[-2:] == ["1 pruned before their last epoch", "3 left. To go on: python run.py -m arch.n=1,2"]


class Report(ModuleType):
    """Writes the sentence only; what the report holds is tested elsewhere."""

    @staticmethod
    def write(trials: Trials, found: Answer, folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "report.html").write_text(found.sentence)
        return folder / "report.html"


@pytest.fixture
def sweep(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(sys.modules, "convgrid.compare.report", Report("report"))
    names = [f"n{n}s{seed}" for n in "12" for seed in "012"]
    for place, name in enumerate(names):
        folder = make_trial(in_tmp / "runs", name, epochs=2, params={"arch.n": name[1], "seed": name[3]})
        finish(folder, accuracy=0.9 + 0.01 * int(name[1]) + 0.001 * (place % 3))
    return make_sweep(in_tmp / "sweeps", "0a", [*names], varying={"arch.n": ["1", "2"]}, status="finished")


def test_the_command_prints_the_answer_and_writes_the_report(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "arch.n=2 is best: val/accuracy 0.9210 +- 0.0010 (sd over 3 seeds); second n=1 0.9110, worse"
    )
    assert printed.splitlines()[-1] == "report  sweeps/0a/report/report.html"
    assert (sweep / "report" / "report.html").read_text().startswith("arch.n=2 is best")
    assert main(["compare", "--sweep", "0", "--out", "elsewhere"]) == 0
    assert Path("elsewhere/report.html").exists()


def test_the_report_is_logged_to_the_sweeps_run(sweep: Path, store: str) -> None:
    client = MlflowClient(tracking_uri=store)
    location = (sweep / "artifacts").as_uri()
    run = client.create_run(client.create_experiment("convgrid", location)).info.run_id
    (sweep / "parent.json").write_text(json.dumps({"place": store, "uri": store, "run_id": run}))
    assert main(["compare"]) == 0
    assert [file.path for file in client.list_artifacts(run, "report")] == ["report/report.html"]


def test_a_store_that_is_away_costs_a_word_and_no_answer(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "parent.json").write_text(json.dumps({"place": "a", "uri": "http://127.0.0.1:9", "run_id": "a"}))
    assert main(["compare"]) == 0
    printed = capsys.readouterr()
    assert "is best" in printed.out
    assert printed.err.startswith("The report is in its folder only, not in MLflow: http://127.0.0.1:9 cannot")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sweep", "ff"], "ConfigError: ff is not a run or sweep known in "),
        (
            ["--map", "accuracy"],
            "ConfigError: --map accuracy is not OURS=THEIRS. Use one such as val/accuracy=valid_acc.",
        ),
        (
            ["--keys", "arch.q"],
            "ConfigError: --keys arch.q: no trial has a parameter arch.q. Those that differ: arch.n.",
        ),
        (
            ["--sweep", "0a", "--experiment", "x"],
            "ConfigError: --sweep reads a sweep's folders, --experiment what is in",
        ),
        (["--filter", "params.a = '1'"], "TrackingError: sqlite:///mlflow.db is missing: no "),
    ],
)
def test_a_mistake_is_told_in_a_line(
    sweep: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words]) == 1
    assert capsys.readouterr().err.startswith(told)


def test_where_nothing_has_finished_the_command_says_so(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_trial(Path("runs"), "a", status="failed", reason="no", ended=1)
    make_sweep(Path("sweeps"), "0a", ["a", None], command="run.py -m x=1,2")
    assert main(["compare"]) == 1
    assert capsys.readouterr().err == (
        "ConfigError: No trial of sweep 0a has finished with val/accuracy: 1 failed. To go on: run.py -m x=1,2\n"
    )


def test_compare_is_a_command(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, status in (["compare"], 0), (["compare", "--swep"], 2), (["compare", "--help"], 0):
        assert main(words) == status
    printed: Any = capsys.readouterr()
    assert "usage: convgrid compare" in printed.out
    assert "convgrid compare: error: --swep is not an argument of compare." in printed.err


def test_values_of_others_neither_steer_the_terminal_nor_make_lines() -> None:
    harmful = ("\x1b[2J[red]", "adam\n1  sgd  0.99", "=cmd()")
    lines = shown(make_trials({"optimizer": harmful}), 120)
    assert "\x1b" not in "".join(lines)
    rows = [line for line in lines if re.match(r"\d+  ", line)]
    assert sorted(row.split("  ")[1].strip() for row in rows) == ["=cmd()", r"\x1b[2J[red]", "adam\\n1"]
    assert {word for word in (r"\x1b[2J[red]", r"adam\n1  sgd  0.99") if any(word in line for line in lines)} == {
        r"\x1b[2J[red]",
        r"adam\n1  sgd  0.99",
    }


def test_a_race_has_a_column_that_says_who_is_out_and_no_p() -> None:
    trials = make_trials({"arch.n": (1, 2, 3)}, lambda point: 0.9 + 0.03 * (point["arch.n"] == 3), spread=0.0005)
    sentence, head, *rows = shown(replace(trials, race=RaceRules(3, 0.001, 20, None)))
    assert sentence.endswith("a race of 9 trials told it from all 2 others")
    assert head.split() == ["arch.n", "val/accuracy", "race", "parameters", "multiply-adds", "time"]
    assert [" best " in row for row in rows] == [True, False, False]
    assert [" out after 3 seeds " in row for row in rows] == [False, True, True]


def test_what_would_settle_it_stands_below_the_table() -> None:
    trials = make_trials({"arch.n": (1, 2)}, lambda point: 0.9, spread=0.003)
    lines = shown(replace(trials, command="python run.py"))
    assert re.search(r"settle it.*: python run\.py sweep\.seeds=", lines[4])

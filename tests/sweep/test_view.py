import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console

from convgrid.cli.main import main
from convgrid.cli.sweeps import show_sweeps
from convgrid.config import Settings, architecture
from convgrid.network.plan import plan
from convgrid.sweep import view as view_module
from convgrid.sweep.interfaces import Outcome, Survey, Trial
from convgrid.sweep.summary import show_summary
from convgrid.sweep.view import LineView, LiveView, SweepProgress, screen, view_for
from convgrid.terminal import printable
from sweep_folders import STARTED, finish, make_sweep, make_trial

SettingsMaker = Callable[..., Settings]
OBJECTIVE = ("val/accuracy", "max")


def console(width: int = 80, height: int = 24, *, terminal: bool = False, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    return Console(file=file, width=width, height=height, force_terminal=terminal)


def shown(screen: Console) -> list[str]:
    assert isinstance(screen.file, io.TextIOWrapper)
    assert isinstance(screen.file.buffer, io.BytesIO)
    text = screen.file.buffer.getvalue().decode(screen.file.encoding)
    return [line.rstrip() for line in re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", text).splitlines()]


@pytest.fixture
def make(settings: SettingsMaker) -> Callable[..., Trial]:
    made = settings()
    planned = plan(architecture(made), (1, 8, 8), 10)

    def trial(**varying: str) -> Trial:
        named = {key.replace("_", "."): value for key, value in varying.items()}
        overrides = tuple(f"{key}={value}" for key, value in named.items())
        return Trial(overrides, made, planned, " ".join(overrides), "", named)

    return trial


def done(accuracy: float, seconds: float = 3.21) -> Outcome:
    metrics = {"best/val/accuracy": accuracy, "test/accuracy": accuracy - 0.01}
    return Outcome("finished", metrics=metrics, best_epoch=3, epochs=20, seconds=seconds, folder="runs/a")


FAILED = Outcome("failed", "TrainingError: train/loss became nan in epoch 3.", seconds=1.0, folder="runs/abc")


def test_elsewhere_than_in_a_terminal_a_trial_is_one_line(make: Callable[..., Trial]) -> None:
    trials = [make(arch_n="1", optimizer=name) for name in ("sgd", "adam", "nadam", "adamax")]
    out = console()
    lines = view_for(out, *OBJECTIVE)
    assert isinstance(lines, LineView)
    lines.start(Survey(5, tuple(trials), finished=frozenset({trials[3].key})))
    outcomes = [done(0.98765), FAILED, Outcome("pruned", metrics={"best/val/accuracy": 0.5}, epochs=4, seconds=0.5)]
    for trial, outcome in zip(trials[:3], outcomes, strict=True):
        lines.started(0, trial)
        lines.epoch(0, trial, 1, 20, {"val/accuracy": 0.4})
        lines.ended(0, trial, outcome)
    lines.note("Stopping.")
    lines.close()
    assert shown(out) == [
        "[2/4] arch.n=1 optimizer=sgd  val/accuracy 0.9877  3.2 s",
        "[3/4] arch.n=1 optimizer=adam  failed: TrainingError: train/loss became nan in epoch 3.  1.0 s",
        "[4/4] arch.n=1 optimizer=nadam  pruned after epoch 4  val/accuracy 0.5  0.5 s",
        "Stopping.",
    ]


def test_trials_of_an_earlier_run_are_counted_once_and_not_told_again(make: Callable[..., Trial]) -> None:
    trials = tuple(make(arch_n=str(n)) for n in range(3))
    out = console()
    lines = LineView(out, *OBJECTIVE)
    lines.start(Survey(3, trials, finished=frozenset({trials[0].key, trials[1].key})))
    lines.ended(0, trials[0], done(0.95))
    lines.started(0, trials[1])  # sweep.rerun=all
    lines.ended(0, trials[1], done(0.8))
    lines.started(0, trials[2])
    lines.ended(0, trials[2], done(0.9))
    assert [line.partition("  ")[0] for line in shown(out)] == ["[2/3] arch.n=1", "[3/3] arch.n=2"]
    assert lines.progress.best == ("arch.n=0", 0.95, 1)


def test_a_killed_trial_is_left_to_go_on(make: Callable[..., Trial]) -> None:
    trials = tuple(make(arch_n=str(n)) for n in range(3))
    progress = SweepProgress(Survey(3, trials), *OBJECTIVE)
    progress.ended(0, trials[0], Outcome("killed", "interrupted"))
    assert (progress.done, progress.left) == (0, 3)


def test_the_screen_shows_counts_the_best_and_what_each_worker_does(make: Callable[..., Trial]) -> None:
    trials = tuple(make(arch_n=str(n), optimizer="adam") for n in range(8))
    progress = SweepProgress(Survey(8, trials), *OBJECTIVE)
    progress.ended(0, trials[0], done(0.9))
    progress.ended(0, trials[1], done(0.8))
    progress.ended(0, trials[2], FAILED)
    progress.started(0, trials[3])
    progress.epoch(1, trials[4], 7, 20, {"val/accuracy": 0.71234})
    out = console(terminal=True)
    out.print(screen(progress, out))
    lines = shown(out)
    assert re.search(r"  3/8  1 failed  2 running  3 left  about 0 s$", lines[0])
    assert lines[1:] == [
        "best  arch.n=0 optimizer=adam                                  val/accuracy 0.9",
        "1     arch.n=3 optimizer=adam                                          starting",
        "2     arch.n=4 optimizer=adam                         7/20  val/accuracy 0.7123",
    ]


def test_rows_of_other_machines_have_their_names(make: Callable[..., Trial]) -> None:
    trials = tuple(make(arch_n=str(n)) for n in range(2))
    progress = SweepProgress(Survey(2, trials), *OBJECTIVE)
    progress.started(6, trials[0], "node7.cluster.example")
    progress.started(7, trials[1], "a-name-that-takes-much-room")
    out = console(terminal=True)
    out.print(screen(progress, out))
    assert shown(out)[1:] == [
        "node7        arch.n=0                                                  starting",
        "es-much-room arch.n=1                                                  starting",
    ]


@pytest.mark.parametrize(("width", "height"), [(40, 10), (80, 24), (200, 50)])
def test_many_workers_with_long_settings_fit_any_screen(make: Callable[..., Trial], width: int, height: int) -> None:
    trials = tuple(make(arch_pattern=f"INPUT -> {'CONV -> RELU -> ' * 20} FC", seed=str(n)) for n in range(64))
    progress = SweepProgress(Survey(64, trials), *OBJECTIVE)
    for number, trial in enumerate(trials):
        progress.epoch(number, trial, 1, 20, {"val/accuracy": 0.7})
    out = console(width, height, terminal=True)
    out.print(screen(progress, out))
    lines = shown(out)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert re.fullmatch(r"and \d+ more", lines[-1]) or height == 50


def test_time_left_is_the_cost_to_come_at_the_rate_so_far(
    make: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(view_module.time, "monotonic", lambda: now[0])
    trials = tuple(make(seed=str(n)) for n in range(5))
    progress = SweepProgress(Survey(5, trials, finished=frozenset({trials[4].key})), *OBJECTIVE)
    assert progress.seconds_left() is None
    now[0] += 1000  # until the first machine has come
    progress.started(0, trials[0])
    now[0] += 30
    progress.ended(0, trials[0], done(0.9))
    progress.started(0, trials[1])
    progress.epoch(0, trials[1], 10, 20, {})
    assert progress.seconds_left() == pytest.approx(30 / 1.5 * 2.5)
    search = SweepProgress(Survey(0, ()), *OBJECTIVE, total=4)
    now[0] += 10
    search.ended(0, trials[0], done(0.9))
    assert search.seconds_left() == pytest.approx(30)


def test_a_terminal_gets_a_live_view_that_is_cleared_and_keeps_failures(make: Callable[..., Trial]) -> None:
    trials = tuple(make(arch_n=str(n)) for n in range(2))
    out = console(terminal=True)
    live = view_for(out, *OBJECTIVE)
    assert isinstance(live, LiveView)
    live.start(Survey(2, trials))
    live.started(0, trials[0])
    live.ended(0, trials[0], FAILED)
    live.close()
    text = "\n".join(shown(out))
    assert "0/2" in text
    assert "arch.n=0  failed: TrainingError: train/loss became nan in epoch 3." in text


def test_no_character_stops_a_sweep_on_an_ascii_console(in_tmp: Path, make: Callable[..., Trial]) -> None:
    trial = make(data_root="größe…")
    for terminal in (True, False):
        out = console(terminal=terminal, encoding="ascii")
        seen = view_for(out, *OBJECTIVE)
        seen.start(Survey(1, (trial,)))
        seen.started(0, trial)
        seen.ended(0, trial, Outcome("failed", "nicht möglich"))
        seen.close()
        make_sweep(Path("sweeps"), "0a", [])
        show_summary([(trial, Outcome("failed", "nicht möglich"))], "0a", out, left=0, command="")
        assert "m\\xf6glich" in "\n".join(shown(out))
    assert printable("größe", console()) == "größe"


def test_at_its_end_a_sweep_tells_the_answer_of_its_folders_and_all_that_failed(
    in_tmp: Path, make: Callable[..., Trial]
) -> None:
    for n, accuracies in {"1": (0.91, 0.912), "2": (0.95, 0.953)}.items():
        for seed, accuracy in enumerate(accuracies):
            finish(make_trial(Path("runs"), f"n{n}s{seed}", params={"arch.n": n, "seed": str(seed)}), accuracy=accuracy)
    make_sweep(Path("sweeps"), "0a", ["n1s0", "n1s1", "n2s0", "n2s1"], varying={"arch.n": ["1", "2"]}, status="killed")
    reasons = [f"diverged in epoch {epoch}" for epoch in (3, 12, 4)] + ["out of memory: 3.2 GiB " + "word " * 30]
    results: list[tuple[Trial, Outcome]] = [
        (make(arch_n=str(n)), Outcome("failed", reason, folder=f"runs/{n}" if n else ""))  # the first before it had one
        for n, reason in enumerate(reasons)
    ]
    out = console()
    show_summary(results, "0a", out, left=2, command="python run.py -m arch.n=1,2")
    lines = shown(out)
    assert lines[0].startswith("arch.n=2 is best: val/accuracy 0.9515 +- 0.0021 (sd over 2 seeds); second n=1 0.9110, ")
    failed = lines.index("4 failed")
    assert lines[failed + 1 : failed + 3] == ["    3  diverged in epoch 3", "       such as arch.n=0"]
    assert lines[failed + 3].startswith("    1  out of memory: 3.2 GiB word")
    assert lines[-2] == "       such as arch.n=3: runs/3/log.txt"
    assert lines[-1] == "2 left. To go on: python run.py -m arch.n=1,2"


def test_a_sweep_of_which_nothing_finished_tells_why_and_how_to_go_on(in_tmp: Path, make: Callable[..., Trial]) -> None:
    make_sweep(Path("sweeps"), "0a", [None])
    out = console()
    show_summary([(make(arch_n="1"), Outcome("failed", "no"))], "0a", out, left=1, command="again")
    assert shown(out) == ["1 failed", "    1  no", "       such as arch.n=1", "1 left. To go on: again"]


PARAMS: Mapping[str, str] = {"arch.n": "2", "optimizer": "adam", "seed": "0"}


def test_sweeps_are_listed_with_their_state_and_the_command_that_goes_on(tmp_path: Path) -> None:
    sweeps, runs = tmp_path / "sweeps", tmp_path / "runs"
    finish(make_trial(runs, "a", params={**PARAMS, "optimizer": "sgd"}), accuracy=0.9)
    finish(make_trial(runs, "b", params=PARAMS), accuracy=0.95)
    finish(make_trial(runs, "c"), status="failed", reason="x", metrics={})
    make_trial(runs, "d")
    make_sweep(sweeps, "0a", ["a", "b"], status="finished")
    make_sweep(sweeps, "0b", ["a", "c", "d", None], created=STARTED + 1000, command="run.py -m second")
    make_sweep(sweeps, "0c", [None], created=STARTED + 2000, command="run.py -m third")
    make_sweep(sweeps, "0d", ["c"], created=STARTED + 3000, status="failed", command="run.py -m fourth")
    out = console()
    with FileLock(sweeps / "0c" / "lock"):
        show_sweeps(out, sweeps, runs)
    lines = shown(out)
    assert lines[0].split() == ["sweep", "started", "state", "finished", "pruned", "failed", "left"]
    rows = [line.split()[3:] for line in lines[1:] if line.startswith("0")]
    assert rows == [
        ["finished", "2", "0", "0", "0"],
        ["interrupted", "1", "0", "1", "2"],
        ["running", "0", "0", "0", "1"],
        ["stopped", "0", "0", "1", "0"],
    ]
    assert [line for line in lines if line.startswith("  ")] == [
        "  best      val/accuracy 0.95  arch.n=2 optimizer=adam",
        "  command   run.py -m arch.n=1,2 optimizer=sgd,adam",
        "  best      val/accuracy 0.9  arch.n=2 optimizer=sgd",
        "  to go on  run.py -m second",
        "  command   run.py -m third",
        "  command   run.py -m fourth",
    ]
    assert max(map(len, lines)) <= 80


def test_a_race_lists_the_best_it_told_and_goes_on_between_two_looks(tmp_path: Path) -> None:
    sweeps, runs = tmp_path / "sweeps", tmp_path / "runs"
    for name, n, accuracy in (("a", "1", 0.9), ("b", "2", 0.8), ("c", "1", 0.5)):  # of the one in question, more
        finish(make_trial(runs, name, params={"arch.n": n, "seed": name}), accuracy=accuracy)
    rules = {"settings": 2, "tolerance": 0.1, "max_seeds": 20, "budget": None}
    varying = {"arch.n": ["1", "2"]}
    make_sweep(sweeps, "0a", ["a", "b", "c"], status="finished", winner="a", race=rules, varying=varying)
    make_sweep(sweeps, "0b", ["a", "b", "c"], status="killed", race=rules, varying=varying)
    out = console()
    show_sweeps(out, sweeps, runs)
    assert [line for line in shown(out) if line.startswith("  ")] == [
        "  best      val/accuracy 0.7 (mean of 2)  arch.n=1",
        "  command   run.py -m arch.n=1,2 optimizer=sgd,adam",
        "  best      val/accuracy 0.8  arch.n=2",
        "  to go on  run.py -m arch.n=1,2 optimizer=sgd,adam",
    ]


def test_a_sweep_whose_file_is_broken_is_named_below_the_others(tmp_path: Path) -> None:
    sweeps, runs = tmp_path / "sweeps", tmp_path / "runs"
    finish(make_trial(runs, "a", params={"arch.n": "3", "seed": "1"}))
    make_sweep(sweeps, "search", ["a"], status="finished", varying={}, searched=["arch.n", "arch.m"])
    (make_sweep(sweeps, "torn", []) / "sweep.json").write_text('{"id": "to')
    out = console()
    show_sweeps(out, sweeps, runs)
    assert "  best      val/accuracy 0.9  arch.n=3" in shown(out)
    said = shown(out)[-1]
    assert said.startswith(f"{sweeps}/torn/sweep.json cannot be read: Unterminated string starting at: line 1 column 8")
    assert said.endswith(". Its sweep, started again, writes it anew.")


def test_the_command_lists_sweeps_or_says_that_there_are_none(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweeps"]) == 0
    assert "There are no sweeps in" in capsys.readouterr().out
    make_sweep(Path("sweeps"), "0a", [None])
    assert main(["sweeps"]) == 0
    assert "to go on  run.py -m arch.n=1,2 optimizer=sgd,adam" in capsys.readouterr().out


def test_nodes_come_and_go_in_the_screen(make: Callable[..., Trial]) -> None:
    trials = tuple(make(seed=str(n)) for n in range(3))
    out = console(width=100, terminal=True)
    live = LiveView(out, *OBJECTIVE)
    live.start(Survey(3, trials))
    live.crew("2 nodes, 8 workers")
    live.started(0, trials[0])
    live.started(5, trials[1])
    live.lost(5)
    live.close()
    out.print(screen(live.progress, out))
    lines = [line for line in shown(out) if "2 nodes, 8 workers" in line or "starting" in line][-2:]
    assert re.search(r"0/3  1 running  2 left  2 nodes, 8 workers$", lines[0].rstrip())
    assert lines[1].startswith("1     seed=0")

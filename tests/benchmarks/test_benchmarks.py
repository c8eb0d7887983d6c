"""The benchmarks run to their ends; no time is asserted."""

import contextlib
import importlib
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from convgrid.cli.main import main as convgrid
from convgrid.compare import report
from convgrid.system import mlflow_database, processes
from forks import fork, fork_workers, fork_writers, import_for_forks

Run = Callable[..., list[str]]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


class ForkedPython:
    """What a benchmark calls of a `subprocess.Popen` of Python; it is a fork, which need not import torch again."""

    def __init__(self, *words: object, cwd: str = ".", **_: int) -> None:
        read, write = os.pipe()
        self._process = fork(self._run, write, cwd, *map(str, words))
        os.close(write)
        self.pid = self._process.pid
        self.stdout = open(read)  # noqa: SIM115  (its process ends with the benchmark's)
        self.terminate, self.wait = self._process.terminate, self._process.join

    def __enter__(self) -> "ForkedPython":
        return self

    def __exit__(self, *error: object) -> None:
        self.wait()

    def poll(self) -> int | None:
        return self._process.exitcode

    @staticmethod
    def _run(write: int, cwd: str, *words: str) -> None:
        os.dup2(write, 1)
        os.close(write)
        os.chdir(cwd)
        match words:
            case ["-m", "convgrid", *rest]:
                sys.exit(convgrid(rest))
            case [program, *rest] if Path(program).name == "run.py":
                sys.exit(convgrid(["run", *rest]))
            case [program, *_]:
                sys.argv = [*words]
                sys.modules[Path(program).stem].main()


@pytest.fixture
def run(in_tmp: Path, migrated_store: Path) -> Run:
    """What a benchmark prints, line by line; it has a process to itself, and other processes are forks of it."""
    import optuna.importance  # noqa: F401  (which takes a second, of each benchmark that compares)

    import_for_forks()

    def main(name: str, *arguments: str) -> None:
        sys.path.insert(0, str(BENCHMARKS))
        sys.argv = [name, "--quick", *arguments]
        fork_workers()
        fork_writers(setattr)
        processes.warm_up = lambda: None
        mlflow_database._create = lambda path: shutil.copyfile(migrated_store, path)
        report.save = lambda *_: None  # pictures, at which tests of the report look
        benchmark = importlib.import_module(Path(name).stem)
        if hasattr(benchmark, "start_python"):
            vars(benchmark)["start_python"] = ForkedPython
        with Path("printed").open("w") as file, contextlib.redirect_stdout(file):
            benchmark.main()

    def lines(name: str, *arguments: str) -> list[str]:
        process = fork(main, name, *arguments)
        process.join()
        assert process.exitcode == 0
        return Path("printed").read_text().splitlines()

    return lines


def test_overhead_prints_the_ratios_of_steps_and_epochs_for_each_network(run: Run) -> None:
    *lines, kept = run("overhead.py", "trainer=cpu")
    networks = ["the digits default", "32x32 pixels, 16/32/64 filters"]
    networks.append("a residual network on 32x32 pixels, 16/32/64 filters")
    assert [line.partition(":")[0] for line in lines[::3]] == networks
    for steps, epochs in zip(lines[1::3], lines[2::3], strict=True):
        assert re.match(r"  step   ratio \d+\.\d{3} \(at most 1\.\d+\)  median \d+\.\d+ ms over \d", steps)
        assert re.match(r"  epoch  ratio \d+\.\d{3}  median \d+\.\d+ ms over \d", epochs)
    assert kept == "  memory kept from the way forward for the way back: ratio 1.000 (at most 1)"


def test_commands_that_train_nothing_import_nothing_heavy(run: Run) -> None:
    first, *others = run("startup.py")
    assert re.fullmatch(r"import hydra: median \d+ ms of 1", first)
    assert [line.partition(" ratio ")[0].strip() for line in others] == ["--help", "--cfg job", "dry_run=true"]
    for line in others:
        told = r".* ratio \d+\.\d\d \(at most 3\)  median \d+ ms, imports no lightning, mlflow, sklearn, torch"
        assert re.fullmatch(told, line)


def test_memory_prints_estimates_that_hold_and_the_ratio_of_steps(run: Run) -> None:
    *estimates, turn, ratio = run("memory.py")
    found = [re.fullmatch(r".* MiB measured, ratio (\d\.\d{3}) \(at most 0\.25 from 1\)", line) for line in estimates]
    assert len(found) == 1
    assert all(each is not None and abs(float(each[1]) - 1) <= 0.25 for each in found)
    assert re.fullmatch(r"returned to the kernel +\d+\.\d ms a step   kept +\d+\.\d ms a step", turn)
    assert re.fullmatch(r"ratio \d+\.\d\d", ratio)


def test_tracking_prints_the_ratios_to_mlflows_own_calls_and_loses_nothing(run: Run) -> None:
    wall, cpu, slots = run("tracking.py")
    sides = "   ".join(rf"{side} +\d+\.\d ms" for side in ("one by one", "16 at once", "MLflow's fluent"))
    for name, line in (("wall", wall), ("CPU", cpu)):
        assert re.fullmatch(rf"{name} +{sides}   ratios \d+\.\d and \d+\.\d", line)
    late = r"\d\.\d\d of 128 values stored by then; \d+\.\d s later 0 trials left for sync; 0 missing"
    assert re.fullmatch(rf"4 slots, 8 trials of 2 epochs in \d+ s: {late}", slots)


def test_report_prints_time_and_size(run: Run) -> None:
    (line,) = run("report.py")
    told = r" +30 trials: written in \d+\.\d s, 0\.\d\d MB, not opened \(at most 5 MB and 2 s\)"
    assert re.fullmatch(told, line)


def test_plan_prints_time_and_memory_of_two_sizes(run: Run) -> None:
    small, joins, large = run("plan.py")
    assert re.fullmatch(r" +8 points: median \d+\.\d\d s \(at most 5 s for 1,000\), \d+ MiB", small)
    assert re.fullmatch(r" +8 with joins: median \d+\.\d\d s \(at most 5 s for 1,000\), \d+ MiB", joins)
    assert re.fullmatch(r" +16 points: median \d+\.\d\d s, \d+ MiB", large)


def test_asha_prints_the_share_of_epochs_and_what_was_reached(run: Run) -> None:
    repetition, epochs, reached = run("asha.py")
    told = (
        r"repetition 0: epochs ratio \d\.\d{3}  reached 0\.\d{4} of 0\.\d{4} \((the same|another) config, .*\)  \d+ s"
    )
    assert re.fullmatch(told, repetition)
    assert re.fullmatch(r"epochs ratio \d\.\d{3} \(at most 0\.333\), largest \d\.\d{3}", epochs)
    assert re.fullmatch(r"reached \d\.\d{4} less, largest \d\.\d{4}; sd over seeds \d\.\d{4}", reached)


def test_trial_prints_what_a_trial_takes_beyond_its_steps(run: Run) -> None:
    one, two, beyond = run("trial.py")
    for line, epochs in ((one, 1), (two, 2)):
        told = rf"a trial of +{epochs} epochs: \d+\.\d+ s, its steps by hand \d+\.\d+ s, beyond them -?\d+\.\d+ s"
        assert re.fullmatch(told, line)
    assert re.fullmatch(r"a trial -?\d\.\d{3} s beyond its steps \(at most 0\.15\), and .* further epoch", beyond)


def test_compare_prints_the_time_of_two_sizes(run: Run) -> None:
    lines = run("compare.py")
    assert len(lines) == 2
    for size, line in zip((24, 48), lines, strict=True):
        assert re.fullmatch(rf" +{size} trials: read in \d+\.\d\d s, answered in \d+\.\d\d s", line)


def test_comparison_prints_how_often_it_errs_and_what_it_sees(run: Run) -> None:
    head, *lines = run("comparison.py")
    cells = r"(false winner|best lost|coverage)"
    assert re.findall(cells, head) == ["false winner", "best lost", "coverage", "false winner"]
    (at_worst,) = [place for place, line in enumerate(lines) if line.startswith("at worst")]
    assert [line.split()[:4] for line in lines[:at_worst]] == [
        ["2", "3", "seeds", "normal"], ["6", "3", "seeds", "normal"], ["2", "3", "seeds", "heavy"],
        ["6", "3", "seeds", "heavy"], ["6", "3", "folds", "normal"],
    ]  # fmt: skip
    assert re.fullmatch(
        r"at worst: false winner 0\.\d{4} \(at most 0\.05\), best lost 0\.\d{4} \(at most 0\.05\), "
        r"coverage \d\.\d{4} \(at least 0\.95\)",
        lines[at_worst],
    )
    assert re.fullmatch(r" +6  4 sd  3 \d\.\d\d \(\d\.\d\d\)", lines[-1])


def test_racing_prints_what_a_race_takes_and_how_often_it_errs(run: Run) -> None:
    _, *cases, normal, heavy, skewed = run("racing.py")
    assert len(cases) == 28  # four spreads of seven truths
    for name, line in (("normal", normal), ("heavy", heavy), ("skewed", skewed)):
        told = rf"at worst, {name}: false winner \d\.\d{{3}} \(at most 0\.05\), good left \d\.\d{{4}} \(.*0\.99\)"
        assert re.fullmatch(told, line)


def test_sliding_prints_the_ratio_of_one_pass_to_all_windows(run: Run) -> None:
    turn, ratio = run("sliding.py")
    assert re.fullmatch(r"one pass +\d+\.\d ms   4 windows +\d+\.\d ms", turn)
    assert re.fullmatch(r"ratio \d+\.\d", ratio)


def test_augment_prints_the_ratios_of_both_sizes_and_says_where_kornia_is_missing(run: Run) -> None:
    lines = run("augment.py")
    assert [line.partition(" a batch")[0] for line in lines[::4]] == ["128 images of 3x32x32", "32 images of 3x150x150"]
    ratio = r"[\d,]+ images/s   convgrid is \d+\.\d\d times as fast \(half of the turns \d+\.\d\d to \d+\.\d\d\)"
    for ours, kornias, pillows in (lines[1:4], lines[5:8]):
        assert re.fullmatch(r"  convgrid +[\d,]+ images/s", ours)
        assert re.fullmatch(rf"  kornia +(not installed, left out: pip install kornia|{ratio})", kornias)
        assert re.fullmatch(rf"  Pillow +{ratio}", pillows)
    assert len(lines) == 8


def test_executors_prints_what_nodes_and_a_scheduler_of_many_take(run: Run) -> None:
    pytest.importorskip("zmq")
    lines = run("executors.py")
    expected = (
        r"3 trials of 1 epochs, two workers here beside two nodes with one each",
        r"  from first to last  ratio \d\.\d{3} \(at most 1\.1\)  median \d+\.\d\d s of 1",
        r"  gap to the next trial  \d+ ms \(at most 50\)  local \d+ ms",
        r"  start-up  .* s, local .* s with its first trials.*",
        r"4 nodes with 2 slots, epochs of 0\.5 s, 16 trials of 1 epochs",
        r"  scheduler  \d\.\d\d of a core \(at most 0\.5\), \d+ MB \(at most 500\), \d+ events a second",
        r"  wait of a slot for its next trial  median \d+ ms \(at most 100\), 99 of 100 within \d+ ms",
        r"  whole  \d+\.\d s, ratio \d+\.\d\d to slots that never wait",
    )
    assert len(lines) == len(expected)
    for line, form in zip(lines, expected, strict=True):
        assert re.fullmatch(form, line), line

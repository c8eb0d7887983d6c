"""Real sweeps with real processes, hurt in every way: the rest comes out as if nothing had happened."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

from convgrid.compare import answer, load
from convgrid.config import Composition, check
from convgrid.sweep.executors import local
from convgrid.sweep.grid_plan import plan_grid
from convgrid.sweep.messages import EpochEnded, Job
from forks import fork, fork_convgrid, fork_within

RUN = Path(__file__).parents[2] / "run.py"
SMALL = ("data.limit=64", "arch.filters=4", "arch.hidden=4", "trainer.max_epochs=3", "trainer=cpu", "tracking=none")
FAULTY = """
import os, sys, time
import torch

def faulty(x, *, kind="fine", most=16):
    if x.numel() > 1 and torch.is_grad_enabled():
        if kind == "raise":
            raise RuntimeError("no such luck")
        if kind == "exit":
            os._exit(3)
        if kind == "quit":
            sys.exit(4)
        if kind == "hang":
            time.sleep(1000)
        if kind == "diverge":
            return x * float("nan")
        if kind == "allocate":
            kept = [torch.empty(2**26) for _ in range(10**6)]
        if kind == "greedy" and len(x) > most:
            torch.empty(2**50, device=x.device)
        if kind == "slow":
            time.sleep(0.02)
    return torch.relu(x)
"""


def with_options(folder: Path) -> Path:
    """Put the activation into a folder."""
    options = folder / "mine" / "activation"
    options.mkdir(parents=True)
    (options / "faulty.yaml").write_text("# Goes wrong.\n_target_: faulty.faulty\nkind: fine\nmost: 16\n")
    (folder / "mine" / "faulty.py").write_text(FAULTY)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return with_options(tmp_path)


def words(*overrides: str) -> list[str]:
    return ["-m", "--config-dir", "mine", "activation=faulty", *SMALL, *overrides]


def with_faulty(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "mine"), os.environ.get("PYTHONPATH", "")])}


def start(folder: Path, *overrides: str) -> "subprocess.Popen[str]":
    """As the user would: for what happens to its processes."""
    return subprocess.Popen(
        [sys.executable, str(RUN), *words(*overrides)],
        cwd=folder,
        env=with_faulty(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def begin(folder: Path, *overrides: str) -> BaseProcess:
    """A sweep that need not import torch and Lightning again, which takes 5 s."""
    return fork_convgrid(folder, folder / "said", "run", *words(*overrides))


def end(process: BaseProcess, folder: Path, status: int = 0) -> str:
    """Wait for the end of a sweep; what it has printed."""
    process.join(120)
    output = (folder / "said").read_text()
    assert process.exitcode == status, output
    return output


def sweep(folder: Path, *overrides: str, status: int = 0) -> str:
    """What a sweep prints."""
    return end(begin(folder, *overrides), folder, status)


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("runs/*/run.json")}


def statuses(folder: Path, key: str) -> dict[str, str]:
    return {record["params"][key]: record["status"] for record in records(folder).values()}


def results(folder: Path) -> dict[str, Any]:
    """What each finished trial came to, with all its epochs; the times left out."""
    found = {}
    for name, record in records(folder).items():
        if record["status"] == "finished":
            lines = (folder / "runs" / name / "metrics.jsonl").read_text().splitlines()
            epochs = [(line["epoch"], line["metrics"]) for line in map(json.loads, lines)]
            found[name] = (record["metrics"], record["best_epoch"], epochs)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Four trials, the slow ones among them because they can be met while they train."""
    folder = with_options(tmp_path_factory.mktemp("undisturbed"))
    sweep(folder, *FOUR)
    return results(folder)


FOUR = ("activation.kind=slow", "seed=0,1,2,3", "sweep.workers=2")


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"nothing after {seconds} s")


def trained_epoch(folder: Path) -> Callable[[], bool]:
    return lambda: any(path.stat().st_size for path in folder.glob("runs/*/metrics.jsonl"))


def workers_of(folder: Path) -> list[int]:
    """Processes that train below a folder: they alone hold a trial's lock file open."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                open_files = [os.readlink(file) for file in (process / "fd").iterdir()]
            except OSError:
                continue
            if any(name.startswith(f"{folder}/runs/") and name.endswith("/lock") for name in open_files):
                found.append(int(process.name))
    return found


def kill_in_training(folder: Path, kill: Callable[[], None]) -> None:
    """A sweep that dies in the middle, by SIGKILL, and its workers with it."""
    wait_for(trained_epoch(folder))
    kill()
    wait_for(lambda: not workers_of(folder), seconds=10)


def test_whatever_a_trial_does_the_others_finish(folder: Path) -> None:
    kinds = "fine,raise,exit,quit,hang,diverge,greedy"
    output = sweep(
        folder, f"activation.kind={kinds}", "sweep.trial_timeout=10", "sweep.retries=0", "sweep.workers=2",
        "sweep.max_consecutive_failures=100", status=1,
    )  # fmt: skip
    assert statuses(folder, "activation.kind") == {
        "fine": "finished", "greedy": "finished", "raise": "failed", "exit": "failed", "quit": "failed",
        "hang": "failed", "diverge": "failed",
    }  # fmt: skip
    reasons = {record["params"]["activation.kind"]: record["reason"] for record in records(folder).values()}
    assert reasons["raise"] == "RuntimeError: no such luck"
    assert reasons["exit"] == "its process ended with exit status 3"
    assert reasons["quit"] == "SystemExit: 4"
    assert reasons["hang"] == "it took longer than sweep.trial_timeout=10 seconds"
    assert reasons["diverge"].startswith("train/loss became nan in epoch 1: the training diverged.")
    for reason in reasons.values():
        assert reason.partition(".")[0] in output
    by_kind = {record["params"]["activation.kind"]: name for name, record in records(folder).items()}
    assert "RuntimeError: no such luck" in (folder / "runs" / by_kind["raise"] / "log.txt").read_text()
    assert "Traceback" in (folder / "runs" / by_kind["raise"] / "log.txt").read_text()
    assert records(folder)[by_kind["greedy"]]["tags"]["convgrid.accumulate"] == "2"


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Processes that are started have 4 GiB of address space beyond what this one has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 4 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("little_memory")
def test_a_trial_that_takes_all_memory_fails_alone(folder: Path) -> None:
    output = sweep(folder, "activation.kind=fine,allocate", "sweep.workers=2", status=1)
    assert statuses(folder, "activation.kind") == {"fine": "finished", "allocate": "failed"}
    assert "out of memory" in output


def test_a_sweep_whose_first_trials_fail_alike_stops(folder: Path) -> None:
    output = sweep(
        folder, "activation.kind=raise", "optimizer.lr=0.1,0.2,0.3,0.4", "seed=0,1", "sweep.workers=1",
        "sweep.retries=0", "sweep.max_consecutive_failures=3", status=1,
    )  # fmt: skip
    assert len(records(folder)) == 5  # two seeds of two settings, and the third's first
    assert output.count("no such luck") == 1 or "failed alike" in output


def test_a_killed_worker_costs_its_trial_only_and_that_goes_on(folder: Path, undisturbed: dict[str, Any]) -> None:
    process = begin(folder, *FOUR, "sweep.retries=1")
    wait_for(trained_epoch(folder))
    os.kill(wait_for(lambda: workers_of(folder))[0], signal.SIGKILL)
    assert "killed by SIGKILL" in end(process, folder)
    assert results(folder) == undisturbed


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep's folder, to be copied."""
    folder = with_options(tmp_path_factory.mktemp("killed"))
    process = start(folder, *FOUR)
    kill_in_training(folder, process.kill)
    process.communicate(timeout=60)
    return folder


def test_a_killed_sweep_takes_its_workers_along_and_goes_on(
    killed: Path, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    folder = Path(shutil.copytree(killed, tmp_path / "copy"))
    before = {name: record for name, record in records(folder).items() if record["status"] == "finished"}
    sweep(folder, *FOUR)
    assert results(folder) == undisturbed
    assert before.items() <= records(folder).items()  # nothing was done twice


RACE = ("optimizer=sgd,adam", "sweep.seeds=auto", "sweep.tolerance=0.5", "sweep.max_seeds=5", "activation.kind=slow")


def test_a_killed_race_goes_on_and_decides_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    def ended() -> tuple[object, ...]:
        found = answer(load())
        assert found.race is not None
        assert found.race.ending is not None
        return found.sentence, found.race, [(each.values, each.mean, each.status) for each in found.settings]

    sweep(folder, *RACE)
    undisturbed = ended(), results(folder)
    for name in ("runs", "sweeps"):
        shutil.rmtree(folder / name)
    kill_in_training(folder, begin(folder, *RACE).kill)
    assert answer(load()).race != undisturbed[0][1]
    sweep(folder, *RACE)
    assert (ended(), results(folder)) == undisturbed


def hang_up(*overrides: str) -> None:
    """Be a scheduler that closes its end of a pipe while a worker trains."""
    pipes: list[Any] = []

    def pipe() -> Any:
        pipes.append(Pipe())
        return pipes[-1]

    def alone(work: Callable[..., None], *args: Any) -> None:
        pipes[-1][0].close()  # a fork holds the scheduler's end as well
        work(*args)

    local.multiprocessing.Pipe = pipe
    local.start = lambda work, *args: fork(alone, work, *args)
    command = check(words(*overrides))
    assert command.settings is not None
    trial, *_ = plan_grid(command.grids, Composition(command.composer), command.settings).trials
    workers = local.Local(workers=1, trials_per_gpu=1, threads=1, accelerator="cpu")
    (worker,) = workers.workers
    workers.give(worker, Job(trial, "a-sweep"))
    while not any(isinstance(event, EpochEnded) for _, event in workers.events(timeout=60)):
        pass
    its = workers._processes[worker.number]
    its.connection.close()
    its.process.join(60)
    print("ended with", its.process.exitcode, flush=True)


def test_a_worker_whose_scheduler_is_gone_does_not_call_its_trial_failed(folder: Path) -> None:
    """The process that holds the pipe's other end lives on: the worker learns of it from the pipe alone."""
    process = fork_within(folder, folder / "said", hang_up, "activation.kind=slow", "seed=0,1")
    assert end(process, folder) == "ended with 1\n"
    assert [record["status"] for record in records(folder).values()] == ["running"]


def test_ctrl_c_ends_trials_cleanly_and_the_sweep_goes_on(folder: Path, undisturbed: dict[str, Any]) -> None:
    process = start(folder, *FOUR)
    wait_for(trained_epoch(folder))
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert set(statuses(folder, "seed").values()) <= {"finished", "killed"}
    assert "killed" in statuses(folder, "seed").values()
    sweep(folder, *FOUR)
    assert results(folder) == undisturbed


def test_a_signal_to_all_processes_of_a_sweep_ends_its_trials_as_interrupted(folder: Path) -> None:
    """As `timeout` or Slurm sends it: to the sweep, and to the whole group, in which the fork server is.

    A run hears SIGUSR1 in the same way (training/test_trial.py).
    """
    process = start(folder, *FOUR, "trainer.max_epochs=1000")
    wait_for(trained_epoch(folder))
    os.killpg(process.pid, signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    ended = {(record["status"], record["reason"]) for record in records(folder).values()}
    assert ended == {("killed", "interrupted")}
    assert workers_of(folder) == []


def test_ctrl_c_while_workers_are_still_being_made_is_a_word(folder: Path) -> None:
    process = start(folder, *FOUR, "trainer.max_epochs=1000")
    assert process.stdout is not None
    process.stdout.readline()  # the plan's first line: torch is being imported beside
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in output


CHILD = """
import os, sys, time
from convgrid.system.processes import PARENT, end_with_parent
if sys.argv[1] == "late":
    parent = os.getppid()
    print("started", flush=True)
    while os.getppid() == parent:
        time.sleep(0.01)
    os.environ[PARENT] = str(parent)
end_with_parent()
print("under way", flush=True)
time.sleep(1000)
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip())
"""


@pytest.mark.parametrize(("when", "said"), [("in time", "under way\n"), ("late", "started\n")])
def test_a_fork_server_that_still_imports_ends_with_a_sweep_that_is_refused(when: str, said: str) -> None:
    """Whoever reads all that can be printed to stderr waits for the child, too."""
    command = [sys.executable, "-W", "ignore", "-c", PARENT, CHILD, when]
    alone = {name: value for name, value in os.environ.items() if name != "CONVGRID_PARENT"}  # another test's sweep
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=alone)
    assert (done.stdout, done.stderr) == (said, "")


def test_broken_files_of_a_trial_are_trained_again_and_hurt_no_other(
    killed: Path, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    folder = Path(shutil.copytree(killed, tmp_path / "copy"))
    for file in folder.glob("runs/*/last.ckpt"):
        file.write_bytes(file.read_bytes()[:100])
    broken, *_ = folder.glob("runs/*/run.json")
    broken.write_text(broken.read_text()[:20])
    next(folder.glob("sweeps/*/sweep.json")).write_text("{")
    sweep(folder, *FOUR)
    assert results(folder) == undisturbed


def test_two_sweeps_at_once_train_each_trial_once(folder: Path, undisturbed: dict[str, Any]) -> None:
    line = ("run", *words(*FOUR, "sweep.workers=1"))
    processes = [fork_convgrid(folder, folder / name, *line) for name in ("one", "other")]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert results(folder) == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB; as another user than root, it cannot be mounted, and the test says so."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_stops_the_sweep_and_room_lets_it_go_on(folder: Path, small_disk: Path) -> None:
    (folder / "runs").symlink_to(small_disk)
    (small_disk / "filler").write_bytes(bytes(900_000))
    output = sweep(folder, *FOUR, status=1)
    assert "No space left on device" in output
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    sweep(folder, *FOUR)
    assert sorted(statuses(folder, "seed")) == ["0", "1", "2", "3"]
    assert set(statuses(folder, "seed").values()) == {"finished"}


def test_a_folder_that_cannot_be_written_is_one_line(folder: Path, small_disk: Path) -> None:
    (folder / "sweeps").symlink_to(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    output = sweep(folder, *FOUR, status=1)
    assert output.splitlines()[-1].startswith("DiskError: ")
    assert output.splitlines()[-1].endswith("cannot be used: Read-only file system.")
    assert "Traceback" not in output

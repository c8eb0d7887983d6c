"""What tests of sweeps over machines share: trials that wait for the test's word, and what they must come to."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from forks import fork_convgrid

RUN = Path(__file__).parents[1] / "run.py"
EPOCHS, SEEDS = 6, 6
SOON = 300.0  # seconds; nothing of it is waited for where all goes well
TRIALS = (
    *("--config-dir", "mine", "activation=patient", "data.limit=64", "arch.filters=4", "arch.hidden=4", "trainer=cpu"),
    *("tracking=none", f"trainer.max_epochs={EPOCHS}", f"seed=range({SEEDS})"),
)
PATIENT = """
import time
from pathlib import Path
import torch

def patient(x, *, seconds=1.5):
    end = time.monotonic() + seconds
    while torch.is_grad_enabled() and x.numel() > 1 and not Path("go").exists() and time.monotonic() < end:
        time.sleep(0.05)
    return torch.relu(x)
"""


def make_desk(folder: Path) -> Path:
    """A user's folder; trials in it are slow until there is a file `go`."""
    options = folder / "mine" / "activation"
    options.mkdir(parents=True)
    (options / "patient.yaml").write_text("# Waits.\n_target_: patient.patient\nseconds: 1.5\n")
    (folder / "mine" / "patient.py").write_text(PATIENT)
    return folder


Start = Callable[..., "subprocess.Popen[bytes]"]


@contextmanager
def sweeps() -> Iterator[Start]:
    """Starts sweeps, given a folder, an environment and overrides; ends those that are left at the end."""
    with ExitStack() as stack:

        def start(folder: Path, environment: Mapping[str, str], *overrides: str) -> "subprocess.Popen[bytes]":
            line, variables = words(*overrides), found(folder, environment)
            with (folder / "said").open("w") as out:
                process = subprocess.Popen(line, cwd=folder, env=variables, stdout=out, stderr=out)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


def words(*overrides: str) -> list[str]:
    """What is typed."""
    return [sys.executable, str(RUN), "-m", *TRIALS, *overrides]


def found(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which the user's own activation is found."""
    path = [str(folder / "mine"), *(place for place in [environment.get("PYTHONPATH", "")] if place)]
    return {**environment, "PYTHONPATH": ":".join(path)}


def undisturbed(shared: Path) -> dict[str, Any]:
    """What the trials come to on this machine, where nothing happens to them.

    Args:
        shared: Keeps it, for other processes of tests as well.
    """
    folder = shared / "undisturbed"
    with FileLock(shared / "undisturbed.lock"):
        if not folder.exists():
            (make_desk(folder) / "go").touch()
            process = fork_convgrid(folder, folder / "said", "run", "-m", *TRIALS, "sweep.workers=2")
            process.join(SOON)
            assert process.exitcode == 0, said(folder)
    return results(folder)


def refused(folder: Path, *overrides: str) -> str:
    """What a sweep prints that trains nothing."""
    make_desk(folder)
    process = fork_convgrid(folder, folder / "said", "run", "-m", *TRIALS, *overrides)
    process.join(SOON)
    assert process.exitcode == 1, said(folder)
    assert not (folder / "runs").exists()
    return said(folder)


def said(folder: Path) -> str:
    """What a sweep has printed."""
    return (folder / "said").read_text()


def node_processes(folder: Path) -> list[psutil.Process]:
    """Those of a folder's sweep."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = process.cmdline()
            if line[1:4] == ["-m", "convgrid", "node"] and line[4].startswith(f"{folder}/"):
                found.append(process)
    return found


def trained(folder: Path) -> int:
    """How many trials have an epoch."""
    return sum(path.stat().st_size > 0 for path in folder.glob("runs/*/metrics.jsonl"))


def results(folder: Path) -> dict[str, Any]:
    """What each trial came to: all its metrics. Each has trained each epoch, and once."""
    found = {}
    for path in folder.glob("runs/*/run.json"):
        record = json.loads(path.read_text())
        lines = list(map(json.loads, (path.parent / "metrics.jsonl").read_text().splitlines()))
        assert (record["status"], record["reason"]) == ("finished", ""), record
        assert [line["epoch"] for line in lines] == [*range(1, EPOCHS + 1)]
        found[path.parent.name] = (record["metrics"], record["best_epoch"], [line["metrics"] for line in lines])
    assert len(found) == SEEDS
    return found


def wait_for(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: If it does not in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)


def hears(folder: Path, pattern: str, times: int = 1) -> None:
    """Wait until a sweep has said something."""
    try:
        wait_for(lambda: len(re.findall(pattern, said(folder))) >= times, pattern, SOON)
    except TimeoutError as error:
        raise AssertionError(f"{error}. It says:\n{said(folder)}") from None

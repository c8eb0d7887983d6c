"""A real sweep on two nodes that are hurt comes to what it comes to on one machine that is not, bit by bit."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from forks import fork_convgrid

pytestmark = pytest.mark.waits

RUN = Path(__file__).parents[3] / "run.py"
WORDS = (
    *("-m", "arch.n=1,2", "optimizer=sgd,adam", "sweep.seeds=2", "arch.filters=4", "arch.hidden=8", "data.limit=200"),
    *("trainer.max_epochs=4", "trainer=cpu", "tracking=none", "sweep.workers=1", "sweep.retries=1"),
    "sweep.rerun=failed",  # the scheduler may be killed before the trial of the killed worker is tried again
)
BY_HAND = ("sweep/executor=hand", "sweep.executor.host=127.0.0.1", "sweep.executor.lost_after=5")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@dataclass
class Started:
    """A process, and the file of what it prints."""

    process: "subprocess.Popen[bytes]"
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def ends(self, status: int = 0) -> str:
        assert self.process.wait(timeout=300) == status, self.said()
        return self.said()


Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Python with some words in a folder; what still runs at the end of the test is killed."""
    with ExitStack() as stack:

        def begin(folder: Path, *words: str, **env: str) -> Started:
            output = tmp_path / f"{len(list(tmp_path.glob('*.out')))}.out"
            file = stack.enter_context(output.open("w"))
            command = [sys.executable, *words]
            process = subprocess.Popen(command, cwd=folder, env={**ENVIRONMENT, **env}, stdout=file, stderr=file)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return Started(process, output)

        yield begin


def wait_for(condition: Callable[[], object], seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def results(folder: Path) -> Mapping[str, Any]:
    """What each trial came to, with all its epochs; the times left out."""
    found: dict[str, Any] = {}
    for path in folder.glob("runs/*/run.json"):
        record = json.loads(path.read_text())
        lines = map(json.loads, (path.parent / "metrics.jsonl").read_text().splitlines())
        epochs = [(line["epoch"], line["metrics"]) for line in lines]
        found[path.parent.name] = (record["status"], record["metrics"], record["best_epoch"], epochs)
    return found


def workers_of(node: Started, folder: Path) -> Sequence[psutil.Process]:
    """Those that hold a trial's folder."""
    return [
        child
        for child in psutil.Process(node.process.pid).children(recursive=True)
        if any(str(folder / "runs") in file.path for file in child.open_files())
    ]


def lines_of_children(scheduler: Started) -> str:
    return " ".join(word for child in psutil.Process(scheduler.process.pid).children() for word in child.cmdline())


def test_a_sweep_by_hand_that_is_hurt_comes_to_what_it_comes_to_on_one_machine(tmp_path: Path, start: Start) -> None:
    """A worker is killed, which costs the trial a retry; then a node, then the scheduler, all by SIGKILL."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    undisturbed = fork_convgrid(here, tmp_path / "undisturbed.out", "run", *WORDS)
    killed = start(there, str(RUN), *WORDS, *BY_HAND)
    wait_for(lambda: [*there.glob("sweeps/*/scheduler.json")] or killed.process.poll() is not None)
    (file,) = there.glob("sweeps/*/scheduler.json")
    nodes = [start(tmp_path, "-m", "convgrid", "node", str(file), SLURMD_NODENAME=name) for name in ("first", "second")]
    wait_for(lambda: any(workers_of(nodes[0], there)))
    workers_of(nodes[0], there)[0].kill()
    retried = "killed by SIGKILL, as the system does where memory runs out. It is tried again."
    wait_for(lambda: retried in killed.said())
    wait_for(lambda: any(workers_of(nodes[1], there)))
    nodes[1].process.kill()
    assert "forkserver" not in lines_of_children(killed)  # nothing is trained here, so torch is not imported
    wait_for(lambda: any(workers_of(nodes[0], there)))
    killed.process.kill()
    again = start(there, str(RUN), *WORDS, *BY_HAND).ends()
    assert "first has come: 1 worker" in again
    assert "2 nodes of this sweep's earlier start may still train" in again
    assert "The sweep is over." in nodes[0].ends()
    undisturbed.join(300)
    assert undisturbed.exitcode == 0
    assert len(results(here)) == 8
    assert repr(sorted(results(there).items())) == repr(sorted(results(here).items()))
    assert re.search(r"\[8/8\]", again)
    nodes[1].ends(-signal.SIGKILL)

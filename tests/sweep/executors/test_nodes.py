"""Node processes and schedulers hurt in every way, on one machine: no trial is lost, none trained twice at once."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from conftest import NO_NAMESPACES
from forks import fork
from stand_in_nodes import JOURNAL, LOST_AFTER, noted, run_node, run_scheduler, trained_twice_at_once, trials

SETNS = 0x40000000  # CLONE_NEWNET, of setns(2)


@dataclass
class Started:
    """A process, and the file of what it prints."""

    process: BaseProcess
    output: Path

    @property
    def has_ended(self) -> bool:
        return self.process.exitcode is not None

    def send(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """Return once it is dead."""
        self.process.kill()
        self.process.join()

    def ends(self, status: int = 0) -> str:
        """Wait for its end; what it has printed."""
        self.process.join(200)
        said = self.output.read_text()
        assert self.process.exitcode == status, said
        return said


class Stage:
    """A folder with processes in it, all of which end with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[Started] = []

    def start(self, work: Callable[..., int], *args: Any, within: str = "", **options: Any) -> Started:
        output = self.folder / f"{len(self.processes)}.out"
        self.processes.append(Started(fork(_run, self.folder, output, within, partial(work, *args, **options)), output))
        return self.processes[-1]

    def scheduler(self, count: int, epochs: int, seconds: float, host: str = "127.0.0.1", within: str = "") -> Started:
        before, todo = self.address(), trials(count, epochs=epochs, seconds=seconds)
        process = self.start(run_scheduler, todo, host, within=within)
        wait_for(lambda: self.address() not in ("", before) or process.has_ended)
        return process

    def node(self, name: str, file: str = "scheduler.json", **options: Any) -> Started:
        return self.start(run_node, Path(file), name, **options)

    def address(self) -> str:
        file = self.folder / "scheduler.json"
        return file.read_text() if file.exists() else ""

    def lines(self, **having: Any) -> list[Mapping[str, Any]]:
        """Lines of the journal that have these names, and where not None these values."""
        found = noted(self.folder / JOURNAL)
        return [line for line in found if all(k in line and v in (None, line[k]) for k, v in having.items())]

    def notes(self) -> str:
        return "\n".join(line["note"] for line in self.lines(note=None))

    def outcomes(self) -> dict[str, str]:
        return {line["trial"]: line["outcome"] for line in self.lines(outcome=None)}

    def all_is_well(self, trials: int, epochs: int) -> None:
        """Every trial has all its epochs, in order, none of them while another process was at it."""
        assert self.outcomes() == {f"t{number}": "finished" for number in range(trials)}
        assert trained_twice_at_once(self.lines(epoch=None)) == []
        for number in range(trials):
            trained = [line["epoch"] for line in self.lines(trial=f"t{number}", epoch=None) if "begins" not in line]
            assert trained == [*range(1, epochs + 1)], trained


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    for each in made.processes:
        if not each.has_ended:
            each.kill()


def _run(folder: Path, output: Path, namespace: str, work: Callable[[], int]) -> None:
    os.chdir(folder)
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if namespace:
        with open(f"/run/netns/{namespace}") as file:
            assert ctypes.CDLL(None).setns(file.fileno(), SETNS) == 0
    sys.exit(work())


def wait_for(condition: Callable[[], object], seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_killed_stopped_and_leaving_nodes_lose_no_trial_and_none_is_trained_twice_at_once(stage: Stage) -> None:
    """Four nodes: one is killed, one stopped beyond the loss time, one told to leave; one has a clock an hour ahead."""
    scheduler = stage.scheduler(8, 4, 0.4)
    killed, stopped, leaving = (stage.node(name) for name in ("killed", "stopped", "leaving"))
    wait_for(lambda: len({line["pid"] for line in stage.lines(epoch=None)}) == 3)
    stage.node("ahead", ahead=1)
    stopped.send(signal.SIGSTOP)
    killed.kill()
    leaving.send(signal.SIGTERM)
    assert "SIGTERM" not in leaving.ends()
    wait_for(lambda: "stopped is lost" in stage.notes())
    stopped.send(signal.SIGCONT)
    scheduler.ends()
    stopped.ends()
    stage.all_is_well(8, 4)
    notes = stage.notes()
    for line in (
        f"killed is lost: silent for {LOST_AFTER:g} s",
        f"stopped is lost: silent for {LOST_AFTER:g} s",
        "leaving is leaving: SIGTERM. Its trials go on elsewhere.",
        "ahead has come: 1 worker",
    ):
        assert line in notes
    assert notes.count("stopped has come") >= 2


def test_a_killed_scheduler_that_is_started_again_finds_its_nodes_waiting(stage: Stage) -> None:
    killed = stage.scheduler(4, 4, 0.3)
    nodes = [stage.node(name) for name in ("a", "b")]
    wait_for(lambda: len({line["pid"] for line in stage.lines(epoch=None)}) == 2)
    killed.kill()
    again = stage.scheduler(4, 4, 0.3)
    again.ends()
    for node in nodes:
        assert "The sweep is over." in node.ends()
    stage.all_is_well(4, 4)
    assert "2 nodes of this sweep's earlier start may still train" in stage.notes()
    assert not (stage.folder / "scheduler.json").exists()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def two_machines() -> Iterator[tuple[str, str]]:
    """Two network namespaces, at 10.213.0.1 and .2, with a cable between them that is called "cable" in both."""
    names = (f"convgrid{os.getpid()}a", f"convgrid{os.getpid()}b")
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
            for name, address in zip(names, ("10.213.0.1/24", "10.213.0.2/24"), strict=True):
                ip("-n", name, "addr", "add", address, "dev", "cable")
                for link in ("lo", "cable"):
                    ip("-n", name, "link", "set", link, "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"{NO_NAMESPACES}: {error}")
        yield names
    finally:
        for name in names:
            with suppress(OSError, subprocess.CalledProcessError):
                ip("netns", "del", name)


def test_a_pulled_cable_loses_no_trial_and_the_node_comes_back_once_it_is_plugged_in(stage: Stage) -> None:
    """Neither side hears that the connection is gone: both go by the silence, the node first."""
    with two_machines() as (here, there):
        scheduler = stage.scheduler(6, 4, 0.5, "10.213.0.1", within=here)
        stage.node("near", within=here)
        far = stage.node("far", within=there)
        wait_for(lambda: len({line["pid"] for line in stage.lines(epoch=None)}) == 2)
        ip("-n", there, "link", "set", "cable", "down")
        wait_for(lambda: "far is lost" in stage.notes())
        ip("-n", there, "link", "set", "cable", "up")
        wait_for(lambda: stage.notes().count("far has come") == 2)
        scheduler.ends()
        far.ends()
    stage.all_is_well(6, 4)
    assert f"far is lost: silent for {LOST_AFTER:g} s" in stage.notes()


def test_a_node_that_is_not_the_schedulers_like_is_refused_and_no_trial_is_blamed(stage: Stage) -> None:
    """Another version of a package; another folder under the same name; one with a full disk; and one that is fit."""
    scheduler = stage.scheduler(4, 1, 0.8)
    (stage.folder / "mounted").mkdir()
    elsewhere = {**json.loads(stage.address()), "sweep": str(stage.folder / "mounted")}
    (stage.folder / "copied.json").write_text(json.dumps(elsewhere))
    for node, name, reason in (
        (stage.node("old", numpy="1.0"), "old", "its code differs: numpy 1.0 instead of"),
        (stage.node("apart", "copied.json"), "apart", f"{stage.folder} is another folder there"),
    ):
        assert reason in node.ends(1)
        wait_for(lambda name=name, reason=reason: f"{name} is refused: {reason}" in stage.notes())
    assert stage.outcomes() == {}
    (stage.folder / "full-full").touch()
    nodes = [stage.node("fit")]
    wait_for(lambda: "fit has come" in stage.notes())  # alone, a full one would end the sweep
    nodes.append(stage.node("full"))
    scheduler.ends()
    for node in nodes:
        node.ends()
    assert stage.outcomes() == {f"t{number}": "finished" for number in range(4)}  # what was full's is fit's

"""Node processes and schedulers hurt in every way, on one machine: no trial is lost, none trained twice at once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from conftest import NO_NAMESPACES
from stand_in_nodes import JOURNAL, LOST_AFTER, noted, trained_twice_at_once

PROGRAM = Path(__file__).parents[2] / "stand_in_nodes.py"


class Stage:
    """A folder with processes in it, all of which end with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *words: str, within: Sequence[str] = (), **env: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*within, sys.executable, str(PROGRAM), *words],
            cwd=self.folder,
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def scheduler(self, trials: int, epochs: int, seconds: float, *host: str, **more: Any) -> "subprocess.Popen[str]":
        before = self.address()
        process = self.start("scheduler", ".", str(trials), str(epochs), str(seconds), *host, **more)
        wait_for(lambda: self.address() not in ("", before) or process.poll() is not None)
        return process

    def node(self, name: str, *words: str, file: str = "scheduler.json", **more: Any) -> "subprocess.Popen[str]":
        return self.start("node", file, *words, SLURMD_NODENAME=name, **more)

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
    for process in made.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate(timeout=30)


def wait_for(condition: Callable[[], object], seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def ends(process: "subprocess.Popen[str]", status: int = 0) -> str:
    output, _ = process.communicate(timeout=200)
    assert process.returncode == status, output
    return output


def test_killed_stopped_and_leaving_nodes_lose_no_trial_and_none_is_trained_twice_at_once(stage: Stage) -> None:
    """Four nodes: one is killed, one stopped beyond the loss time, one told to leave; one has a clock an hour ahead."""
    scheduler = stage.scheduler(8, 4, 0.4)
    killed, stopped, leaving = (stage.node(name) for name in ("killed", "stopped", "leaving"))
    wait_for(lambda: len({line["pid"] for line in stage.lines(epoch=None)}) == 3)
    stage.node("ahead", "--ahead", "1")
    stopped.send_signal(signal.SIGSTOP)
    killed.kill()
    leaving.send_signal(signal.SIGTERM)
    assert "SIGTERM" not in ends(leaving)
    wait_for(lambda: "stopped is lost" in stage.notes())
    stopped.send_signal(signal.SIGCONT)
    ends(scheduler)
    ends(stopped)
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
    killed.wait()
    again = stage.scheduler(4, 4, 0.3)
    ends(again)
    for node in nodes:
        assert "The sweep is over." in ends(node)
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
        within = {name: ("ip", "netns", "exec", name) for name in (here, there)}
        scheduler = stage.scheduler(6, 4, 0.5, "10.213.0.1", within=within[here])
        stage.node("near", within=within[here])
        far = stage.node("far", within=within[there])
        wait_for(lambda: len({line["pid"] for line in stage.lines(epoch=None)}) == 2)
        ip("-n", there, "link", "set", "cable", "down")
        wait_for(lambda: "far is lost" in stage.notes())
        ip("-n", there, "link", "set", "cable", "up")
        wait_for(lambda: stage.notes().count("far has come") == 2)
        ends(scheduler)
        ends(far)
    stage.all_is_well(6, 4)
    assert f"far is lost: silent for {LOST_AFTER:g} s" in stage.notes()


def test_a_node_that_is_not_the_schedulers_like_is_refused_and_no_trial_is_blamed(stage: Stage) -> None:
    """Another version of a package; another folder under the same name; one with a full disk; and one that is fit."""
    scheduler = stage.scheduler(4, 1, 0.8)
    (stage.folder / "mounted").mkdir()
    elsewhere = {**json.loads(stage.address()), "sweep": str(stage.folder / "mounted")}
    (stage.folder / "copied.json").write_text(json.dumps(elsewhere))
    for node, name, reason in (
        (stage.node("old", "--numpy", "1.0"), "old", "its code differs: numpy 1.0 instead of"),
        (stage.node("apart", file="copied.json"), "apart", f"{stage.folder} is another folder there"),
    ):
        assert reason in ends(node, status=1)
        wait_for(lambda name=name, reason=reason: f"{name} is refused: {reason}" in stage.notes())
    assert stage.outcomes() == {}
    (stage.folder / "full-full").touch()
    nodes = [stage.node("fit")]
    wait_for(lambda: "fit has come" in stage.notes())  # alone, a full one would end the sweep
    nodes.append(stage.node("full"))
    ends(scheduler)
    for node in nodes:
        ends(node)
    assert stage.outcomes() == {f"t{number}": "finished" for number in range(4)}  # what was full's is fit's

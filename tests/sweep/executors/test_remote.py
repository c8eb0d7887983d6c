"""The scheduler's end with nodes of a stand-in: real sockets, and what each node says is written here."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from convgrid.errors import ConfigError
from convgrid.runs.trial import Outcome
from convgrid.sweep.executors import remote, supply
from convgrid.sweep.executors.address import read_address
from convgrid.sweep.executors.interface import Died, Lost
from convgrid.sweep.executors.lease import Lease
from convgrid.sweep.executors.remote import Remote
from convgrid.sweep.executors.transport import Client
from convgrid.sweep.executors.wire import event_said, job_heard, packed, unpacked
from convgrid.sweep.messages import Began, Ended, EpochEnded, Job, Noted
from convgrid.sweep.scheduler import MOST_LOSSES, Scheduler, SchedulerRules
from convgrid.sweep.sources import GridSource
from stand_in_nodes import OPTIONS, executor, trial, trials

FINISHED = Ended(Outcome("finished", epochs=3))


@dataclass
class Machines:
    """A launcher that keeps what it is asked."""

    left: int = 1
    may_follow: bool = True
    looks: int = 0
    asked: list[int] = field(default_factory=list)
    command: Sequence[str] = ()
    stopped: bool = False

    def start(self, command: Sequence[str], nodes: int, logs: Path) -> int:
        assert logs.is_dir()
        self.command = command
        self.asked.append(nodes)
        return nodes if self.may_follow else 0

    def waiting(self) -> int:
        self.looks += 1
        return self.left

    def notes(self) -> list[str]:
        return []

    def stop(self) -> None:
        self.stopped = True


class Node:
    """Says what a node process would, when it is told to."""

    def __init__(self, folder: Path, host: str, id_: str = "") -> None:
        address = read_address(folder / "scheduler.json")
        assert address is not None
        hello = packed({"id": id_ or host, "host": host})
        self.client = Client(address, hello, Lease(folder / f"lease-{time.monotonic_ns()}"))
        self.heard: list[dict[str, Any]] = []

    def say(self, **said: Any) -> None:
        self.client.say(packed(said))

    def tell(self, event: Any, slot: int = 0) -> None:
        self.say(verb="event", slot=slot, event=event_said(event))

    def verbs(self) -> list[str]:
        self.heard += map(unpacked, self.client.heard())
        return [said["verb"] for said in self.heard]

    def jobs(self) -> list[Job]:
        self.verbs()
        return [job_heard(said["job"]) for said in self.heard if said["verb"] == "give"]

    def close(self) -> None:
        self.client.close()


class Stage:
    """A scheduler's end, with its nodes."""

    def __init__(self, folder: Path, machines: Machines, **options: Any) -> None:
        self.folder, self.machines, self._nodes = folder, machines, ExitStack()
        options = {"lost_after": 30.0, **options}
        self.remote = Remote(machines, executor(**options), folder=folder, options=OPTIONS, trained=[trial().settings])
        self.events: list[tuple[int, Any]] = []
        self.told: list[str] = []

    def node(self, host: str, workers: int = 1, id_: str = "") -> Node:
        """One that has come and is ready."""
        made = self.come(host, id_)
        made.say(verb="ready", workers=workers, has_gpus=False)
        self.until(lambda: self.remote._ids[id_ or host].workers)
        return made

    def come(self, host: str, id_: str = "") -> Node:
        """One that has heard the terms."""
        made = self._nodes.enter_context(closing(Node(self.folder, host, id_)))
        self.until(lambda: "terms" in made.verbs())
        return made

    def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.events, self.told)
            self.events += [(worker.number, event) for worker, event in self.remote.events(0.02)]
            self.told += self.remote.notes()

    def close(self) -> None:
        """End the sweep; its nodes hear of it."""
        if not self.machines.stopped:
            self.remote.close()

    def __exit__(self, *_: object) -> None:
        self.close()
        self._nodes.close()

    def __enter__(self) -> Self:
        return self


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stage]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(supply, "LAUNCHER_POLL_INTERVAL", 0.05)
    with ExitStack() as stack:
        yield lambda machines=None, **options: stack.enter_context(Stage(tmp_path, machines or Machines(), **options))


def test_jobs_words_and_events_go_between_the_scheduler_and_a_nodes_slots(stage: Callable[..., Stage]) -> None:
    made = stage()
    node = made.node("a", workers=2)
    first, second = made.remote.free()
    jobs = [Job(each, "sweep", asks=True) for each in trials(2)]
    made.remote.give(first, jobs[0])
    made.remote.give(second, jobs[1])
    assert (made.remote.free(), len(made.remote.busy())) == ([], 2)
    made.until(lambda: len(node.jobs()) == 2)
    assert node.jobs() == jobs
    said = [Began("runs/x"), Noted("copies"), EpochEnded(1, {"val/loss": 0.1}), Died(-9)]
    for event in said:
        node.tell(event, slot=1)
    made.until(lambda: len(made.events) == 4)
    assert made.events == [(second.number, event) for event in said]
    made.remote.answer(second, "prune")
    made.remote.interrupt(first)
    made.remote.kill(first)
    made.remote.release(second)
    made.remote.replace(second)
    made.until(lambda: "replace" in node.verbs())
    assert [(each["verb"], each["slot"]) for each in node.heard[-4:]] == [
        ("answer", 1),
        ("interrupt", 0),
        ("kill", 0),
        ("replace", 1),
    ]
    assert made.remote.free() == [second]
    assert made.remote.crew() == "1 node, 2 workers"
    made.close()
    node.client._thread.join(20)  # the connection has ended
    assert "close" in node.verbs()
    assert made.machines.stopped
    assert made.machines.command[1:4] == ["-m", "convgrid", "node"]


def test_a_free_worker_that_dies_is_replaced(stage: Callable[..., Stage]) -> None:
    made = stage()
    node = made.node("a")
    with swept(made, 0, SchedulerRules()) as (_, _, until):
        node.tell(Died(1))
        until(lambda: "replace" in node.verbs())
    assert len(made.remote.free()) == 1


def test_a_node_that_is_unfit_is_named_and_given_nothing(stage: Callable[..., Stage]) -> None:
    made = stage(Machines(left=0))
    unfit = made.come("gpu7")
    unfit.say(verb="unfit", reason="/data/photos is missing there. Put the data where all nodes see it")
    made.until(lambda: made.told)
    assert made.told == ["gpu7 is refused: /data/photos is missing there. Put the data where all nodes see it."]
    made.until(made.remote.hopeless)
    assert made.remote.hopeless() == "every node was refused, as told above"
    assert made.remote.free() == []


def test_nodes_with_and_without_gpus_are_not_mixed(stage: Callable[..., Stage]) -> None:
    """A trial that is lost on one would start over on the other, and come to other numbers."""
    made = stage()
    made.node("plain")
    other = made.come("gpu1")
    other.say(verb="ready", workers=1, has_gpus=True)
    made.until(lambda: "refused" in other.verbs())
    reason = "it has a GPU, and the first node has none. Ask for nodes that are alike, or add trainer=cpu"
    assert other.heard[-1]["reason"] == reason
    assert made.told[-1] == f"gpu1 is refused: {reason}."
    assert made.remote.crew() == "1 node, 1 worker"


def test_where_nobody_came_the_sweep_says_where_to_look(stage: Callable[..., Stage]) -> None:
    made = stage(Machines(left=0))
    made.until(made.remote.hopeless)
    assert re.fullmatch(
        r"no node has come, and none is on its way. See what they print: .*/nodes", made.remote.hopeless()
    )


def test_nodes_that_have_ended_are_asked_for_again_as_long_as_they_get_something_done(
    stage: Callable[..., Stage],
) -> None:
    made = stage(Machines())
    node = made.node("a")
    made.remote.give(next(iter(made.remote.free())), Job(trials(1)[0], "sweep"))
    node.tell(EpochEnded(1, {}))
    made.until(lambda: made.events)
    made.machines.left = 0
    node.say(verb="left")
    made.until(lambda: len(made.machines.asked) == 2)
    assert made.events[-1] == (0, Lost("a has left", announced=True))
    made.until(made.remote.hopeless)  # no epoch has ended since
    assert made.machines.asked == [1, 1]
    assert any("Asked for 1 more node" in note for note in made.told)


def test_nodes_that_end_before_they_come_are_not_asked_for_over_and_over(stage: Callable[..., Stage]) -> None:
    made = stage(Machines(left=2), nodes=2)
    gone, other = made.node("a"), made.node("b")
    for worker in [*made.remote.free()]:
        made.remote.give(worker, Job(trials(1)[0], "sweep"))
    made.machines.left = 1  # and no job that follows comes so far as to start a node
    gone.say(verb="left")
    for epoch in (1, 2, 3):
        other.tell(EpochEnded(epoch, {}))
        looks = made.machines.looks
        made.until(lambda looks=looks: made.machines.looks > looks + 3)
    assert made.machines.asked == [2, 1]


def test_a_node_that_nobody_may_follow_is_not_asked_for_again(stage: Callable[..., Stage]) -> None:
    made = stage(Machines(left=2), nodes=2)
    gone, other = made.node("a"), made.node("b")
    for worker in [*made.remote.free()]:
        made.remote.give(worker, Job(trials(1)[0], "sweep"))
    made.machines.left, made.machines.may_follow = 1, False  # as where somebody has cancelled its job
    gone.say(verb="left")
    other.tell(EpochEnded(1, {}))
    made.until(lambda: len(made.machines.asked) == 2)
    other.tell(EpochEnded(2, {}))
    made.until(lambda: len(made.events) == 3)
    looks = made.machines.looks
    made.until(lambda: made.machines.looks > looks + 3)
    assert made.machines.asked == [2, 1]
    made.machines.left = 0
    other.say(verb="left")
    made.until(made.remote.hopeless)
    assert not any("Asked for" in note for note in made.told)


def test_a_node_that_comes_back_has_lost_what_it_had(stage: Callable[..., Stage]) -> None:
    made = stage()
    made.node("a")
    (worker,) = made.remote.free()
    made.remote.give(worker, Job(trials(1)[0], "sweep"))
    made.node("a")
    assert made.events == [(worker.number, Lost("a had lost touch"))]
    made.remote.release(worker)
    assert worker not in made.remote.free()
    assert made.remote.crew() == "1 node, 1 worker"


@pytest.mark.parametrize(
    "said",
    [
        {"verb": "dance"},
        {"verb": "event", "slot": 7, "event": event_said(FINISHED)},
        {"verb": "event", "slot": 0, "event": {"kind": "Job"}},
        {"verb": "ready", "workers": 1, "has_gpus": False},
        {"verb": "event"},
        {},
    ],
)
def test_a_node_that_speaks_nonsense_is_lost_alone(stage: Callable[..., Stage], said: dict[str, Any]) -> None:
    made = stage()
    other, node = made.node("other"), made.node("a")
    workers = [*made.remote.free()]
    for worker in workers:
        made.remote.give(worker, Job(trials(1)[0], "sweep"))
    node.say(**said)
    made.until(lambda: made.events)
    ((number, event),) = made.events
    assert (number, type(event)) == (workers[1].number, Lost)
    assert event.reason.startswith("a is lost: what it says cannot be understood")
    other.tell(FINISHED)
    made.until(lambda: len(made.events) == 2)
    assert made.events[1] == (workers[0].number, FINISHED)


def test_two_processes_cannot_run_one_sweeps_nodes(stage: Callable[..., Stage]) -> None:
    made = stage()
    with pytest.raises(ConfigError, match=r"is being run by another process.*: python -m convgrid node .*scheduler"):
        Stage(made.folder, Machines())


def test_after_a_scheduler_was_killed_nothing_is_given_until_its_nodes_have_said_a_word(
    stage: Callable[..., Stage], tmp_path: Path
) -> None:
    killed = stage()
    killed.node("a", id_="1")
    killed.node("b", id_="2")
    killed.node("gone", id_="3").say(verb="left")
    killed.until(lambda: len(killed.remote._places) == 2)
    files = {name: (tmp_path / name).read_text() for name in ("scheduler.json", "nodes.json")}
    killed.close()
    for name, text in files.items():  # as it would have left them
        (tmp_path / name).write_text(text)
    assert sorted(json.loads(files["nodes.json"])) == ["1", "2"]
    again = stage(Machines(left=0))
    assert again.remote.notes() == [
        "2 nodes of this sweep's earlier start may still train: waiting for a word of them, 30 s at most."
    ]
    new, first = again.node("new"), again.node("a", id_="1")
    again.until(lambda: len(again.remote._held) == 2)
    assert (again.remote.free(), again.remote.hopeless()) == ([], "")
    again.node("b", id_="2")
    again.until(lambda: len(again.remote.free()) == 3)
    assert [new.jobs(), first.jobs()] == [[], []]


# --- what the sweep's loop makes of it


class View:
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@contextmanager
def swept(
    made: Stage, count: int, rules: SchedulerRules
) -> Iterator[tuple[Scheduler, View, Callable[[Callable[[], object]], None]]]:
    view = View()
    source: Any = GridSource(trials(count))
    watching: Any = view
    loop = Scheduler("sweep", source, made.remote, rules, watching, None)

    def until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, view.told
            loop._fill()
            for worker, event in made.remote.events(0.02):
                loop._handle(worker, event)
            loop._look_around()

    yield loop, view, until


def statuses(loop: Scheduler) -> Mapping[str, tuple[str, str]]:
    return {key: (outcome.status, outcome.reason) for key, (_, outcome) in loop.outcomes.items()}


def test_a_trial_with_which_three_nodes_are_lost_has_failed_and_no_retry_is_spent_on_losses(
    stage: Callable[..., Stage],
) -> None:
    made = stage()
    with swept(made, 1, SchedulerRules(retries=1)) as (loop, view, until):
        for host in "abc"[:MOST_LOSSES]:
            node = Node(made.folder, host)
            until(lambda node=node: "terms" in node.verbs())
            node.say(verb="ready", workers=1, has_gpus=False)
            until(node.jobs)
            node.say(verb="dance")
            node.close()
        until(lambda: loop.outcomes)
    status, reason = statuses(loop)["t0"]
    assert status == "failed"
    assert reason.startswith("3 nodes were lost with this trial: c is lost")
    assert not any("tried again" in note for note in view.told)


def test_a_trial_that_many_nodes_left_by_word_has_not_failed(stage: Callable[..., Stage]) -> None:
    """As where jobs are preempted again and again."""
    made = stage()
    with swept(made, 1, SchedulerRules()) as (loop, view, until):
        for number in range(MOST_LOSSES + 1):
            node = Node(made.folder, f"n{number}")
            until(lambda node=node: "terms" in node.verbs())
            node.say(verb="ready", workers=1, has_gpus=False)
            until(node.jobs)
            node.tell(Began(""))
            node.say(verb="leaving", reason="SIGTERM")
            node.tell(Ended(Outcome("killed", "interrupted")))
            node.say(verb="left")
            until(lambda number=number: sum("is leaving: SIGTERM" in note for note in view.told) == number + 1)
            until(lambda: not made.remote.busy())
            node.close()
        assert loop.outcomes == {}
        last = made.node("last")
        until(last.jobs)
        last.tell(FINISHED)
        until(lambda: loop.outcomes)
    assert statuses(loop) == {"t0": ("finished", "")}


def test_a_full_disk_sets_its_node_aside_and_the_last_one_ends_the_sweep(stage: Callable[..., Stage]) -> None:
    full = Ended(Outcome("killed", "/runs cannot be written: No space left on device."), "disk")
    made = stage()
    with swept(made, 1, SchedulerRules()) as (loop, view, until):
        first = made.node("first")
        until(first.jobs)
        second = made.node("second")
        first.tell(full)
        until(second.jobs)
        assert any(note == f"first gets no more trials: {full.outcome.reason}" for note in view.told)
        assert (loop._ending, loop.outcomes) == ("complete", {})
        second.tell(full)
        until(lambda: loop.outcomes)
    assert loop._ending == "disk"
    assert len(first.jobs()) == 1


def test_where_nobody_is_left_the_sweep_ends_and_says_so(stage: Callable[..., Stage]) -> None:
    made = stage(Machines(left=0))
    with swept(made, 1, SchedulerRules()) as (loop, _, _):
        assert loop.run() == "alone"
    assert loop.alone.startswith("no node has come, and none is on its way.")


def test_a_job_that_had_begun_goes_on_and_is_not_trained_anew(stage: Callable[..., Stage]) -> None:
    """With sweep.rerun=all a first worker throws away what there was, and the next one must not."""
    made = stage()
    with swept(made, 1, SchedulerRules(again=("finished",))) as (_, _, until):
        first = made.node("first")
        until(first.jobs)
        first.say(verb="dance")
        until(lambda: not made.remote.busy())
        second = made.node("second")
        until(second.jobs)
        second.tell(Began(str(made.folder)))
        second.say(verb="dance")
        until(lambda: not made.remote.busy())
        third = made.node("third")
        until(third.jobs)
    assert [node.jobs()[0].again for node in (first, second, third)] == [("finished",), ("finished",), ()]


def test_the_file_and_the_names_of_nodes_are_gone_with_the_sweep(stage: Callable[..., Stage]) -> None:
    made = stage()
    made.node("a")
    assert {"scheduler.json", "nodes.json"} <= {path.name for path in made.folder.iterdir()}
    made.close()
    assert not {"scheduler.json", remote.JOINED} & {path.name for path in made.folder.iterdir()}

"""What sweeps over machines cost: nodes beside workers of this machine, and one scheduler with hundreds of nodes.

Usage: python benchmarks/executors.py [--quick]

First, the same trials by two workers of this machine and by two node processes with a worker each, in turns. Both are
warm; starting them is told apart. A sweep's time counts from the first trial given to the last one ended; the gap is
from a trial's end, as the scheduler hears it, to its worker's next trial begun.

Then, one scheduler process and simulated nodes over real, encrypted sockets: 200 with 4 slots each, epochs of 0.5 s, a
tenth more or less. They say what nodes say, at the times at which nodes would, and train nothing. The scheduler has a
view that prints lines and a pipe to a writer. Its processor time counts all its threads.
"""

import argparse
import heapq
import io
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import zmq
from rich.console import Console

from convgrid.config import Composition, check
from convgrid.config.sections import ExecutorSettings
from convgrid.runs.trial import Outcome
from convgrid.sweep.executors.address import Address, read_address
from convgrid.sweep.executors.hand import Hand
from convgrid.sweep.executors.interface import Workers
from convgrid.sweep.executors.local import Local
from convgrid.sweep.executors.remote import Options, Remote
from convgrid.sweep.executors.transport import BEAT, BEATS, HELLO, SAID
from convgrid.sweep.executors.wire import event_said, packed, unpacked
from convgrid.sweep.grid_plan import plan_grid
from convgrid.sweep.interfaces import Survey, Trial
from convgrid.sweep.messages import Began, Ended, EpochEnded, Job
from convgrid.sweep.scheduler import Scheduler, SchedulerRules
from convgrid.sweep.sources import GridSource
from convgrid.sweep.view import LineView
from convgrid.system.processes import warm_up
from plan import start_python

PROGRAM = Path(__file__).resolve()
EPOCH = 0.5  # seconds
OBJECTIVE = ("val/accuracy", "max")
HERE = ExecutorSettings(host="127.0.0.1", port=0, lost_after=30.0, patience=60.0)


def planned(*words: str) -> tuple[Trial, ...]:
    """The trials of a command line."""
    command = check(["-m", "trainer=cpu", "tracking=none", *words])
    assert command.settings is not None
    return plan_grid(command.grids, Composition(command.composer), command.settings).trials


# --- the same trials here and on nodes


@dataclass
class Timed:
    """What a round took, in seconds."""

    whole: float
    gaps: list[float] = field(default_factory=list)


def train(workers: Workers, trials: Sequence[Trial]) -> Timed:
    """Train all, each on the worker that is free first."""
    todo, ended_at = list(trials), dict[int, float]()
    gaps: list[float] = []
    began = time.perf_counter()
    done = 0
    while done < len(trials):
        for worker in [*workers.free()][: len(todo)]:
            workers.give(worker, Job(todo.pop(0), "benchmark", again=("finished",)))
        for worker, event in workers.events(timeout=1.0):
            if isinstance(event, Began) and worker.number in ended_at:
                gaps.append(time.perf_counter() - ended_at.pop(worker.number))
            if isinstance(event, Ended):
                assert event.outcome.status == "finished", event.outcome.reason
                done += 1
                ended_at[worker.number] = time.perf_counter()
                workers.release(worker)
    return Timed(time.perf_counter() - began, gaps)


@contextmanager
def nodes(count: int, trial: Trial) -> Iterator[Remote]:
    """So many node processes with a worker each, ready."""
    folder = Path("by-hand")
    folder.mkdir()
    options = Options(workers=1, trials_per_gpu=1, threads=1, accelerator="cpu")
    with ExitStack() as stack:
        remote = stack.enter_context(
            closing(Remote(Hand(), HERE, folder=folder, options=options, trained=[trial.settings]))
        )
        command = ("-m", "convgrid", "node", folder / "scheduler.json")
        processes = [start_python(*command, stderr=subprocess.DEVNULL) for _ in range(count)]
        stack.callback(lambda: [process.terminate() for process in processes])
        while len(remote.free()) < count:
            for _ in remote.events(0.1):
                pass
        yield remote
    for process in processes:
        process.wait()


def compare_with_local(*fewer: str, rounds: int, trials: int, epochs: int) -> None:
    """Print the ratio of nodes to workers of this machine.

    Args:
        fewer: Overrides that leave out data.
    """
    todo = planned("data=digits", *fewer, f"trainer.max_epochs={epochs}", f"sweep.seeds={trials}")
    warm_up()
    started = time.perf_counter()
    with closing(Local(workers=2, trials_per_gpu=1, threads=1, accelerator="cpu")) as local:
        train(local, todo[:2])
        start_local = time.perf_counter() - started
        started = time.perf_counter()
        with nodes(2, todo[0]) as remote:
            start_nodes = time.perf_counter() - started
            train(remote, todo[:2])
            sides = {"local": local, "nodes": remote}
            found: dict[str, list[Timed]] = {"local": [], "nodes": []}
            for _ in range(rounds):
                for name, workers in sides.items():
                    found[name].append(train(workers, todo))
    ratios = [there.whole / here.whole for here, there in zip(found["local"], found["nodes"], strict=True)]
    gaps = {name: statistics.median(gap for each in timed for gap in each.gaps) for name, timed in found.items()}
    print(f"{len(todo)} trials of {epochs} epochs, two workers here beside two nodes with one each")
    print(
        f"  from first to last  ratio {statistics.median(ratios):.3f} (at most 1.1)  "
        f"median {statistics.median(each.whole for each in found['nodes']):.2f} s of {rounds}"
    )
    print(f"  gap to the next trial  {1000 * gaps['nodes']:.0f} ms (at most 50)  local {1000 * gaps['local']:.0f} ms")
    print(f"  start-up  {start_nodes:.1f} s, local {start_local:.1f} s with its first trials")


# --- many simulated nodes


class Simulated:
    """Nodes that train nothing: each has a connection of its own, and says at the right times what nodes say."""

    def __init__(self, address: Address, count: int, slots: int) -> None:
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 4 * count + 100)
        self._poller = zmq.Poller()
        self._slots, self._beat = slots, address.lost_after / BEATS
        self._due: list[tuple[float, int, int, Any]] = []  # when, which node, which slot, what
        self._sockets: list[zmq.Socket[bytes]] = []
        self._asked: dict[tuple[int, int], float] = {}
        self.waits: list[float] = []
        self.closed = 0
        for number in range(count):
            socket = self._context.socket(zmq.DEALER)
            socket.curve_serverkey = address.server.encode()
            socket.curve_publickey, socket.curve_secretkey = address.public.encode(), address.secret.encode()
            socket.connect(address.at)
            socket.send_multipart((HELLO, packed({"id": f"{number}", "host": f"node{number}"})))
            self._poller.register(socket, zmq.POLLIN)
            self._sockets.append(socket)
            heapq.heappush(self._due, (time.monotonic() + self._beat * random.random(), number, -1, None))
        self._numbers = {socket: number for number, socket in enumerate(self._sockets)}

    def run(self) -> None:
        """Live until the scheduler has told every node that the sweep is over."""
        while self.closed < len(self._sockets):
            left = max(0.0, self._due[0][0] - time.monotonic()) if self._due else 1.0
            for socket, _ in self._poller.poll(int(1000 * left)):
                while socket.poll(0):
                    self._hear(self._numbers[socket], *socket.recv_multipart())
            while self._due and self._due[0][0] <= time.monotonic():
                self._act(*heapq.heappop(self._due))
        self._context.destroy(linger=0)

    def _say(self, number: int, **said: Any) -> None:
        self._sockets[number].send_multipart((SAID, packed(said)))

    def _hear(self, number: int, kind: bytes, body: bytes) -> None:
        if kind != SAID:
            return
        said = unpacked(body)
        match said["verb"]:
            case "terms":
                self._say(number, verb="ready", workers=self._slots, has_gpus=False)
            case "give":
                slot, now = said["slot"], time.monotonic()
                if (number, slot) in self._asked:
                    self.waits.append(now - self._asked.pop((number, slot)))
                epochs = said["job"]["trial"]["settings"]["values"]["trainer"]["max_epochs"]
                self._event(number, slot, Began(f"runs/{number}-{slot}"))
                one = EPOCH * random.uniform(0.9, 1.1)
                for epoch in range(1, epochs + 1):
                    event = EpochEnded(epoch, {name: random.random() for name in METRICS})
                    heapq.heappush(self._due, (now + one * epoch, number, slot, event))
                ended = Ended(Outcome("finished", metrics={"best/val/accuracy": 0.5}, epochs=epochs, seconds=EPOCH))
                heapq.heappush(self._due, (now + one * epochs + 1e-3, number, slot, ended))
            case "close":
                self.closed += 1
            case verb:
                raise AssertionError(verb)

    def _act(self, when: float, number: int, slot: int, what: Any) -> None:
        if what is None:
            self._sockets[number].send_multipart((BEAT, b"1"))
            heapq.heappush(self._due, (when + self._beat, number, -1, None))
            return
        self._event(number, slot, what)
        if isinstance(what, Ended):
            self._asked[number, slot] = time.monotonic()

    def _event(self, number: int, slot: int, event: Any) -> None:
        self._say(number, verb="event", slot=slot, event=event_said(event))


METRICS = [f"{part}/{name}" for part in ("train", "val") for name in ("loss", "accuracy", "top5", "f1", "auroc")]


class Pipe:
    """A tracker that tells a process which folder has news, as the writer to MLflow is told."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def tell(self, folder: Path) -> None:
        """Say that a folder has news."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"folder": str(folder), "whole": False}).encode() + b"\n")
        self._process.stdin.flush()

    def notes(self) -> list[str]:
        """Nothing."""
        return []

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def schedule(folder: str, count: int, epochs: int) -> None:
    """Be the scheduler's process; its figures are printed at the end."""
    os.chdir(folder)
    (one,) = planned(f"trainer.max_epochs={epochs}")
    trials = tuple(replace(one, key=str(n), varying={"seed": str(n)}, overrides=(f"seed={n}",)) for n in range(count))
    options = Options(workers=None, trials_per_gpu=1, threads=1, accelerator="cpu")
    view = LineView(Console(file=io.StringIO()), *OBJECTIVE)  # pyright: ignore[reportArgumentType]
    view.start(Survey(count, trials))
    with closing(Pipe()) as pipe:
        remote = Remote(Hand(), HERE, folder=Path(), options=options, trained=[one.settings])
        with closing(remote):
            process = psutil.Process()
            while len(remote.free()) < 1:
                for _ in remote.events(0.1):
                    pass
            before, began = process.cpu_times(), time.monotonic()
            loop = Scheduler("benchmark", GridSource(trials), remote, SchedulerRules(), view, pipe)
            assert loop.run() == "complete"
            after, wall = process.cpu_times(), time.monotonic() - began
        busy = after.user - before.user + after.system - before.system
        memory = process.memory_info().rss
    print(json.dumps({"busy": busy / wall, "memory": memory, "wall": wall}))


def many_nodes(*, count: int, slots: int, rounds: int, epochs: int) -> Mapping[str, Any]:
    """Print what a scheduler of so many nodes takes."""
    folder = Path("many")
    folder.mkdir()
    trials = count * slots * rounds
    with start_python(PROGRAM, "--scheduler", folder, trials, epochs, stdout=subprocess.PIPE) as scheduler:
        while (address := read_address(folder / "scheduler.json")) is None:
            time.sleep(0.05)
            assert scheduler.poll() is None
        simulated = Simulated(address, count, slots)
        simulated.run()
        assert scheduler.stdout is not None
        found = json.loads(scheduler.stdout.read())
    waits = sorted(simulated.waits)
    print(f"{count} nodes with {slots} slots, epochs of {EPOCH} s, {trials} trials of {epochs} epochs")
    print(
        f"  scheduler  {found['busy']:.2f} of a core (at most 0.5), {found['memory'] / 1e6:.0f} MB (at most 500), "
        f"{trials * (epochs + 2) / found['wall']:.0f} events a second"
    )
    print(
        f"  wait of a slot for its next trial  median {1000 * statistics.median(waits):.0f} ms (at most 100), "
        f"99 of 100 within {1000 * waits[int(0.99 * len(waits))]:.0f} ms"
    )
    ideal = rounds * epochs * EPOCH
    print(f"  whole  {found['wall']:.1f} s, ratio {found['wall'] / ideal:.2f} to slots that never wait")
    return found


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--scheduler", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.scheduler:
        folder, count, epochs = asked.scheduler
        schedule(folder, int(count), int(epochs))
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if asked.quick:
            compare_with_local("data.limit=100", rounds=1, trials=3, epochs=1)
            many_nodes(count=4, slots=2, rounds=2, epochs=1)
        else:
            compare_with_local(rounds=5, trials=16, epochs=5)
            many_nodes(count=200, slots=4, rounds=8, epochs=5)
        os.chdir("/")


if __name__ == "__main__":
    main()

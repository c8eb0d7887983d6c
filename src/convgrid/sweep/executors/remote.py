"""Workers on other machines: node processes come, train, and go; the scheduler does not notice the difference."""

import json
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from convgrid.config import Settings
from convgrid.config.sections import ExecutorSettings
from convgrid.errors import ConfigError
from convgrid.features.cache import LIMIT
from convgrid.runs.files import write
from convgrid.sweep.executors.address import ADDRESS_FILE, Address, read_address
from convgrid.sweep.executors.fitness import code, own_modules, paths_read, secrets_of
from convgrid.sweep.executors.interface import Died, Event, Launcher, Lost, Worker
from convgrid.sweep.executors.supply import Supply
from convgrid.sweep.executors.transport import Frame, Server
from convgrid.sweep.executors.wire import Nonsense, PlanTexts, event_heard, job_said, packed, unpacked
from convgrid.sweep.messages import Ended, EpochEnded, Job

LOGS = "nodes"  # the folder, in the sweep's, of what node processes print
VARIABLES = ("XDG_CACHE_HOME", LIMIT)  # of the environment: where the features of frozen layers are, which all share
JOINED = "nodes.json"  # the nodes that may train for this scheduler, for the next one should it be killed


@dataclass(frozen=True)
class Options:
    """What a node's own workers are made of, as `Local` takes it."""

    workers: int | None
    trials_per_gpu: int
    threads: int
    accelerator: str


@dataclass(eq=False)
class NodeProcess:
    """A node process that has been heard of.

    Args:
        id: Of the process; it keeps it over all its sessions.
        session: The connection by which it is reached.
        workers: By slot; none before it is ready.
        is_leaving: Whether it takes no more jobs, since it ends or its disk is full.
    """

    id: str
    session: bytes
    host: str
    workers: list[Worker] = field(default_factory=list)
    is_leaving: bool = False


class Remote:
    """Trains on the nodes that a launcher brings, or the user.

    Args:
        launcher: Who brings them.
        settings: Where to listen, how many nodes to ask for, and when they are lost.
        folder: The sweep's.
        options: Of each node's workers.
        trained: Settings of the trials, as far as known, for what nodes must have.

    Raises:
        ConfigError: If it cannot listen, if another process runs the sweep, or the launcher is refused.
    """

    def __init__(
        self,
        launcher: Launcher,
        settings: ExecutorSettings,
        *,
        folder: Path,
        options: Options,
        trained: Sequence[Settings],
    ) -> None:
        self._folder = folder.absolute()
        self._lock = _locked(self._folder)
        self._before, silence = _joined_before(self._folder)
        self._opens = time.monotonic() + silence if self._before else 0.0
        self._server = Server(settings.host, settings.port, settings.lost_after)
        address = self._server.address(cwd=Path.cwd(), sweep=self._folder, patience=settings.patience)
        self._terms = packed(_terms(address, options, trained))
        self._nodes: dict[bytes, NodeProcess] = {}
        self._ids: dict[str, NodeProcess] = {}
        self._places: dict[int, tuple[NodeProcess, int]] = {}
        self._free: dict[Worker, None] = {}
        self._busy: dict[Worker, None] = {}
        self._held: list[Worker] = []  # that have just come, or wait with the others for an earlier start's nodes
        self._is_noted = True  # whether the file of nodes is as it is to be
        self._plans = PlanTexts()
        self._numbers = 0
        self._has_gpus: bool | None = None  # of all nodes, as of the first
        self._notes: list[str] = []
        if self._before:
            self._notes.append(
                f"{_count(len(self._before), 'node')} of this sweep's earlier start may still train: "
                f"waiting for a word of them, {silence:g} s at most."
            )
        file = address.write()
        command = [sys.executable, "-m", "convgrid", "node", str(file)]
        logs = self._folder / LOGS
        logs.mkdir(exist_ok=True)
        self._supply = Supply(launcher, command, logs, settings.nodes)
        try:
            self._supply.begin()
        except BaseException:
            self.close()
            raise

    def free(self) -> Collection[Worker]:
        """The workers that have nothing to do."""
        return [*self._free]

    def busy(self) -> Collection[Worker]:
        """The workers that have a job."""
        return self._busy.keys()

    def give(self, worker: Worker, job: Job) -> None:
        """Hand a job to a free worker."""
        worker.job, worker.since, worker.folder = job, time.monotonic(), ""
        del self._free[worker]
        self._busy[worker] = None
        self._say(worker, "give", job=job_said(job, self._plans))

    def release(self, worker: Worker) -> None:
        """Take note that a worker's job is over: it is free, if its node takes more."""
        worker.job = None
        self._busy.pop(worker, None)
        if worker.number in self._places and not self._places[worker.number][0].is_leaving:
            self._free[worker] = None

    def answer(self, worker: Worker, word: str) -> None:
        """Say to a worker that asked whether to go on."""
        self._say(worker, "answer", word=word)

    def interrupt(self, worker: Worker) -> None:
        """Ask a worker to end its trial with what it has."""
        self._say(worker, "interrupt")

    def kill(self, worker: Worker) -> None:
        """End a worker's process at once."""
        self._say(worker, "kill")

    def replace(self, worker: Worker) -> None:
        """Put a fresh process in a worker's place."""
        self._say(worker, "replace")

    def set_aside(self, worker: Worker, reason: str) -> bool:
        """Give nothing more to a worker's node, where others go on."""
        node = self._places[worker.number][0]
        if all(other.is_leaving for other in self._nodes.values() if other.workers and other is not node):
            return False
        if not node.is_leaving:
            self._retire(node)
            self._notes.append(f"{node.host} gets no more trials: {reason}")
        return True

    def notes(self) -> list[str]:
        """Take what the user should know of nodes and of who brings them."""
        notes, self._notes = [*self._notes, *self._supply.notes()], []
        return notes

    def crew(self) -> str:
        """How many nodes and workers there are."""
        nodes = sum(bool(node.workers) for node in self._nodes.values())
        return f"{_count(nodes, 'node')}, {_count(len(self._places), 'worker')}"

    def hopeless(self) -> str:
        """Why nobody will train any more."""
        return "" if self._nodes or self._before else self._supply.hopeless()

    def events(self, timeout: float) -> Iterator[tuple[Worker, Event]]:
        """Wait for news of nodes.

        Args:
            timeout: Seconds after which there are none.
        """
        for frame in self._server.frames(timeout):
            yield from self._hear(frame)
        if self._opens and (not self._before or time.monotonic() > self._opens):
            self._opens, self._before, self._is_noted = 0.0, set(), False
        if not self._is_noted:
            self._remember()  # before anything is given to those that have come
        if self._held and not self._opens:
            self._free |= {worker: None for worker in self._held if worker.number in self._places}
            self._held = []
        self._supply.look(nodes=len(self._nodes), has_free=bool(self._free))

    def close(self) -> None:
        """Tell the nodes that the sweep is over, and take back those that have not come."""
        for node in self._nodes.values():
            self._server.say(node.session, packed({"verb": "close"}))
        (self._folder / ADDRESS_FILE).unlink(missing_ok=True)
        (self._folder / JOINED).unlink(missing_ok=True)
        self._server.close()
        self._supply.end()
        self._lock.release()

    def _hear(self, frame: Frame) -> Iterator[tuple[Worker, Event]]:
        node = self._nodes.get(frame.session)
        if frame.body is None:
            if node is not None:
                yield from self._lose(node, f"{node.host} is lost: {frame.reason}")
            return
        try:
            said = unpacked(frame.body)
            if frame.is_first and node is not None:
                raise Nonsense("hello twice")
            if frame.is_first:
                yield from self._meet(frame.session, str(said["id"]), str(said["host"]))
            elif node is not None:
                yield from self._listen(node, said)
        except (Nonsense, KeyError, TypeError, ValueError, IndexError) as error:
            self._server.forget(frame.session)
            if node is not None:
                yield from self._lose(node, f"{node.host} is lost: what it says cannot be understood ({error})")

    def _meet(self, session: bytes, id_: str, host: str) -> Iterator[tuple[Worker, Event]]:
        """A node process has come, or has come back: then its workers have ended."""
        before = self._ids.get(id_)
        if before is not None:
            yield from self._lose(before, f"{before.host} had lost touch")
        self._before.discard(id_)
        node = self._nodes[session] = self._ids[id_] = NodeProcess(id_, session, host)
        self._server.say(node.session, self._terms)

    def _listen(self, node: NodeProcess, said: Mapping[str, Any]) -> Iterator[tuple[Worker, Event]]:
        match said["verb"]:
            case "event":
                worker, event = node.workers[said["slot"]], event_heard(said["event"])
                if worker.job is None and not isinstance(event, Died):  # a free one that dies is replaced
                    return
                if isinstance(event, Ended | EpochEnded):
                    self._supply.progressed()
                ended = (event.outcome.status, event.cause) if isinstance(event, Ended) else None
                if node.is_leaving and ended == ("killed", ""):  # it was interrupted, and can go on
                    yield worker, Lost(f"{node.host} has left", announced=True)
                else:
                    yield worker, event
            case "ready":
                self._staff(node, int(said["workers"]), bool(said["has_gpus"]))
            case "unfit":
                self._refuse(node, said["reason"])
            case "leaving":
                self._retire(node)
                self._notes.append(f"{node.host} is leaving: {said['reason']}. Its trials go on elsewhere.")
            case "left":
                yield from self._lose(node, f"{node.host} has left", announced=True)
            case verb:
                raise Nonsense(verb)

    def _refuse(self, node: NodeProcess, reason: str) -> None:
        self._forget(node)
        self._supply.refused(node.host)
        self._notes.append(f"{node.host} is refused: {reason}.")

    def _staff(self, node: NodeProcess, count: int, has_gpus: bool) -> None:
        """A node is ready to train; a trial must not go on where numbers come out otherwise."""
        if node.workers:
            raise Nonsense("ready twice")
        if self._has_gpus is None:
            self._has_gpus = has_gpus
        if has_gpus != self._has_gpus:
            differs = (
                "it has a GPU, and the first node has none" if has_gpus else "it has no GPU, as the first node has"
            )
            reason = f"{differs}. Ask for nodes that are alike, or add trainer=cpu"
            self._server.say(node.session, packed({"verb": "refused", "reason": reason}))
            self._refuse(node, reason)
            return
        node.workers = [Worker(self._numbers + slot, node.host) for slot in range(count)]
        self._numbers += count
        self._places |= {worker.number: (node, slot) for slot, worker in enumerate(node.workers)}
        self._is_noted = False
        self._held += node.workers
        self._supply.joined()
        self._notes.append(f"{node.host} has come: {_count(count, 'worker')} ({self.crew()})")

    def _retire(self, node: NodeProcess) -> None:
        """It gets nothing more."""
        node.is_leaving = True
        for worker in node.workers:
            self._free.pop(worker, None)

    def _lose(self, node: NodeProcess, reason: str, *, announced: bool = False) -> Iterator[tuple[Worker, Event]]:
        """A node is no more."""
        self._forget(node)
        if not announced:
            self._notes.append(f"{reason} ({self.crew()})")
        for worker in node.workers:
            if worker.job is not None:
                yield worker, Lost(reason, announced)

    def _forget(self, node: NodeProcess) -> None:
        self._retire(node)
        self._server.forget(node.session)
        self._nodes.pop(node.session, None)
        if self._ids.get(node.id) is node:
            del self._ids[node.id]
        for worker in node.workers:
            del self._places[worker.number]
        self._is_noted = self._is_noted and not node.workers

    def _say(self, worker: Worker, verb: str, **more: Any) -> None:
        if worker.number in self._places:
            node, slot = self._places[worker.number]
            self._server.say(node.session, packed({"verb": verb, "slot": slot, **more}))

    def _remember(self) -> None:
        """Write down who may be training, for a scheduler that comes after this one is killed."""
        self._is_noted = True
        ids = [*self._before, *(node.id for node in self._nodes.values() if node.workers)]
        with suppress(OSError):  # on a full disk the next one is not told, and there is none
            write(self._folder / JOINED, json.dumps(ids), lasting=False)


def _terms(address: Address, options: Options, trained: Sequence[Settings]) -> dict[str, Any]:
    """What a node must have, and what it is to make of it."""
    shared = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    return {
        "verb": "terms",
        "start": address.start,
        "code": dict(code()),
        "own": own_modules(trained),
        "read": paths_read(trained),
        "secrets": secrets_of(trained),
        "path": [str(Path(place).absolute()) for place in shared],
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "options": vars(options),
    }


def _locked(folder: Path) -> FileLock:
    lock = FileLock(folder / "scheduler.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"sweep {folder.name} is being run by another process, which has its nodes. Add nodes to that one: "
            f"python -m convgrid node {folder / ADDRESS_FILE}"
        ) from None
    return lock


def _joined_before(folder: Path) -> tuple[set[str], float]:
    """The nodes that may train for a scheduler that was killed, and how long they may."""
    try:
        earlier = read_address(folder / ADDRESS_FILE)
        if earlier is None:
            return set(), 0.0
        return set(json.loads((folder / JOINED).read_text(encoding="utf-8"))), float(earlier.lost_after)
    except (OSError, ValueError, TypeError):
        return set(), 0.0


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"

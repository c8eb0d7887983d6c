"""The writer's process: it reads what is new in folders, sends it, and tries again for as long as it takes."""

import json
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from convgrid.component import revealed
from convgrid.config.address import knock, without_password
from convgrid.errors import ModelError
from convgrid.runs.trial import METRICS_LOG, read_record, set_one_right
from convgrid.system.memory import uncollected
from convgrid.system.processes import ENDING

if TYPE_CHECKING:
    from convgrid.tracking.store import Store
    from convgrid.tracking.sync import Parent
    from convgrid.tracking.system_metrics import Watch

INTERVAL = 1.0  # seconds between two looks at a running trial, and for which a sweep's short ones gather
TOGETHER = 32  # trials that are sent in one transaction, of a second
FIRST_LOOK_DELAY = 2.0  # seconds before the first look at a sweep's: of a shorter one, everything is sent at once
SHARE = 0.05  # of the time that one trial's values may take the store
PARENT_INTERVAL = 10.0  # seconds between two totals of the sweep
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds, after errors
LAST_TRIES = 60.0  # seconds that it goes on after the process that trains died
AWAY = 5.0  # seconds at the end for a store that was never there


def serve() -> None:
    """Be the process: read news from stdin, send what they tell of, answer on stdout; end when stdin does."""
    for number in ENDING:  # to the whole group: they are for the training, whose end is this one's
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stdout holds answers only, not what a library prints
        options = revealed(json.loads(sys.argv[1]), "tracking")
        sender = Sender(**options, note=lambda note: _answer(answers, {"note": note}))
        inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(inbox,), daemon=True).start()
        sender.warm_up()
        seconds = _send_until_closed(sender, inbox)
        _answer(answers, {"unsent": [str(folder) for folder in sender.flush(seconds)]})


def _send_until_closed(sender: "Sender", inbox: "queue.SimpleQueue[dict[str, Any]]") -> float:
    """The seconds that are left once the training is over."""
    while True:
        try:
            message = inbox.get(timeout=sender.idle() if inbox.empty() else 0.0)  # to hear much news at once
        except queue.Empty:
            sender.step()
            continue
        if "died" in message:
            time.sleep(1.0)  # until its locks are free, and its workers have noticed
            sender.set_right()
            return LAST_TRIES
        if "close" in message:
            return message["close"]
        sender.follow(Path(message.pop("folder")), **message)


def _read(inbox: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Always at once, so that the training never waits for the store."""
    for line in sys.stdin:
        inbox.put(json.loads(line))
    inbox.put({"died": True})


def _answer(answers: TextIO, message: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):  # nobody is left to hear it
        print(json.dumps(message), file=answers, flush=True)


@dataclass
class _Followed:
    """A trial with news: when its values are sent at the earliest while it runs, and when it is looked at next."""

    earliest: float
    is_member: bool
    due: float = math.inf
    whole: bool = False
    parts: Path | None = None
    size: int = -1  # of what was sent of its metrics
    is_alone: bool = False  # not to be sent with others, which failed


class Sender:
    """Sends what is new in folders, at most about once a second of each, and tries again after errors.

    Args:
        experiment: Name of the experiment.
        sweep: The sweep's folder; None for a single run.
        note: Is told what the user should know.
        system_metrics: Whether the use of processor, memory, disk, network and GPUs is noted as well.
        register: Name of the model in the registry; None for none.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        sweep: str | Path | None,
        note: Callable[[str], None],
        *,
        system_metrics: bool = False,
        register: str | None = None,
    ) -> None:
        self._uri, self._experiment, self._note, self._register = uri, experiment, note, register
        self._sweep = Path(sweep) if sweep else None
        self._followed: dict[Path, _Followed] = {}
        self._store: Store | None = None
        self._parent: Parent | None = None
        self._totals_due = math.inf
        self._failures, self._pause_until = 0, 0.0
        self._told: set[str] = set()
        self._has_system = system_metrics
        self._watching: Watch | None = None

    def warm_up(self) -> None:
        """Import what takes seconds, before there is anything to send; not where no server listens."""
        with suppress(OSError), uncollected():
            knock(self._uri)
            import convgrid.tracking.sync

            if self._sweep is None:  # a sweep's winner has its curves drawn elsewhere
                import convgrid.tracking.learning_curves  # noqa: F401

    def follow(self, folder: Path, *, whole: bool = False, is_member: bool = True, parts: str | None = None) -> None:
        """Look at a trial now, and from time to time until it has ended.

        Args:
            whole: Whether its weights, its model and its pictures are sent as well.
            is_member: Whether it is one of the sweep's trials.
            parts: A folder with those of its model; None where they are to be made here.
        """
        now = time.monotonic()
        earliest = now + (FIRST_LOOK_DELAY if self._sweep else INTERVAL)
        known = self._followed.setdefault(folder, _Followed(earliest, is_member=False))
        known.whole, known.is_member = known.whole or whole, known.is_member or is_member
        gathers = self._sweep and not known.whole and known.size < 0  # of a short one, nothing is sent before its end
        known.due = min(known.due, now + INTERVAL) if gathers else now
        known.parts = Path(parts) if parts else known.parts
        if self._has_system and self._watching is None:
            from convgrid.tracking.system_metrics import Watch

            self._watching = Watch(self._sweep or folder)

    def set_right(self) -> None:
        """Call killed what the process that trained has left running, now that it is dead."""
        for folder in self._followed:
            set_one_right(folder)

    def idle(self) -> float | None:
        """Seconds until there is something to do; None without end."""
        dues = [self._totals_due, *(trial.due for trial in self._followed.values())]
        due = 0.0 if self._sweep and self._parent is None else min(dues)
        return None if due == math.inf else max(0.0, max(due, self._pause_until) - time.monotonic())

    def step(self, *, last: bool = False) -> None:
        """Do what is most urgent.

        Args:
            last: Whether what is sent now is the last of each trial, ended or not.
        """
        folder = min(self._followed, key=lambda folder: self._followed[folder].due, default=None)
        if folder is not None and self._totals_due < self._followed[folder].due:
            folder = None
        try:
            knock(self._uri)  # a server that is gone is told in the same words, whatever is to be sent
            if self._store is None or (self._sweep and self._parent is None):
                self._open()
            elif folder is None:
                self._send_totals()
            elif len(ready := self._ready(last=last)) > 1:
                self._send_together(ready, last)
            elif ready:
                folder = ready[0]
                self._send(folder, last)
        except ModelError as error:
            self._tell(str(error))
        except Exception as error:  # a store may fail in every way that a database, a network or a disk can
            self._pause(folder, error)
        else:
            if self._failures:
                self._tell(f"tracking.uri={without_password(self._uri)} takes values again.")
            self._failures = 0

    def flush(self, seconds: float) -> list[Path]:
        """Send all that there is, the sweep's totals at last.

        Args:
            seconds: To try for; a store that was never there gets five.

        Returns:
            Folders of which the store lacks something.
        """
        started, self._failures, self._pause_until = time.monotonic(), 0, 0.0
        self._stop_watching()
        for trial in self._followed.values():
            trial.due = 0.0
        if self._sweep:
            self._totals_due = time.monotonic()  # after the trials, but before a trial that fails again
        while (wait := self.idle()) is not None:
            if time.monotonic() + wait > started + (seconds if self._store else min(seconds, AWAY)):
                break
            time.sleep(wait)
            self.step(last=True)
        return [*self._followed, *([self._sweep] if self._sweep and self._totals_due < math.inf else [])]

    def _open(self) -> None:
        with uncollected():
            from convgrid.tracking.store import Store  # MLflow takes 2 s to import, while the first trials train
            from convgrid.tracking.sync import set_sweeps_right, sync_sweep

            self._store = self._store or Store.open(self._uri, self._experiment)  # it imports as much again
        if self._sweep:
            parent = sync_sweep(self._sweep, self._store)
            set_sweeps_right(self._sweep.parent, self._store)
            self._parent = parent

    def _ready(self, *, last: bool) -> list[Path]:
        """What is due and has news, as much as goes at once; what has none is looked at later."""
        now, ready = time.monotonic(), list[Path]()
        for folder, trial in sorted(self._followed.items(), key=lambda item: item[1].due):
            if trial.due > now or len(ready) == TOGETHER:
                break
            is_alone = not self._goes_with_others(trial)
            if (ready and is_alone) or not (last or self._has_news(folder, trial, now)):
                continue
            ready.append(folder)
            if is_alone:
                break
        return ready

    def _goes_with_others(self, trial: _Followed) -> bool:
        from convgrid.system.mlflow_internals import has_transactions

        assert self._store is not None
        return trial.is_member and not trial.whole and not trial.is_alone and has_transactions(self._store.client)

    def _has_news(self, folder: Path, trial: _Followed, now: float) -> bool:
        if read_record(folder).get("status") == "running":
            if now < trial.earliest:
                trial.due = trial.earliest
            elif _size(folder / METRICS_LOG) == trial.size:
                trial.due = now + INTERVAL
        return trial.due <= now

    def _send(self, folder: Path, last: bool) -> None:
        from convgrid.tracking.sync import sync

        trial, started, size = self._followed[folder], time.monotonic(), _size(folder / METRICS_LOG)
        assert self._store is not None
        if self._sweep is None and read_record(folder).get("status") != "running":
            self._stop_watching()
        parent = self._parent if trial.is_member else None
        has_ended = sync(folder, self._store, parent, whole=trial.whole, register=self._register, parts=trial.parts)
        self._sent(folder, size, time.monotonic() - started, has_ended=has_ended, last=last)

    def _send_together(self, folders: list[Path], last: bool) -> None:
        from convgrid.tracking.sync import sync_together

        assert self._store is not None
        started, sizes = time.monotonic(), {folder: _size(folder / METRICS_LOG) for folder in folders}
        for folder in folders:
            self._followed[folder].is_alone = True  # from now on, should this fail
        sent = sync_together(folders, self._store, self._parent)
        seconds = (time.monotonic() - started) / len(folders)
        for folder, has_ended in sent.items():
            self._followed[folder].is_alone = False
            self._sent(folder, sizes[folder], seconds, has_ended=has_ended, last=last)

    def _sent(self, folder: Path, size: int, seconds: float, *, has_ended: bool, last: bool) -> None:
        """Note what the store has of a trial, and when it is looked at next.

        Args:
            size: Of its metrics' file, before they were sent.
            seconds: That its part took the store.
        """
        now, trial = time.monotonic(), self._followed[folder]
        if has_ended and self._sweep:
            self._totals_due = min(self._totals_due, now + PARENT_INTERVAL)
        if has_ended or last:
            del self._followed[folder]
        else:
            trial.earliest = trial.due = now - seconds + max(INTERVAL, seconds / SHARE)
            trial.size = size

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.stop()

    def _send_totals(self) -> None:
        from convgrid.tracking.sync import sync_sweep

        assert self._store is not None
        assert self._sweep is not None
        sync_sweep(self._sweep, self._store)
        self._totals_due = math.inf

    def _pause(self, folder: Path | None, error: Exception) -> None:
        """Longer after each failure in a row; then another trial's turn comes first."""
        self._pause_until = time.monotonic() + min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
        self._failures += 1
        if folder is None:
            self._totals_due = self._pause_until
        else:
            self._followed[folder].due = self._pause_until
        cause = str(error).strip().partition("\n")[0].rstrip(".")
        self._tell(
            f"tracking.uri={without_password(self._uri)} does not take what is new: {type(error).__name__}: {cause}. "
            "Training goes on, and it is tried again; "
            "what is left in runs/ at the end is sent by: python -m convgrid sync"
        )

    def _tell(self, note: str) -> None:
        if note not in self._told:
            self._told.add(note)
            self._note(note)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0

"""A node process: the workers of one machine, for a scheduler on another.

It holds what a sweep on one machine holds, `Local`, and relays: the scheduler's words to its workers, their news back.
"""

import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

from convgrid.sweep.executors.address import ADDRESS_FILE, Address, read_address
from convgrid.sweep.executors.fitness import faults
from convgrid.sweep.executors.interface import Died
from convgrid.sweep.executors.lease import LAPSED, Lease
from convgrid.sweep.executors.local import Local
from convgrid.sweep.executors.transport import Client
from convgrid.sweep.executors.wire import event_said, job_heard, packed, unpacked
from convgrid.sweep.messages import Ended
from convgrid.system.processes import cooled_down, handled_by

NODE_POLL_INTERVAL = 0.5  # seconds between looks at what nobody wakes for
RECONNECT_INTERVAL = 1.0  # seconds between two attempts to reach a scheduler
NODE_GRACE = 8.0  # seconds for running trials to end by themselves when the node is to leave

End = Literal["over", "left", "refused", "cut", "unreached"]  # of a session


def serve(file: Path) -> int:
    """Train for the scheduler that a file names, until the sweep is over.

    Args:
        file: `sweeps/ID/scheduler.json`.

    Returns:
        The exit status: 0 where the sweep is over, or a signal ended the node; 1 where it was refused, or nobody
        answered for as long as it may wait.

    Raises:
        ConfigError: If the file cannot be read, or is none of a scheduler's.
    """
    with cooled_down(), TemporaryDirectory(prefix="convgrid-") as folder, _Signals() as signals:
        return _Node(file, Path(folder), signals).run()


class _Signals:
    """What asks the node to leave: Ctrl-C, SIGTERM, SIGUSR1."""

    def __init__(self) -> None:
        self.came = ""
        self.wake = lambda: None

    def __enter__(self) -> Self:
        self._handled = handled_by(self._note)
        self._handled.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._handled.__exit__(None, None, None)

    def _note(self, number: int, _frame: object) -> None:
        self.came = signal.Signals(number).name
        self.wake()


class _Node:
    def __init__(self, file: Path, folder: Path, signals: _Signals) -> None:
        self._file, self._signals = file.absolute(), signals
        self._lease = Lease(folder / "lease")
        self._told = ""
        self._id = secrets.token_hex(8)
        self._host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()

    def run(self) -> int:
        """Go from session to session."""
        patience, since = 0.0, time.monotonic()
        while not self._signals.came:
            address = read_address(self._file)
            if address is None:
                _tell("The sweep is over." if patience else f"There is no {self._file}: the sweep is over.")
                return 0
            patience = address.patience
            end = self._session(address)
            if end == "unreached":
                if time.monotonic() - since > patience:
                    _tell(
                        f"No scheduler answers at {address.at} for {patience:g} s. Start the sweep again; "
                        "if it runs, name an address that nodes reach: sweep.executor.host."
                    )
                    return 1
                time.sleep(RECONNECT_INTERVAL)
            elif end == "cut":
                since = time.monotonic()
            else:
                return int(end == "refused")
        return 0

    def _session(self, address: Address) -> End:
        """Be of use to a scheduler."""
        client = Client(address, packed({"id": self._id, "host": self._host}), self._lease)
        self._signals.wake = client.wake
        try:
            return self._serve(address, client)
        finally:
            self._signals.wake = lambda: None
            self._lease.end()
            client.close()

    def _serve(self, address: Address, client: Client) -> End:
        terms = self._terms(client)
        if terms is None:
            self._tell_once(f"Not with the scheduler at {address.at}: {client.ended or self._signals.came}.")
            return "unreached"
        sys.path += [place for place in terms["path"] if place not in sys.path and Path(place).is_dir()]
        fault = self._elsewhere(address) or faults(terms["code"], terms["own"], terms["read"], terms["secrets"])
        if fault:
            return self._unfit(fault, client)
        os.environ.update({name: text for name, text in terms["variables"].items() if name not in os.environ})
        local: Local | None = None
        try:
            local = Local(**terms["options"], lease=self._lease.file)
            local.wait_until_ready()  # no trial waits for a node that still imports, while others are free
            client.say(packed({"verb": "ready", "workers": len(local.workers), "has_gpus": bool(local.gpus)}))
            return self._relay(local, client)
        except EOFError:
            if client.ended or self._lease.left < 0:  # the scheduler is gone, and so they ended
                return "cut"
            return self._unfit("its workers end as soon as they are started. See what they print there", client)
        finally:
            if local is not None:
                local.close()

    def _tell_once(self, text: str) -> None:
        """Say something that may be so every second for minutes."""
        if text != self._told:
            _tell(text)
        self._told = text

    def _unfit(self, fault: str, client: Client) -> End:
        _tell(f"Refused: {fault}.")
        client.say(packed({"verb": "unfit", "reason": fault}))
        return "refused"

    def _terms(self, client: Client) -> Mapping[str, Any] | None:
        """Wait for the scheduler's first word, and for its first answer to a beat, without which nothing may train."""
        terms = None
        while not client.ended and not self._signals.came:
            for body in client.heard():
                terms = unpacked(body)
            if terms is not None and self._lease.left > 0:
                return terms
            client.wait(NODE_POLL_INTERVAL)
        return None

    def _relay(self, local: Local, client: Client) -> End:
        """Pass on words and news until either side ends."""
        deadline = 0.0
        while True:
            for body in client.heard():
                said = unpacked(body)
                if said["verb"] == "close":
                    _tell("The sweep is over.")
                    return "over"
                if said["verb"] == "refused":
                    _tell(f"Refused: {said['reason']}.")
                    return "refused"
                _do(local, said)
            if client.ended:
                _tell(f"Its trials keep their finished epochs: {client.ended}.")
                return "cut"
            if self._signals.came and not deadline:
                deadline = time.monotonic() + NODE_GRACE
                client.say(packed({"verb": "leaving", "reason": self._signals.came}))
                for worker in local.busy():
                    local.interrupt(worker)
            if deadline and (not local.busy() or time.monotonic() > deadline):
                client.say(packed({"verb": "left"}))
                return "left"
            for worker, event in local.events(NODE_POLL_INTERVAL, also=client.wake):
                if isinstance(event, Died) and event.exitcode == LAPSED:
                    return "cut"  # the scheduler has not been heard for too long, if not too long to know it here
                if isinstance(event, Died | Ended):
                    local.release(worker)
                client.say(packed({"verb": "event", "slot": worker.number, "event": event_said(event)}))

    def _elsewhere(self, address: Address) -> str:
        """Change into the folder in which the sweep was started; what is wrong with it here."""
        try:
            os.chdir(address.cwd)
        except OSError as error:
            return f"{address.cwd} cannot be used there: {error.strerror}. Start nodes where that folder is shared"
        if read_address(Path(address.sweep) / ADDRESS_FILE) != read_address(self._file):
            return f"{address.cwd} is another folder there. Start nodes where that folder is shared"
        return ""


def _do(local: Local, said: Mapping[str, Any]) -> None:
    worker = local.workers[said["slot"]]
    match said["verb"]:
        case "give":
            local.give(worker, job_heard(said["job"]))
        case "answer":
            local.answer(worker, said["word"])
        case "interrupt":
            local.interrupt(worker)
        case "kill":
            local.kill(worker)
        case "replace":
            local.replace(worker)
        case verb:
            raise AssertionError(verb)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

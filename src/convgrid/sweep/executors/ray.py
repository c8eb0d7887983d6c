"""Node processes under Ray, each in an actor: Ray finds a place for it, and another one where that is lost."""

import logging
import signal
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import count
from os import environ, pathsep
from pathlib import Path
from typing import Any

from convgrid.errors import ConfigError
from convgrid.sweep.executors.interface import LAUNCHER_GRACE

HEADLESS = 3  # questions in a row that the cluster's head does not answer, and nobody is expected any more
RESOURCE_OPTIONS = {"CPU": "num_cpus", "GPU": "num_gpus"}  # as Ray lists what a machine has, and as it is asked for


class Ray:
    """Nodes are places in a Ray cluster.

    Args:
        address: "auto" for the cluster that this machine belongs to, or that RAY_ADDRESS names; or HOST:PORT of its
            head, from a machine of the cluster.
        num_cpus: Cores of each node process, as many as it has workers where `sweep.workers` is null.
        num_gpus: GPUs of each node process.

    Raises:
        ConfigError: If Ray is not installed.

    Example:
        >>> Ray(num_cpus=4).waiting()
        0
    """

    def __init__(self, *, address: str = "auto", num_cpus: int = 1, num_gpus: int = 0) -> None:
        if find_spec("ray") is None:
            raise ConfigError("sweep/executor=ray needs ray: pip install 'convgrid[ray]'")
        self._address = address
        self._resources = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        self._numbers = count()
        self._runs: dict[Any, tuple[int, Any]] = {}  # number and actor of each node process, by what tells its end
        self._head, self._silences = "", 0
        self._notes: list[str] = []

    def start(self, command: Sequence[str], nodes: int, logs: Path) -> int:
        """Start an actor for each node.

        Returns:
            How many: they wait until there is a place.

        Raises:
            ConfigError: If no Ray cluster answers.
        """
        # It would print what becomes of every actor, whose nodes are told already. To be said before it is imported.
        environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
        import ray

        if not ray.is_initialized():
            self._connect()
        elif not self._has_head():
            raise ConfigError(f"the head of the Ray cluster, {self._head}, does not answer")
        if not any(self._fits(node) for node in ray.nodes()):
            asked = ", ".join(f"sweep.executor.{key}={value}" for key, value in self._resources.items())
            self._notes.append(f"No machine of the Ray cluster has room for {asked}: waiting for one that has.")
        cpus, gpus = self._resources["num_cpus"], self._resources["num_gpus"]
        actor = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=-1)(_actor())
        for number in [next(self._numbers) for _ in range(nodes)]:
            made = actor.remote()
            log = logs / f"ray-{number}.log"
            self._runs[made.run.remote([*command], str(log), _environment(cpus))] = number, made
        return nodes

    def waiting(self) -> int:
        """Count the actors that wait for a place, run, or are being started again."""
        if not self._runs:
            return 0
        if not self._has_head():
            if self._silences == HEADLESS:
                self._notes.append(f"{self._head} does not answer: once Ray's head is back, the same command goes on.")
            return len(self._runs) if self._silences < HEADLESS else 0
        import ray
        from ray.exceptions import RayError

        ended, running = ray.wait([*self._runs], num_returns=len(self._runs), timeout=0)
        for run in ended:
            number, actor = self._runs.pop(run)
            try:
                said = f"status {ray.get(run)}"
            except RayError as error:
                said = str(error).splitlines()[0]
            ray.kill(actor)  # it would keep its place
            self._notes.append(f"Node process {number} of Ray has ended: {said}")
        return len(running)

    def notes(self) -> list[str]:
        """Take what became of actors."""
        notes, self._notes = self._notes, []
        return notes

    def stop(self) -> None:
        """Let the node processes end, end those that do not, and leave the cluster."""
        import ray

        if not ray.is_initialized() or not self._has_head():
            return
        if self._runs:
            ray.wait([*self._runs], num_returns=len(self._runs), timeout=LAUNCHER_GRACE)
        for _, actor in self._runs.values():
            ray.kill(actor)
        ray.shutdown()

    def _has_head(self) -> bool:
        """Whether the cluster's head answers: without one, calls of Ray's wait for it, and end this process at last."""
        try:
            _knock(self._head)
        except OSError:
            self._silences += 1
            return False
        self._silences = 0
        return True

    def _connect(self) -> None:
        import ray

        heard = signal.getsignal(signal.SIGTERM)
        try:
            _knock(environ.get("RAY_ADDRESS", "auto") if self._address == "auto" else self._address)
            ray.init(address=self._address, log_to_driver=False, logging_level=logging.ERROR)
            signal.signal(signal.SIGTERM, heard)  # which Ray takes to itself
            self._head = ray.get_runtime_context().gcs_address
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"sweep.executor.address={self._address}: no Ray cluster answers ({' '.join(str(error).split())}). "
                "Start one on each machine with ray start, or name its head: sweep.executor.address=HOST:6379."
            ) from None

    def _fits(self, node: dict[str, Any]) -> bool:
        has = node["Resources"]
        return node["Alive"] and all(has.get(name, 0) >= self._resources[key] for name, key in RESOURCE_OPTIONS.items())


def _knock(address: str) -> None:
    """Fail within seconds where nobody listens: Ray itself tries for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def _environment(cores: int) -> dict[str, str]:
    """What a node process is told beside the variables of its machine."""
    path = [str(Path(place).absolute()) for place in environ.get("PYTHONPATH", "").split(pathsep) if place]
    return {"CONVGRID_CORES": str(cores), **({"PYTHONPATH": pathsep.join(path)} if path else {})}


def _actor() -> type:
    """The class of actors; Ray sends its code, since it is defined in a function, so that no machine imports it."""

    class Node:
        def run(self, command: list[str], log: str, variables: dict[str, str]) -> int:
            """Run a node process to its end, which comes with the actor's at the latest."""
            import ctypes
            import os
            import signal
            import subprocess

            def end_with_the_actor() -> None:
                if os.uname().sysname == "Linux":
                    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

            with open(log, "ab") as file:
                return subprocess.call(  # noqa: S603  (the scheduler's own command)
                    command, stdout=file, stderr=file, env={**os.environ, **variables}, preexec_fn=end_with_the_actor
                )

    return Node

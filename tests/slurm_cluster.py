"""A Slurm cluster of two nodes on loopback, in one folder, without root's rights where Slurm allows it.

Debian's packages are slurm-wlm, slurmctld, slurmd and munge. Accounting is absent, as `sacct` says.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from getpass import getuser
from pathlib import Path

import psutil

from machines import wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
NODES = ("node1", "node2")

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
ReturnToService=2
KillWait=5
SlurmdTimeout=5
InactiveLimit=0
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=2000 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=low Nodes=node1,node2 Default=YES MaxTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=node1,node2 MaxTime=60 State=UP PriorityTier=10 PreemptMode=OFF
"""


class Cluster:
    """What a test does to a cluster.

    Args:
        folder: Of its configuration, logs and state.
        environment: With which Slurm's commands speak to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: Mapping[str, str] = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, *command: str) -> str:
        """Run one of Slurm's commands; what it says."""
        done = subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True, timeout=30)
        return done.stdout.strip()

    def start(self, name: str, *command: str) -> None:
        """Start a daemon, which ends with this process, whatever ends it."""
        with (self.folder / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], env=self.environment, stdout=out, stderr=out
            )

    def start_node(self, name: str) -> None:
        """Boot one of the nodes."""
        self.start(name, "slurmd", "-D", "-N", name, "-f", str(self.folder / "slurm.conf"))

    def crash(self, name: str) -> None:
        """What a crash of the machine does: the daemon, and all that it has started, end at once."""
        if name in self._daemons:
            self.kill_daemon(name)
        log = self.folder / f"slurmd-{name}.log"
        while left := [each for each in psutil.process_iter() if _has_open(each, log)]:  # the daemons of its jobs
            for each in left:
                _kill_tree(each)
            time.sleep(0.05)  # what is killed is gone, and what was being started is there

    def kill_daemon(self, name: str) -> None:
        """End a daemon alone: what it has started goes on."""
        daemon = self._daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def end(self) -> None:
        """End all daemons, and what they have started."""
        for name in ("slurmctld", *NODES, "munged"):
            self.crash(name)


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Start a cluster whose nodes are idle, and end it.

    Raises:
        OSError: If it does not come up.
    """
    folder.mkdir(mode=0o755, parents=True)
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(1024))
    (folder / "state").mkdir()
    for name in NODES:
        (folder / f"spool-{name}").mkdir()
    conf = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    conf.write_text(CONF.format(host=host, user=getuser(), folder=folder, ports=_free_ports(3)))
    cluster = Cluster(folder)
    files = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munged.pid"}
    files |= {"log-file": folder / "munged.log", "seed-file": folder / "munged.seed"}
    cluster.start("munged", "munged", "--force", "--foreground", *(f"--{name}={path}" for name, path in files.items()))
    try:
        wait_for((folder / "munge.socket").exists, "munged", 10)
        cluster.start("slurmctld", "slurmctld", "-D", "-c", "-f", str(conf))
        for name in NODES:
            cluster.start_node(name)
        wait_for(lambda: _states(cluster) == ["idle", "idle"], "the cluster's nodes", 20)
        yield cluster
    finally:
        cluster.end()


def missing() -> list[str]:
    """Programs that a cluster needs and this machine lacks."""
    return [name for name in (*PROGRAMS, "setpriv") if not shutil.which(name)]


def _states(cluster: Cluster) -> list[str]:
    try:
        return cluster.run("sinfo", "-h", "-N", "-p", "low", "-o", "%t").split()
    except subprocess.CalledProcessError:
        return []


def _has_open(process: psutil.Process, path: Path) -> bool:
    try:
        return process.name().startswith("slurm") and str(path) in [each.path for each in process.open_files()]
    except psutil.Error:
        return False


def _kill_tree(process: psutil.Process) -> None:
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            each.kill()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports

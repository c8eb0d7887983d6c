"""Sweeps under a real Slurm of two nodes on loopback, hurt in every way: the rest comes out as if on one machine."""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from conftest import NO_SLURM
from machines import (
    SOON,
    Start,
    found,
    hears,
    make_desk,
    node_processes,
    refused,
    results,
    said,
    sweeps,
    trained,
    undisturbed,
    wait_for,
    words,
)
from slurm_cluster import Cluster, missing, running_cluster

pytestmark = pytest.mark.waits

SLURM = ("sweep/executor=slurm", "sweep.executor.walltime=00:30:00", "sweep.executor.host=127.0.0.1", "sweep.workers=1")


@pytest.fixture
def start() -> Iterator[Start]:
    with sweeps() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if missing():
        pytest.skip(f"{NO_SLURM}: {', '.join(missing())}")
    with ExitStack() as stack:
        try:
            made = stack.enter_context(running_cluster(tmp_path_factory.mktemp("slurm") / "cluster"))
        except (OSError, subprocess.SubprocessError) as error:  # such as where it takes root's rights
            pytest.skip(f"{NO_SLURM}: {error}")
        yield made


@pytest.fixture(scope="module")
def reference(of_all_processes: Path) -> dict[str, Any]:
    return undisturbed(of_all_processes)


def jobs(cluster: Cluster, node: str) -> list[str]:
    """The jobs that run on a node."""
    return cluster.run("squeue", "-h", "-w", node, "-t", "RUNNING", "-o", "%i").split()


def test_preempted_failing_and_cancelled_nodes_cost_no_trial_and_are_told(
    cluster: Cluster, reference: dict[str, Any], start: Start, tmp_path: Path
) -> None:
    folder = make_desk(tmp_path)
    process = start(folder, cluster.environment, *SLURM, "sweep.executor.nodes=2", "sweep.executor.lost_after=5")
    hears(folder, "has come", 2)
    wait_for(lambda: trained(folder) == 2, "epochs", SOON)

    cluster.run("scontrol", "update", "nodename=node1", "state=down", "reason=test")  # ReturnToService=2 brings it back
    more = cluster.run("sbatch", "--parsable", "-p", "high", "-w", "node2", "--exclusive", "-o/dev/null", "--wrap=true")
    hears(folder, r"node[12] is leaving: SIGTERM\. Its trials go on elsewhere\.", 2)
    hears(folder, r"Job 1 waits again: .*( DUE TO NODE FAILURE|requeued it)")  # Slurm does so before it writes why
    hears(folder, r"Job 2 waits again: .* DUE TO PREEMPTION")
    hears(folder, "has come", 4)
    assert cluster.run("squeue", "-h", "-t", "all", "-j", more, "-o", "%T") == "COMPLETED"

    next(each for each in node_processes(folder) if each.environ()["SLURMD_NODENAME"] == "node1").kill()
    hears(folder, "Job 1 has ended: ")
    hears(folder, "node1 is lost: silent for 5 s")
    hears(folder, "Asked for 1 more node: so many have ended.")
    hears(folder, "has come", 5)

    cluster.run("scancel", "2")
    hears(folder, r"Job 2 was cancelled, and no other takes its place: .* JOB 2 ON node2 CANCELLED AT")
    (folder / "go").touch()
    assert process.wait(SOON) == 0, said(folder)
    assert results(folder) == reference
    assert said(folder).count("Asked for") == 1
    assert "failed" not in said(folder)
    wait_for(lambda: not cluster.run("squeue", "-h"), "an empty queue", SOON)


def test_a_sweep_that_is_a_job_itself_outlives_time_limits_and_slurmd(
    cluster: Cluster, reference: dict[str, Any], tmp_path: Path
) -> None:
    folder = make_desk(tmp_path)
    line = shlex.join(words(*SLURM, "sweep.executor.nodes=2", "sweep.executor.exclusive=false"))
    submit = ["sbatch", "--parsable", "-w", "node1", f"-o{folder / 'said'}", "--wrap", line]
    environment = found(folder, cluster.environment)
    own = subprocess.run(submit, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    wait_for((folder / "said").exists, "the sweep's job", SOON)
    hears(folder, "has come", 2)
    wait_for(lambda: trained(folder) == 2, "epochs", SOON)

    limited, _ = [each for each in [*jobs(cluster, "node1"), *jobs(cluster, "node2")] if each != own]
    cluster.run("scontrol", "update", f"jobid={limited}", "EndTime=now+1")  # Slurm looks every 30 s
    cluster.kill_daemon("node2")
    hears(folder, rf"Job {limited} has ended: .* DUE TO TIME LIMIT")
    hears(folder, "has come", 3)  # another job, or that of node2, which Slurm believes dead
    (folder / "go").touch()
    ended = lambda: cluster.run("squeue", "-h", "-t", "all", "-j", own, "-o", "%T")  # noqa: E731
    wait_for(lambda: ended() == "COMPLETED", "the sweep's end", SOON)
    assert results(folder) == reference
    assert "is lost" not in said(folder)
    cluster.start_node("node2")


def test_a_partition_that_does_not_exist_is_told_before_anything_trains(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    told = refused(tmp_path, *SLURM, "sweep.executor.partition=gpu")
    assert "ConfigError: sweep/executor=slurm: no job is taken. sbatch: error: invalid partition" in told

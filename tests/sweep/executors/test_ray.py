"""Sweeps in a real Ray cluster of two raylets on this machine; one is taken away."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from conftest import NO_RAY
from machines import (
    SOON,
    Start,
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
)

pytestmark = pytest.mark.waits

MACHINE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@pytest.fixture
def start() -> Iterator[Start]:
    with sweeps() as made:
        yield made


@pytest.fixture
def reference(of_all_processes: Path) -> dict[str, Any]:
    return undisturbed(of_all_processes)


@pytest.fixture
def cluster() -> Iterator[Any]:
    if not find_spec("ray"):
        pytest.skip(NO_RAY)
    from ray.cluster_utils import Cluster

    unused = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}  # processes of their own
    made = Cluster(initialize_head=True, head_node_args=MACHINE | unused)
    yield made
    made.shutdown()


def test_a_sweep_in_a_ray_cluster_outlives_a_machine_and_equals_that_of_one_machine(
    reference: dict[str, Any], cluster: Any, start: Start, tmp_path: Path
) -> None:
    folder = make_desk(tmp_path / "ray")
    one = cluster.add_node(**MACHINE, include_log_monitor=False)
    process = start(
        folder,
        {**os.environ, "RAY_ADDRESS": cluster.address},
        *("sweep/executor=ray", "sweep.executor.nodes=2", "sweep.executor.host=127.0.0.1"),
        "sweep.executor.lost_after=5",
    )

    hears(folder, "has come", 2)
    wait_for(lambda: trained(folder) == 2, "epochs", SOON)
    cluster.remove_node(one)
    hears(folder, "is lost: silent for 5 s|is leaving: SIGTERM")  # Ray may kill it, or its actor ends first
    cluster.add_node(**MACHINE, include_log_monitor=False)
    hears(folder, "has come", 3)  # Ray has started its actor again
    assert "ray" not in said(folder).lower()  # which says nothing of its own

    node_processes(folder)[0].kill()
    hears(folder, r"Node process \d of Ray has ended: status -9")
    hears(folder, "has come", 4)  # in the place of the actor that had it
    (folder / "go").touch()
    assert process.wait(SOON) == 0, said(folder)
    assert results(folder) == reference


def test_no_cluster_is_told_before_anything_trains(tmp_path: Path) -> None:
    if not find_spec("ray"):
        pytest.skip(NO_RAY)
    told = refused(tmp_path, "sweep/executor=ray", "sweep.executor.address=127.0.0.1:1")
    assert "ConfigError: sweep.executor.address=127.0.0.1:1: no Ray cluster answers" in told

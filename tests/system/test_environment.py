"""How many cores are this process' own."""

import os

import pytest

from convgrid.system.environment import CORES, cores


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 8),
        ({"SLURM_CPUS_ON_NODE": "4"}, 4),
        ({"NSLOTS": "2", "NCPUS": "64"}, 2),
        ({"SLURM_CPUS_ON_NODE": "16"}, 8),  # with its affinity set to fewer
        ({"CONVGRID_CORES": "1", "SLURM_CPUS_ON_NODE": "4"}, 1),  # a place of Ray in a job of Slurm
        ({"LSB_DJOB_NUMPROC": "0", "NCPUS": "many"}, 1),
    ],
)
def test_a_job_has_the_cores_that_it_was_given(
    variables: dict[str, str], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name in CORES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cores() == count

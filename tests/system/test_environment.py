"""How many cores are this process' own, and what they can do."""

import os
from pathlib import Path

import pytest

from convgrid.system import environment
from convgrid.system.environment import CORES, cores, cpu_flags


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


# of /proc/cpuinfo of Linux 6.1 on an AMD EPYC 9004, shortened
EPYC = "processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor\t: 1\nflags\t\t: fpu avx2 avx512_bf16 amx_bf16\n"


@pytest.mark.parametrize(
    ("text", "flags"), [(EPYC, {"fpu", "avx2", "avx512_bf16"}), ("Features\t: asimd\n", set()), (None, set())]
)
def test_what_the_first_processor_can_do_is_read_where_linux_says_it(
    text: str | None, flags: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "CPU", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert cpu_flags.__wrapped__() == flags

"""What a run ran on: versions, machine, and the state of the code."""

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

from convgrid import __version__

# How many cores are this process' own, as Ray's places, Slurm, Grid Engine, LSF and PBS say: many do not confine it.
CORES = ("CONVGRID_CORES", "SLURM_CPUS_ON_NODE", "NSLOTS", "LSB_DJOB_NUMPROC", "NCPUS")
CPU = Path("/proc/cpuinfo")
RECORDED_PACKAGES = ("torch", "lightning", "hydra-core", "mlflow", "numpy")


@cache
def environment() -> dict[str, str]:
    """Describe where this process runs, and the code that it has loaded: found once, as the code is.

    Returns:
        By name: versions, platform, and git's commit and whether files differ from it, in a checkout.

    Example:
        >>> environment()["python"] == platform.python_version()
        True
    """
    from importlib.metadata import version  # with all that reads mail; a plan does without

    return {
        "convgrid": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in RECORDED_PACKAGES},
        "platform": platform.platform(),
        **_git(),
    }


def cores() -> int:
    """Count the CPU cores that this process may use, as the system and a batch system say.

    Returns:
        At least 1.

    Example:
        >>> cores() >= 1
        True
    """
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = [int(text) for name in CORES if (text := os.environ.get(name, "")).isdecimal()]
    return max(1, min(seen, *given)) if given else seen


@cache
def cpu_flags() -> frozenset[str]:
    """Name what the processor can do, as Linux says it; nothing elsewhere.

    Returns:
        Such as "avx2", "avx512_bf16", "amx_bf16".
    """
    try:
        with CPU.open() as lines:
            return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())
    except OSError:
        return frozenset()


def _git() -> dict[str, str]:
    folder = Path(__file__).parent
    try:
        commit, status = (
            subprocess.run(  # noqa: S603  (constant arguments)
                ["git", "-C", str(folder), *command],  # noqa: S607  (the user's git)
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"git.commit": commit, "git.dirty": str(bool(status)).lower()}

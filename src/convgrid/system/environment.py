"""What a run ran on: versions, machine, and the state of the code."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from convgrid import __version__

PACKAGES = ("torch", "lightning", "hydra-core", "mlflow", "numpy")


@cache
def environment() -> dict[str, str]:
    """Describe where this process runs, and the code that it has loaded: found once, as the code is.

    Returns:
        By name: versions, platform, command line, and git's commit and whether files differ from it, in a checkout.

    Example:
        >>> environment()["python"] == platform.python_version()
        True
    """
    return {
        "convgrid": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "command": " ".join(sys.argv),
        **_git(),
    }


def cores() -> int:
    """Count the CPU cores that this process may use.

    Returns:
        At least 1.

    Example:
        >>> cores() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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

"""What the plan of a sweep takes: time, start of the process included, and peak memory of 1,000 and of 10,000 points.

Of plain networks, and 1,000 points of residual ones with up to 40 joins.

Usage: python benchmarks/plan.py [--quick]

Each plan is a `dry_run=true -m` in a process of its own, in an empty folder; a time is the median over the turns.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RUN = str(Path(__file__).parents[1] / "run.py")
GRID = ("arch.n=range(0,5)", "arch.m=range(0,5)", "arch.k=0,1", "optimizer=sgd,adam", "layer/norm=none,batch")
RESIDUAL = (
    "arch.pattern='INPUT -> CONV -> [[SUM[CONV -> NORM? -> RELU -> CONV -> NORM? | SKIP] -> RELU]*N -> POOL]*M -> FC'",
    "data=random", "layer/norm=batch",
)  # fmt: skip
JOINS = (*RESIDUAL, "arch.n=range(1,11)", "arch.m=range(1,5)", "arch.filters=4,8,16,32,64")
FEW = ("arch.n=1,2", "arch.m=1,2", "arch.filters=4,8")
LIMIT = 5.0  # seconds for the small one


def start_python(*words: object, **settings: Any) -> "subprocess.Popen[str]":
    """Start Python in a process of its own."""
    return subprocess.Popen([sys.executable, *map(str, words)], text=True, **settings)


def plan(seeds: int, grid: Sequence[str]) -> tuple[float, float, str]:
    """Plan a grid with so many seeds for each of its points.

    Returns:
        Seconds, peak memory in MiB, and what it printed.
    """
    words = (RUN, "-m", "dry_run=true", *grid, f"sweep.seeds={seeds}")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        child = start_python(*words, cwd=folder, stdout=subprocess.PIPE)
        assert child.stdout is not None
        printed = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, printed
    return seconds, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2), printed


def main() -> None:
    """Measure both in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? One turn, 8 and 16 points; no true times")
    quick = parser.parse_args().quick
    grid, residual, seeds, more = (FEW, (*RESIDUAL, *FEW), 1, 2) if quick else (GRID, JOINS, 5, 50)
    turns = [(plan(seeds, grid), plan(more, grid), plan(seeds, residual)) for _ in range(1 if quick else 5)]
    small, large = ((8 if quick else 200) * count for count in (seeds, more))
    few, many, joins = (
        (statistics.median(turn[place][0] for turn in turns), statistics.median(turn[place][1] for turn in turns))
        for place in range(3)
    )
    assert f"points         {large:,}" in turns[0][1][2]
    assert f"to train       {small:,}" in turns[0][2][2]
    limit = f"(at most {LIMIT:.0f} s for 1,000)"
    print(f"{small:>6,} points: median {few[0]:.2f} s {limit}, {few[1]:.0f} MiB")
    print(f"{small:>6,} with joins: median {joins[0]:.2f} s {limit}, {joins[1]:.0f} MiB")
    print(f"{large:>6,} points: median {many[0]:.2f} s, {many[1]:.0f} MiB")
    if not quick:
        print(f"{large / small:.0f} times the points took {many[0] / few[0]:.1f} times the time", end=" ")
        print(f"and {many[1] / few[1]:.1f} times the memory")


if __name__ == "__main__":
    main()

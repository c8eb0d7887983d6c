"""What the plan of a sweep takes: time, start of the process included, and peak memory of 1,000 and of 10,000 points.

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
from pathlib import Path

RUN = str(Path(__file__).parents[1] / "run.py")
GRID = ("arch.n=range(0,5)", "arch.m=range(0,5)", "arch.k=0,1", "optimizer=sgd,adam", "layer/norm=none,batch")
SMALL, LARGE = 1_000, 10_000  # with 200 points and 5 or 50 seeds
LIMIT = 5.0  # seconds for the small one


def plan(seeds: int) -> tuple[float, float, str]:
    """Plan the grid with so many seeds.

    Args:
        seeds: For each of its 200 points.

    Returns:
        Seconds, peak memory in MiB, and what it printed.
    """
    command = [sys.executable, RUN, "-m", "dry_run=true", *GRID, f"sweep.seeds={seeds}"]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
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
    parser.add_argument("--quick", action="store_true", help="does it run? One turn, 200 and 400 points; no true times")
    quick = parser.parse_args().quick
    small, large = (200, 400) if quick else (SMALL, LARGE)
    turns = [(plan(small // 200), plan(large // 200)) for _ in range(1 if quick else 5)]
    few, many = (
        (statistics.median(turn[place][0] for turn in turns), statistics.median(turn[place][1] for turn in turns))
        for place in range(2)
    )
    assert f"points         {large:,}" in turns[0][1][2]
    print(f"{small:>6,} points: median {few[0]:.2f} s (at most {LIMIT:.0f} s for 1,000), {few[1]:.0f} MiB")
    print(f"{large:>6,} points: median {many[0]:.2f} s, {many[1]:.0f} MiB")
    if not quick:
        print(f"{large / small:.0f} times the points took {many[0] / few[0]:.1f} times the time", end=" ")
        print(f"and {many[1] / few[1]:.1f} times the memory")


if __name__ == "__main__":
    main()

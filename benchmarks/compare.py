"""What the comparison of a large sweep takes: reading its folders, and the answer, of 500 and of 2,000 trials.

Usage: python benchmarks/compare.py [--quick]

The trials are written for it: 4 keys, 3 seeds, 10 epochs, a main effect of one key. A time is the median of its turns.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from convgrid.compare import answer, load

SMALL, LARGE = 500, 2_000


def write_sweep(folder: Path, trials: int) -> None:
    """Leave what a sweep of so many trials leaves."""
    draw, names = random.Random(0), []
    for number in range(trials):
        point = number // 3
        keys = {"arch.n": point % 4, "arch.m": point // 4 % 4, "optimizer": ("sgd", "adam")[point // 16 % 2]}
        params = {**keys, "optimizer.lr": 0.001 * (1 + point // 32), "seed": number % 3, "data": "digits"}
        accuracy = 0.8 + 0.01 * keys["arch.n"] + draw.gauss(0, 0.003)
        record = {
            "status": "finished", "reason": "", "ended": 0, "name": str(point), "epochs": 10,
            "tags": {"git.commit": "a"},
            "params": {key: str(value) for key, value in params.items()} | {f"more.{key}": "1" for key in range(60)},
            "metrics": {"best/val/accuracy": accuracy, "test/accuracy": accuracy}, "best_epoch": 10, "seconds": 1.0,
        }  # fmt: skip
        path = folder / "runs" / f"{number:012x}"
        path.mkdir(parents=True)
        (path / "run.json").write_text(json.dumps(record))
        values = {"train/loss": 0.5, "val/loss": 0.6, "val/accuracy": accuracy}
        lines = [json.dumps({"epoch": epoch, "time": 0, "metrics": values}) for epoch in range(1, 11)]
        (path / "metrics.jsonl").write_text("\n".join([*lines, ""]))
        names.append(path.name)
    sweep = {
        "id": "0a", "command": "", "created": 0, "status": "finished", "objective": ["val/accuracy", "max"],
        "skipped": {},
        "trials": names,
        "varying": {"arch.n": [], "arch.m": [], "optimizer": [], "optimizer.lr": [], "seed": []},
    }  # fmt: skip
    (folder / "sweeps" / "0a").mkdir(parents=True)
    (folder / "sweeps" / "0a" / "sweep.json").write_text(json.dumps(sweep))


def measure(trials: int, turns: int) -> tuple[float, float]:
    """Seconds to read, and to answer."""
    found: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_sweep(Path(folder), trials)
        os.chdir(folder)
        for _ in range(turns):
            started = time.perf_counter()
            read = load()
            between = time.perf_counter()
            assert answer(read).settings[0].values["arch.n"] == 3
            found.append((between - started, time.perf_counter() - between))
        os.chdir("/")
    return statistics.median(each[0] for each in found), statistics.median(each[1] for each in found)


def main() -> None:
    """Measure both sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? One turn, 24 and 48 trials; no true times")
    quick = parser.parse_args().quick
    small, large = (24, 48) if quick else (SMALL, LARGE)
    measure(24, 1)  # imports what is imported at first use
    times = {size: measure(size, 1 if quick else 3) for size in (small, large)}
    for size, (reading, answering) in times.items():
        print(f"{size:>5,} trials: read in {reading:.2f} s, answered in {answering:.2f} s")
    if not quick:
        growth = [large_time / small_time for large_time, small_time in zip(times[large], times[small], strict=True)]
        print(f"{large / small:.0f} times the trials took {growth[0]:.1f} and {growth[1]:.1f} times the time")


if __name__ == "__main__":
    main()

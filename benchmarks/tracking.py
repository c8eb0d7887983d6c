"""A trial into MLflow on sqlite: what the writer takes, one by one and a sweep's 16 at once, beside MLflow's own calls.

Usage: python benchmarks/tracking.py [--quick]

The content is the same: 60 parameters, 16 tags, 20 epochs of 8 metrics, 3 files. The three take turns in one process
and one store; time is also given as the CPU's alone, since much of the wall time is the disk's, which a commit waits
for.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow

from convgrid.tracking.store import Store
from convgrid.tracking.sync import sync, sync_together

EPOCHS = 20
PARAMS = {f"group.key_{number}": str(number) for number in range(60)}
TAGS = {f"tag_{number}": "of the environment" for number in range(16)}
FILES = ("config.yaml", "plan.json", "environment.json")
EXPERIMENT = "benchmark"
TOGETHER = 16

Metrics = dict[str, float]


def epoch_metrics(epoch: int) -> Metrics:
    """Make up an epoch's metrics."""
    return {f"val/metric_{number}": number + 1 / epoch for number in range(8)}


def make_folder(path: Path) -> Path:
    """Make the folder of a finished trial, as a worker leaves it."""
    path.mkdir(parents=True)
    for name in FILES:
        (path / name).write_text("x" * 2000)
    lines = [{"epoch": epoch, "time": 1000 * epoch, "metrics": epoch_metrics(epoch)} for epoch in range(1, EPOCHS + 1)]
    (path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    record = {"status": "finished", "reason": "", "started": 1, "ended": 90_000, "name": "n1 m2 k1 adam"}
    record |= {
        "params": PARAMS,
        "tags": TAGS,
        "metrics": {"best/val/metric_1": 1.0},
        "best_epoch": 3,
        "epochs": EPOCHS,
        "seconds": 1.0,
    }
    (path / "run.json").write_text(json.dumps(record))
    return path


def fluent(path: Path) -> None:
    """Log the same as a training script would, epoch by epoch."""
    with mlflow.start_run(run_name="n1 m2 k1 adam"):
        mlflow.set_tags(TAGS)
        mlflow.log_params(PARAMS)
        for epoch in range(1, EPOCHS + 1):
            mlflow.log_metrics(epoch_metrics(epoch), step=epoch)
        mlflow.log_metrics({"best/val/metric_1": 1.0}, step=3)
        for name in FILES:
            mlflow.log_artifact(str(path / name))


def timed(work: Callable[[], object], trials: int) -> tuple[float, float]:
    """Milliseconds a trial, of the wall and of the CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return 1e3 * (time.perf_counter() - wall) / trials, 1e3 * (time.process_time() - cpu) / trials


def main() -> None:
    """Time both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? Two trials; no true times")
    turns = 1 if parser.parse_args().quick else 10
    sides: dict[str, list[tuple[float, float]]] = {"one by one": [], f"{TOGETHER} at once": [], "MLflow's fluent": []}
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        store = Store.open(uri, EXPERIMENT)
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(EXPERIMENT)
        for turn in range(turns + 1):
            alone, together, by_hand = (
                [make_folder(Path(folder) / "runs" / f"{turn}-{side}-{number}") for number in range(count)]
                for side, count in enumerate((2, TOGETHER, 2))
            )
            times = [
                timed(lambda alone=alone: [sync(path, store) for path in alone], len(alone)),
                timed(lambda together=together: sync_together(together, store), len(together)),
                timed(lambda by_hand=by_hand: [fluent(path) for path in by_hand], len(by_hand)),
            ]
            for found, each in zip(sides.values(), times, strict=True):
                found.append(each)
    for place, name in enumerate(("wall", "CPU")):
        each = {side: statistics.median(times[place] for times in found[1:]) for side, found in sides.items()}
        one_by_one, at_once, their = each.values()
        told = "   ".join(f"{side} {milliseconds:6.1f} ms" for side, milliseconds in each.items())
        print(f"{name:<4}  {told}   ratios {their / one_by_one:.1f} and {their / at_once:.1f}")


if __name__ == "__main__":
    main()

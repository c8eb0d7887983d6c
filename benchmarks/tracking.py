"""A trial into MLflow on sqlite: what the sweep's writer takes, over MLflow's fluent calls of the same content.

Usage: python benchmarks/tracking.py [--quick]

60 parameters, 16 tags, 20 epochs of 8 metrics, 3 files. The two take turns in one process and one store; time is
also given as the CPU's alone, since much of the wall time is the disk's, which a commit waits for.
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
from convgrid.tracking.sync import sync

EPOCHS = 20
PARAMS = {f"group.key_{number}": str(number) for number in range(60)}
TAGS = {f"tag_{number}": "of the environment" for number in range(16)}
FILES = ("config.yaml", "plan.json", "environment.json")
EXPERIMENT = "benchmark"

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


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of the wall and of the CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def main() -> None:
    """Time both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? Two trials; no true times")
    trials = 2 if parser.parse_args().quick else 30
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        store = Store.open(uri, EXPERIMENT)
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(EXPERIMENT)
        ours, theirs = [], []
        for number in range(trials + 1):
            path = make_folder(Path(folder) / "runs" / str(number))
            ours.append(timed(lambda path=path: sync(path, store)))
            theirs.append(timed(lambda path=path: fluent(path)))
    for place, name in enumerate(("wall", "CPU")):
        each = [statistics.median(times[place] for times in side[1:]) for side in (ours, theirs)]
        ratio = statistics.median(b[place] / a[place] for a, b in zip(ours[1:], theirs[1:], strict=True))
        print(f"{name:<4}  writer {each[0]:6.1f} ms a trial   fluent {each[1]:6.1f} ms   ratio {ratio:.1f}")


if __name__ == "__main__":
    main()

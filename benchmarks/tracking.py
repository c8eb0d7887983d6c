"""Trials into MLflow on sqlite: what the writer takes beside MLflow's own calls, and how late it is with many slots.

Usage: python benchmarks/tracking.py [--quick]

First, the writer one trial after another, a sweep's 16 at once, and MLflow's fluent calls. The content is the same: 60
parameters, 16 tags, 20 epochs of 8 metrics, 3 files. The three take turns in one process and one store; time is also
given as the CPU's alone, since much of the wall time is the disk's, which a commit waits for.

Then, a sweep on 800 slots with epochs of 0.5 s, a tenth more or less, and trials of 60 or of 5 epochs: their folders
are written as nodes would, and the writer's process is told of them as the scheduler tells it. It is late by what is
not in the store when the last trial ends, and by the seconds that it takes from there on. What the sweep's end does not
wait for, `python -m convgrid sync` sends; nothing may be missing then.
"""

import argparse
import heapq
import json
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow

from convgrid.tracking.store import Store
from convgrid.tracking.sync import sync, sync_together
from convgrid.tracking.writer import FLUSH, Writer

EPOCHS = 20
EPOCH = 0.5  # seconds, of a simulated trial
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
    begin(path)
    for epoch in range(1, EPOCHS + 1):
        end_epoch(path, epoch)
    end(path, EPOCHS)
    return path


def begin(path: Path) -> None:
    """Make the folder of a trial that has begun."""
    path.mkdir(parents=True)
    for name in FILES:
        (path / name).write_text("x" * 2000)
    record = {"status": "running", "reason": "", "started": 1, "name": "n1 m2 k1 adam", "params": PARAMS, "tags": TAGS}
    (path / "run.json").write_text(json.dumps(record))


def end_epoch(path: Path, epoch: int) -> None:
    """Write down what an epoch gave."""
    line = {"epoch": epoch, "time": 1000 * epoch, "metrics": epoch_metrics(epoch)}
    with (path / "metrics.jsonl").open("a") as file:
        file.write(f"{json.dumps(line)}\n")


def end(path: Path, epochs: int) -> None:
    """Write down that a trial has finished."""
    record = json.loads((path / "run.json").read_text())
    ended = {"status": "finished", "ended": 90_000, "best_epoch": 3, "epochs": epochs, "seconds": 1.0}
    (path / "run.json").write_text(json.dumps({**record, **ended, "metrics": {"best/val/metric_1": 1.0}}))


def make_sweep(folder: Path, trials: int) -> Path:
    """Make the folder of a sweep that runs, of trials that are named by their numbers."""
    folder.mkdir(parents=True)
    sweep = {
        "id": folder.name, "command": "run.py -m seed=0", "created": 1, "status": "running", "definition": {},
        "trials": [f"{number}" for number in range(trials)], "objective": ["val/metric_1", "max"],
        "varying": {"seed": ["0"]}, "skipped": {}, "points": trials, "totals": {},
    }  # fmt: skip
    (folder / "sweep.json").write_text(json.dumps(sweep))
    return folder


def train_on(slots: int, rounds: int, epochs: int, writer: Writer) -> None:
    """Let each slot go through its trials, and tell the writer as the scheduler does."""
    now = time.monotonic()
    due = [(now + EPOCH * random.random(), slot, 0) for slot in range(slots)]  # when, which trial, which epoch
    heapq.heapify(due)
    while due:
        when, number, epoch = heapq.heappop(due)
        time.sleep(max(0.0, when - time.monotonic()))
        path = Path("runs") / str(number)
        if epoch == 0:
            begin(path)
            writer.tell(path)
        else:
            end_epoch(path, epoch)
        if epoch < epochs:
            heapq.heappush(due, (when + EPOCH * random.uniform(0.9, 1.1), number, epoch + 1))
            continue
        end(path, epochs)
        writer.tell(path)
        if number + slots < slots * rounds:
            heapq.heappush(due, (when, number + slots, 0))


def values_in(database: Path) -> int:
    """Count what the store has of epochs."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT COUNT(*) FROM metrics WHERE key LIKE 'val/metric_%'").fetchone()[0]


def many_slots(slots: int, rounds: int, epochs: int) -> None:
    """Print how late the writer is with so many slots."""
    trials = slots * rounds
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        writer = Writer(f"sqlite:///{folder}/mlflow.db", EXPERIMENT, make_sweep(Path("sweeps") / "many", trials))
        while not Path("sweeps/many/parent.json").exists():
            time.sleep(0.05)
        started = time.monotonic()
        train_on(slots, rounds, epochs, writer)
        ended = time.monotonic()
        written, stored = 8 * epochs * trials, values_in(Path("mlflow.db"))
        unsent = writer.close(FLUSH)
        late = time.monotonic() - ended
        store = Store.open(f"sqlite:///{folder}/mlflow.db", EXPERIMENT)
        for path in unsent:
            if path.parent.name == "runs":
                sync(path, store)
        missing = written - values_in(Path("mlflow.db"))
        os.chdir("/")
    print(
        f"{slots} slots, {trials} trials of {epochs} epochs in {ended - started:.0f} s: {stored / written:.2f} of "
        f"{written} values stored by then; {late:.1f} s later {len(unsent)} trials left for sync; {missing} missing"
    )


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
    """Time all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? One cold turn, 4 slots; no true times")
    quick = parser.parse_args().quick
    warm_up, turns = (0, 1) if quick else (1, 10)
    sides: dict[str, list[tuple[float, float]]] = {"one by one": [], f"{TOGETHER} at once": [], "MLflow's fluent": []}
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        store = Store.open(uri, EXPERIMENT)
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(EXPERIMENT)
        for turn in range(warm_up + turns):
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
        each = {side: statistics.median(times[place] for times in found[warm_up:]) for side, found in sides.items()}
        one_by_one, at_once, their = each.values()
        told = "   ".join(f"{side} {milliseconds:6.1f} ms" for side, milliseconds in each.items())
        print(f"{name:<4}  {told}   ratios {their / one_by_one:.1f} and {their / at_once:.1f}")
    for slots, rounds, epochs in [(4, 2, 2)] if quick else [(800, 1, 60), (800, 2, 5)]:
        many_slots(slots, rounds, epochs)


if __name__ == "__main__":
    main()

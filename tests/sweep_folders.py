"""Folders of trials and sweeps as a sweep's workers leave them."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STARTED = 1_700_000_000_000  # ms
DATA = {
    "name": "digits", "digest": "0123", "task": "classification", "names": ["0", "1"], "shape": [1, 8, 8],
    "dtype": "uint8", "images": {"train": 90, "validation": 20, "test": 20},
}  # fmt: skip
TAGS = {"seed": "0", "convgrid": "0.1", "git.commit": "abc"}


def epoch_line(epoch: int, *, began: int = STARTED, metrics: int = 2) -> str:
    values = {"train/loss": 1 / epoch, "val/accuracy": epoch / 100} | {f"m/{i}": i + epoch for i in range(2, metrics)}
    return json.dumps({"epoch": epoch, "time": began + 1000 * epoch, "metrics": values}) + "\n"


def write_record(folder: Path, **changed: Any) -> None:
    """Like the worker: a reader sees the old or the new."""
    record = {
        "status": "running", "reason": "", "started": STARTED, "ended": 0, "name": "n1 m2 k1 adam", "params": {},
        "tags": TAGS, "objective": ["val/accuracy", "max"], "metrics": {}, "best_epoch": 0, "epochs": 0,
        "seconds": 0.0, "config_key": "k",
    }  # fmt: skip
    partial = folder / "run.json.partial"
    partial.write_text(json.dumps({**record, **changed}))
    partial.replace(folder / "run.json")


def make_trial(
    runs: Path, name: str, *, epochs: int = 0, began: int = STARTED, metrics: int = 2, **record: Any
) -> Path:
    folder = runs / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("values: {}\nchoices: {}\n")
    (folder / "plan.json").write_text('{"layers": []}')
    (folder / "environment.json").write_text("{}")
    (folder / "data.json").write_text(json.dumps(DATA))
    lines = [epoch_line(epoch, began=began, metrics=metrics) for epoch in range(1, epochs + 1)]
    (folder / "metrics.jsonl").write_text("".join(lines))
    write_record(folder, **{"epochs": epochs, **record})
    return folder


def finish(folder: Path, *, accuracy: float = 0.9, epochs: int = 3, **record: Any) -> None:
    metrics = {"best/val/accuracy": accuracy, "test/accuracy": accuracy - 0.01}
    known = json.loads((folder / "run.json").read_text())
    end = {"status": "finished", "ended": STARTED + 60_000, "metrics": metrics, "best_epoch": epochs, "epochs": epochs}
    write_record(folder, **{**known, **end, "seconds": 3.25, **record})


def make_sweep(sweeps: Path, name: str, trials: list[str | None], **changed: Any) -> Path:
    folder = sweeps / name
    folder.mkdir(parents=True, exist_ok=True)
    sweep: Mapping[str, Any] = {
        "id": name, "command": "run.py -m arch.n=1,2 optimizer=sgd,adam", "created": STARTED, "definition": {},
        "objective": ["val/accuracy", "max"], "varying": {"arch.n": ["1", "2"], "optimizer": ["sgd", "adam"]},
        "trials": trials, "skipped": {}, "points": len(trials), "status": "running", "totals": {},
    }  # fmt: skip
    (folder / "sweep.json").write_text(json.dumps({**sweep, **changed}))
    return folder


def work(folder: Path, seconds: float) -> None:
    """A worker that reports ten metrics ten times a second, then ends."""
    started, epochs = time.monotonic(), int(seconds * 10)
    for epoch in range(1, epochs + 1):
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(epoch_line(epoch, metrics=10))
        time.sleep(max(0.0, started + epoch / 10 - time.monotonic()))
    finish(folder, epochs=epochs)

"""Nothing is lost or changed by SIGKILL: a command is killed at a random moment, started again, and comes to the same.

Usage: python benchmarks/kills.py [--kills 50] [--seed 0] [run | resume | sweep | tracked | features] ...

- run: a plain run, and the same command again: another run, of the same result;
- resume: a plain run, and `resume=` of what is there;
- sweep: a sweep of four trials on two workers, and the same command again;
- tracked: the same with MLflow, in which each trial stands once, with every epoch;
- features: a run behind frozen layers, killed while their features are written to an empty cache.

Every other time all processes of the command are killed, otherwise the one that was typed. What is compared with the
undisturbed command, bit for bit: each finished trial's metrics, epochs, best epoch and weights, and each file of
features. The moments are drawn evenly over the time that the undisturbed command took.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

RUN = str(Path(__file__).parents[1] / "run.py")
SMALL = ("data.limit=300", "arch.filters=4", "arch.hidden=8", "trainer.max_epochs=8", "trainer=cpu")
SWEEP = ("-m", "arch.n=1,2", "seed=0,1", "sweep.workers=2")
IMAGES = ("data=random", "data.size=6000", "data.shape=[3,32,32]", "augment=none", "arch.filters=8")


@dataclass(frozen=True)
class Case:
    """What is typed, and how it goes on.

    Args:
        words: Behind `python run.py`.
        again: What is typed after the kill; None where nothing can go on, so that it is the same words.
        at_features: Kill while features are written, rather than at any moment.
    """

    words: tuple[str, ...]
    again: Callable[[Path], tuple[str, ...] | None] = lambda folder: None
    at_features: bool = False


def resume(folder: Path) -> tuple[str, ...] | None:
    """The words that go on with the run of a folder; None where it has none yet."""
    runs = [path.name for path in folder.glob("runs/*") if (path / "config.yaml").exists()]
    return (f"resume={runs[0]}", "tracking=none", "trainer=cpu") if runs else None


CASES = {
    "run": Case((*SMALL, "tracking=none")),
    "resume": Case((*SMALL, "tracking=none"), resume),
    "sweep": Case((*SWEEP, *SMALL, "tracking=none")),
    "tracked": Case((*SWEEP, *SMALL)),
    "features": Case(
        (*IMAGES, "arch.weights=../trained", "arch.freeze=features", "trainer.max_epochs=2", "trainer=cpu",
         "tracking=none"),
        at_features=True,
    ),
}  # fmt: skip


def start(folder: Path, words: tuple[str, ...]) -> "subprocess.Popen[str]":
    """Type a command in a folder, with a cache of its own."""
    return subprocess.Popen(
        [sys.executable, RUN, *words],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(folder: Path, words: tuple[str, ...]) -> None:
    """Type a command, and wait for its end."""
    process = start(folder, words)
    printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{words} in {folder} ended with {process.returncode}:\n{printed}")


def came_to(folder: Path) -> dict[str, Any]:
    """What there is of finished trials, of features, and of MLflow."""
    trials = {}
    for path in sorted(folder.glob("runs/*")):
        record = json.loads((path / "run.json").read_text()) if (path / "run.json").exists() else {}
        if record.get("status") == "finished":
            epochs = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
            told = [(epoch["epoch"], epoch["metrics"]) for epoch in epochs]
            trials[path.name.partition("-")[0]] = (record["metrics"], record["best_epoch"], told, weights_of(path))
    features = {path.name: digest(load_file(path)) for path in folder.glob("cache/**/*.safetensors")}
    return {"trials": trials, "features": features, "mlflow": in_mlflow(folder)}


def weights_of(trial: Path) -> str | None:
    """A digest of the best weights; a sweep keeps those of a few trials."""
    best = trial / "best.ckpt"
    return digest(torch.load(best, weights_only=True)["state_dict"]) if best.exists() else None


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """A hash of the bits of tensors and of their names."""
    content = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        content.update(name.encode() + tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def in_mlflow(folder: Path) -> list[Any]:
    """The status of each trial that stands there, and its accuracy in every epoch."""
    if not (folder / "mlflow.db").exists():
        return []
    from mlflow.tracking import MlflowClient

    client, found = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}"), []
    for run in client.search_runs([each.experiment_id for each in client.search_experiments()]):
        if trial := run.data.tags.get("convgrid.trial"):
            history = client.get_metric_history(run.info.run_id, "val/accuracy")
            found.append((trial, run.info.status, [(point.step, point.value) for point in history]))
    return sorted(found)


def kill(process: "subprocess.Popen[str]", *, everything: bool) -> bool:
    """Kill a command, and wait until all its processes have ended; whether it was still at work."""
    at_work = process.poll() is None
    if at_work:
        os.killpg(process.pid, signal.SIGKILL) if everything else process.kill()
    process.communicate(timeout=120)
    return at_work


def wait_for_features(folder: Path, process: "subprocess.Popen[str]") -> None:
    """Wait for the first byte of a file of features."""
    while process.poll() is None:
        if any(path.stat().st_size for path in folder.glob("cache/**/partial.*")):
            return
        time.sleep(0.001)


def try_case(name: str, kills: int, draw: random.Random) -> None:
    """Kill one kind of command again and again, and print what came of it."""
    case, met, differing = CASES[name], 0, []
    with tempfile.TemporaryDirectory(prefix="kills-") as made:
        place = Path(made)

        def desk(label: str) -> Path:
            (place / label).mkdir()
            return place / label

        if case.at_features:
            finish(place, (*IMAGES, "trainer.max_epochs=1", "trainer=cpu", "tracking=none"))
            next(place.glob("runs/*")).rename(place / "trained")
        began = time.monotonic()
        finish(whole := desk("whole"), case.words)
        seconds, expected = time.monotonic() - began, came_to(whole)
        for number in range(kills):
            folder = desk(str(number))
            process = start(folder, case.words)
            if case.at_features:
                wait_for_features(folder, process)
            time.sleep(draw.uniform(0, 0.1 if case.at_features else seconds))
            met += kill(process, everything=number % 2 == 1)
            for path in folder.glob("cache/**/*.safetensors"):  # what has its name is whole
                if not path.name.startswith("partial.") and digest(load_file(path)) != expected["features"][path.name]:
                    differing.append(f"{number}: {path.name}")
            finish(folder, case.again(folder) or case.words)
            if came_to(folder) != expected:
                differing.append(f"{number}")
    told = ", ".join(differing) or "none"
    print(f"{name:<8}  {kills} kills, {met} of them of a command at work; with another result: {told}", flush=True)


def main() -> None:
    """Try each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="what is killed; all kinds where none is named")
    parser.add_argument("--kills", type=int, default=50, help="of each kind")
    parser.add_argument("--seed", default="0", help="of the moments")
    args = parser.parse_args()
    for name in args.kinds or CASES:
        try_case(name, args.kills, random.Random(f"{args.seed} {name}"))


if __name__ == "__main__":
    main()

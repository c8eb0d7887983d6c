"""Whether training on a GPU is right, and what it gives: one command, under eight minutes, tables to copy.

Usage: python benchmarks/gpu.py

- The device tests, `pytest -m gpu`: an epoch with each option of each group, resume, export, mixed precision, memory
  that runs out, and whether the same settings give the same bits.
- Images a second on 32x32 pixels, as a training takes its steps: shuffled, gathered and trained on the device.
- The time of a step over that of a bare torch loop (`overhead.py`).
- The most memory that a step takes, over what the plan foresees (`memory.py`).
- Trials an hour: one after another, and side by side on the GPU with `sweep.trials_per_gpu`.

Without a GPU it says so, and measures nothing. It ends with 1 where a device test has failed.
"""

import contextlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

import convgrid
from convgrid.training.setup import prepare, read
from memory import VGG, estimate_and_peak
from overhead import CASES, Case, measure, settings_of

ROOT = Path(__file__).parents[1]
MOST_SECONDS = 480.0
OF_TESTS = 240.0  # seconds
MIB = 2**20

NOISE = ("data=random", "data.size=12000", "data.batch_size=256")
NETWORKS = {
    "small": ("arch.m=3", "arch.filters=16"),
    "VGG-like": ("arch.filters=64", f"arch.pattern='{VGG}'"),
    "residual": ("arch=resnet20",),
}
PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed"}
TRIAL = (*NOISE, "data.batch_size=64", *NETWORKS["small"], "trainer.max_epochs=10", "tracking=none")
SHARES = (1, 2, 4, 8)


def device_tests() -> bool:
    """Run `pytest -m gpu`, and print what came of it.

    Returns:
        Whether all have passed.
    """
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "-q", "tests"]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, timeout=OF_TESTS, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        print(f"device tests: not over after {OF_TESTS:.0f} s")
        return False
    told = done.stdout.splitlines()
    told = [line for line in told if re.search(r"^(FAILED|ERROR)|trainings alike|!!!| in [\d.]+s", line)]
    print("device tests:", "passed" if done.returncode == 0 else "NOT passed")
    print(*(f"  {line.strip('. =')}" for line in told), sep="\n", flush=True)
    return done.returncode == 0


def images_a_second(overrides: Sequence[str], precision: str, device: str, seconds: float) -> float:
    """Take the steps of whole epochs, as a training does.

    Args:
        overrides: Of the network and the data.
        precision: The config's `trainer.precision`.
        device: "cpu" or "cuda".
        seconds: To measure for, at least; one epoch more warms up.

    Returns:
        Images a second.
    """
    settings = settings_of([*overrides, f"trainer.precision={precision}"])
    learner, _ = prepare(settings, read(settings))
    learner.to(device)
    learner.configure_optimizers()
    scaler = torch.amp.GradScaler(device, enabled=False)
    mixed = torch.autocast(device, torch.bfloat16, enabled=precision == "bf16-mixed")  # as Lightning does around a step

    def epoch() -> None:
        learner.steps.begin_epoch(0)
        for chunk in learner.train_dataloader():
            with mixed:
                learner.steps.take(chunk, [1.0] * len(chunk), scaler)
        if device == "cuda":
            torch.cuda.synchronize()

    epoch()
    started, epochs = time.perf_counter(), 0
    while (taken := time.perf_counter() - started) < seconds or not epochs:
        epoch()
        epochs += 1
    return epochs * len(learner.data.train) / taken


def show_images(device: str, seconds: float, more: Sequence[str] = ()) -> None:
    """Print a row for each network."""
    print(f"\n| images a second on 32x32, batches of 256 | {' | '.join(PRECISIONS)} | ratio |\n|---|---|---|---|")
    for name, network in NETWORKS.items():
        each = [
            images_a_second([*NOISE, *network, *more], precision, device, seconds) for precision in PRECISIONS.values()
        ]
        cells = " | ".join(f"{rate:,.0f}" for rate in each)
        print(f"| {name} | {cells} | {each[1] / each[0]:.2f} |", flush=True)


def show_steps(device: str, cases: Sequence[Case]) -> None:
    """Print the time of steps and epochs over that of a bare loop."""
    print("\nsteps beside a bare torch loop")
    for case in cases:
        measure(replace(case, overrides=[*case.overrides, f"trainer={'gpu' if device == 'cuda' else 'cpu'}"]))


def show_memory(device: str, more: Sequence[str] = ()) -> None:
    """Print a row for each network: foreseen, measured."""
    print("\n| memory of a step, MiB | foreseen | measured | ratio |\n|---|---|---|---|")
    for name, network in NETWORKS.items():
        foreseen, measured = estimate_and_peak([*NOISE, *network, *more], device)
        cells = f"{foreseen / MIB:,.1f} | {measured / MIB:,.1f} | {foreseen / measured:.2f}"
        print(f"| {name} | {cells} |", flush=True)


def one_by_one(overrides: Sequence[str]) -> float:
    """Train in this process, which has trained before.

    Returns:
        Trials an hour.
    """
    convgrid.train([*overrides, "trainer.max_epochs=1"], quiet=True)
    started = time.perf_counter()
    convgrid.train(overrides, quiet=True)
    return 3600 / (time.perf_counter() - started)


def side_by_side(overrides: Sequence[str], share: int, trials: int) -> float:
    """Run a sweep with so many trials on a GPU at a time.

    Returns:
        Trials an hour, from the first one's beginning to the last one's end.
    """
    seeds = ",".join(map(str, range(trials)))
    sweep = convgrid.multirun([*overrides, f"seed={seeds}", f"sweep.trials_per_gpu={share}"], quiet=True)
    records = [json.loads(Path("runs", trial, "run.json").read_text()) for trial in sweep.frame.index]
    assert [record["status"] for record in records] == ["finished"] * trials, records
    taken = max(record["ended"] for record in records) - min(record["started"] for record in records)
    return 3600e3 * trials / max(1, taken)


def show_trials(device: str, shares: Sequence[int], more: Sequence[str] = ()) -> None:
    """Print a row for each way to run trials of the small network."""
    trial = [*TRIAL, f"trainer={'gpu' if device == 'cuda' else 'cpu'}", *more]
    print("\n| trials of the small network | an hour | ratio |\n|---|---|---|")
    alone = math.nan
    with _elsewhere():
        alone = one_by_one(trial)
    print(f"| one after another, python run.py | {alone:,.0f} | 1 |", flush=True)
    for share in shares:
        with _elsewhere():  # a sweep trains nothing that another has finished
            rate = side_by_side(trial, share, trials=max(4, 2 * share))
        print(f"| sweep.trials_per_gpu={share} | {rate:,.0f} | {rate / alone:.2f} |", flush=True)


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


def measurements(device: str) -> list[tuple[str, Callable[[], object]]]:
    """What is measured, in this order, each by its name."""
    fewer = [replace(case, epochs=max(6, case.epochs // 4)) for case in CASES]
    return [
        ("images a second", lambda: show_images(device, seconds=3)),
        ("steps", lambda: show_steps(device, fewer)),
        ("memory", lambda: show_memory(device)),
        ("trials an hour", lambda: show_trials(device, SHARES)),
    ]


def main() -> None:
    """Check and measure, or say that there is no GPU."""
    if not torch.cuda.is_available():
        print(f"torch {torch.__version__} finds no GPU: nothing was measured.")
        return
    started = time.monotonic()
    card = torch.cuda.get_device_properties(0)
    print(f"{torch.cuda.get_device_name(0)}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}", end=", ")
    print(f"torch {torch.__version__}, {os.cpu_count()} CPU cores", flush=True)
    passed = device_tests()
    for name, show in measurements("cuda"):
        if time.monotonic() - started > MOST_SECONDS - 60:
            print(f"\n{name}: left out, {MOST_SECONDS / 60:.0f} minutes are over")
            continue
        show()
    print(f"\n{time.monotonic() - started:.0f} s")
    sys.exit(not passed)


if __name__ == "__main__":
    main()

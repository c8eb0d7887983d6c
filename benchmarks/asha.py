"""What successive halving (ASHA) saves of a grid, and what it costs: epochs trained, objective reached.

Usage: python benchmarks/asha.py [--quick] [group=option | key=value ...]   (for every trial)

Each repetition trains a whole grid on another subset of Fashion-MNIST, with another seed, and keeps every learning
curve. The pruner of `sweep/pruner=successive_halving` is then asked along these curves what it would have trained:
that is exact for one worker, since a trial's epochs do not depend on the others. Trials come as a sweep starts them,
the largest first.

"epochs" are ASHA's over the grid's; "reached" is ASHA's best validation accuracy beside the grid's. The grid's best
config is trained with further seeds: their standard deviation is what chance alone makes of a config.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import torch

from convgrid.config import Settings, architecture
from convgrid.network.plan import plan
from convgrid.sweep.pruning import Pruner, successive_halving
from convgrid.system.device import find_device
from convgrid.training.learner import train
from convgrid.training.setup import prepare, read
from overhead import settings_of

SUBSET = ("data=fashion_mnist", "trainer.limit=1000", "arch.filters=8", "data.batch_size=32", "trainer.max_epochs=18")
QUICK = ("data=digits", "trainer.limit=200", "arch.filters=4", "trainer.max_epochs=3")
AXES = (
    ("arch.n=1", "arch.n=2"),
    ("arch.m=1", "arch.m=2", "arch.m=3"),
    ("arch.k=0", "arch.k=1"),
    ("optimizer.lr=0.0003", "optimizer.lr=0.003", "optimizer.lr=0.03"),
)
QUICK_AXES = (("arch.m=1", "arch.m=2"), ("optimizer.lr=0.0003", "optimizer.lr=0.003"))
METRIC = "val/accuracy"
Curves = Mapping[tuple[str, ...], Sequence[float]]


def curve(settings: Settings) -> list[float]:
    """Train a trial to its end; its objective after every epoch."""
    data = read(settings)
    learner, _ = prepare(settings, data)
    with tempfile.TemporaryDirectory() as folder:
        train(learner, Path(folder), device=find_device(settings.trainer.accelerator))
    return [metrics[METRIC] for metrics in learner.history]


def train_grid(axes: Sequence[Sequence[str]], common: Sequence[str]) -> Curves:
    """Train every point of a grid, the largest network first."""
    points = {point: settings_of([*common, *point]) for point in product(*axes)}

    def cost(point: tuple[str, ...]) -> int:
        settings = points[point]
        return plan(architecture(settings), settings.data.shape, 10).multiply_adds

    return {point: curve(points[point]) for point in sorted(points, key=cost, reverse=True)}


def replay(curves: Curves, max_epochs: int) -> dict[tuple[str, ...], list[float]]:
    """What one worker would have trained of the curves, had ASHA been asked."""
    pruner = Pruner(successive_halving(max_epochs), "max")
    trained: dict[tuple[str, ...], list[float]] = {}
    for point, values in curves.items():
        key = " ".join(point)
        pruner.add(key)
        trained[point] = []
        for epoch, value in enumerate(values, 1):
            trained[point].append(value)
            if pruner.epoch(key, epoch, value) and epoch < max_epochs:
                break
    return trained


def best(curves: Curves) -> tuple[tuple[str, ...], float]:
    """The point with the best value of all, and that value."""
    point = max(curves, key=lambda point: max(curves[point]))
    return point, max(curves[point])


def main() -> None:
    """Print a line a repetition, and what they come to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repetition of a tiny grid")
    parser.add_argument("overrides", nargs="*", help="for every trial, such as trainer=gpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    common = [*(QUICK if args.quick else SUBSET), *args.overrides]
    shares, losses, spreads = [], [], []
    for seed in range(1 if args.quick else 5):
        started = time.perf_counter()
        drawn = [*common, f"seed={seed}", f"data.split_seed={seed}"]
        curves = train_grid(QUICK_AXES if args.quick else AXES, drawn)
        max_epochs = settings_of(common).trainer.max_epochs
        trained = replay(curves, max_epochs)
        (point, reached), (other, pruned) = best(curves), best(trained)
        again = [max(curve(settings_of([*drawn, *point, f"seed={seed + 100 * i}"]))) for i in (1, 2, 3)]
        share = sum(map(len, trained.values())) / sum(map(len, curves.values()))
        shares.append(share)
        losses.append(reached - pruned)
        spreads.append(statistics.stdev([reached, *again]))
        print(
            f"repetition {seed}: epochs ratio {share:.3f}  reached {pruned:.4f} of {reached:.4f} "
            f"({'the same' if other == point else 'another'} config, sd over seeds {spreads[-1]:.4f})  "
            f"{time.perf_counter() - started:.0f} s",
            flush=True,
        )
    print(f"epochs ratio {statistics.fmean(shares):.3f} (at most 0.333), largest {max(shares):.3f}")
    noise = statistics.fmean(spreads)
    print(f"reached {statistics.fmean(losses):.4f} less, largest {max(losses):.4f}; sd over seeds {noise:.4f}")


if __name__ == "__main__":
    main()

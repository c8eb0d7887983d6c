"""Seconds that a sweep's trial takes in a warm worker beyond its training steps.

Usage: python benchmarks/trial.py [--quick]

A worker process as a sweep has it trains the digits default, seed after seed; a trial counts from the moment at which
it is handed to the free worker to the moment at which its outcome is here: planning and building the network, the
folder, its files and lock, validations, checkpoints, the test part. Its training steps alone are those of overhead.py's
loop by hand: same network, batches and optimizer, in this process. The sides run in turns, on one thread each.

Trials of 1 epoch show what a trial costs, trials of 20 epochs what 19 more epochs add: each a validation with all
metrics, a checkpoint, and convgrid's share of its 40 steps (the ratios of overhead.py).
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from convgrid.config import Composition, check
from convgrid.sweep.executors.local import Local
from convgrid.sweep.grid_plan import plan_grid
from convgrid.sweep.interfaces import Trial
from convgrid.sweep.messages import Ended, Job
from convgrid.system.memory import keep_freed_memory
from convgrid.system.processes import warm_up
from convgrid.training.setup import prepare, read
from overhead import ByHand


def train(workers: Local, trial: Trial) -> float:
    """Let the worker train a trial.

    Returns:
        Seconds.
    """
    started = time.perf_counter()
    workers.give(workers.workers[0], Job(trial, "benchmark"))
    while True:
        for worker, event in workers.events(timeout=1.0):
            if isinstance(event, Ended):
                assert event.outcome.status == "finished", event.outcome.reason
                workers.release(worker)
                return time.perf_counter() - started


def steps(trial: Trial, folder: Path) -> float:
    """Take the same training steps by hand, and nothing else.

    Returns:
        Seconds.
    """
    learner, _ = prepare(trial.settings, read(trial.settings))
    by_hand = ByHand(learner, torch.device("cpu"), folder)
    by_hand.train_epoch()  # what torch prepares at the first steps, the worker has behind it
    started = time.perf_counter()
    for _ in range(learner.recipe.max_epochs):
        by_hand.train_epoch()
    return time.perf_counter() - started


def beyond_steps(epochs: int, turns: int, fewer: Sequence[str]) -> float:
    """Train the default with one seed after another, on both sides.

    Args:
        fewer: Overrides that leave out data.

    Returns:
        Seconds that a trial takes beyond its steps, the median.
    """
    seeds = ",".join(map(str, range(turns + 1)))
    command = check(["-m", f"seed={seeds}", f"trainer.max_epochs={epochs}", "trainer=cpu", "tracking=none", *fewer])
    assert command.settings is not None
    first, *trials = plan_grid(command.grids, Composition(command.composer), command.settings).trials
    workers = Local(workers=1, trials_per_gpu=1, threads=1, accelerator="cpu")
    train(workers, first)  # a worker's first trial reads the data
    whole, bare = zip(*((train(workers, trial), steps(trial, Path.cwd())) for trial in trials), strict=True)
    workers.close()
    beyond = statistics.median(long - short for long, short in zip(whole, bare, strict=True))
    medians = f"{statistics.median(whole):.3f} s, its steps by hand {statistics.median(bare):.3f} s"
    print(f"a trial of {epochs:>2} epochs: {medians}, beyond them {beyond:.3f} s", flush=True)
    return beyond


def main() -> None:
    """Print a line for each length, and what follows from both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a trial of 1 and one of 2 epochs, to see that it runs")
    quick = parser.parse_args().quick
    os.chdir(tempfile.mkdtemp())
    torch.set_num_threads(1)
    keep_freed_memory()
    warm_up()
    many, turns, fewer = (2, 1, ["data.limit=100"]) if quick else (20, 9, [])
    one, all_of_them = (beyond_steps(epochs, turns, fewer) for epochs in (1, many))
    each = (all_of_them - one) / (many - 1)
    print(f"a trial {one:.3f} s beyond its steps (at most 0.15), and {1000 * each:.1f} ms for each further epoch")


if __name__ == "__main__":
    main()

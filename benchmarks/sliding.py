"""One pass over a larger image beside its windows, cut out and predicted in batches.

Usage: python benchmarks/sliding.py [--quick]

The network has five halvings and takes 224x224 pixels; the image has 384x384, which are 36 windows. Nothing is padded,
so that both give the same scores, which is checked. They take turns in one process, with one thread; the ratio is the
median of those of the turns.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from convgrid.component import Component
from convgrid.network.build import build
from convgrid.network.plan import Architecture, plan
from convgrid.network.planned import Groups
from convgrid.network.sliding import Sliding, step_of

PATTERN = "INPUT -> CONV(16) -> RELU -> POOL(2) -> [CONV(32) -> RELU -> POOL(2)]*4 -> FC(128) -> RELU -> FC"
BATCH = 12


def main() -> None:
    """Print the times of all turns, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one turn and 4 windows, to see that it runs")
    turns, side = (1, 256) if parser.parse_args().quick else (7, 384)
    torch.set_num_threads(1)
    relu = Component("relu", "convgrid.activations.relu")
    conv = Component("conv", "convgrid.layers.conv", {"kernel_size": 3, "padding": "valid"})
    planned = plan(Architecture(PATTERN, Groups(conv, relu, {"relu": relu})), (3, 224, 224), 10)
    network = build(planned).eval()
    sliding, (step, _) = Sliding(network, planned), step_of(planned)
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    corners = range(0, side - 224 + 1, step)
    windows = torch.cat([image[:, :, top : top + 224, left : left + 224] for top in corners for left in corners])

    def crops() -> Tensor:
        return torch.cat([network(some) for some in windows.split(BATCH)]).T.reshape(1, 10, len(corners), len(corners))

    ratios = []
    with torch.inference_mode():
        torch.testing.assert_close(sliding(image), crops(), rtol=1e-4, atol=1e-5)
        for _ in range(turns):
            one, many = seconds(lambda: sliding(image)), seconds(crops)
            ratios.append(many / one)
            print(f"one pass {1000 * one:6.1f} ms   {len(windows)} windows {1000 * many:7.1f} ms")
    print(f"ratio {statistics.median(ratios):.1f}")


def seconds(run: Callable[[], Tensor]) -> float:
    """Time one run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

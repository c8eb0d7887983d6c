"""Seconds a training step on 150x150 images takes with glibc's own habits, beside memory that is kept.

Usage: python benchmarks/memory.py [--quick]

Each side is a process of its own, since an allocator cannot be set back; they take turns, and the ratio is the median
of those of the turns. The network is the Keras blog's of 2016: 1.2 million parameters, batches of 16.
"""

import argparse
import statistics
import subprocess
import sys

SIDE = """
import sys, time
import torch
from torch import nn
from convgrid.system.memory import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed_memory()
def stage(inputs, outputs):
    return nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.MaxPool2d(2)
network = nn.Sequential(*stage(3, 32), *stage(32, 32), *stage(32, 64), nn.Flatten(), nn.Linear(64 * 17 * 17, 1))
network.to(memory_format=torch.channels_last)
optimizer = torch.optim.RMSprop(network.parameters(), lr=1e-3)
images = torch.rand(16, 3, 150, 150).to(memory_format=torch.channels_last)
def step():
    optimizer.zero_grad()
    network(images).square().mean().backward()
    optimizer.step()
step()
started = time.perf_counter()
steps = int(sys.argv[2])
for _ in range(steps):
    step()
print((time.perf_counter() - started) / steps)
"""


def seconds(side: str, steps: int) -> float:
    """Time the steps of one side in a process of its own.

    Args:
        side: "kept" or "returned".

    Returns:
        Seconds a step.
    """
    done = subprocess.run([sys.executable, "-c", SIDE, side, str(steps)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one turn of two steps, to see that it runs")
    rounds, steps = (1, 2) if parser.parse_args().quick else (3, 20)
    turns = [(seconds("returned", steps), seconds("kept", steps)) for _ in range(rounds)]
    for returned, kept in turns:
        print(f"returned to the kernel {1000 * returned:6.1f} ms a step   kept {1000 * kept:6.1f} ms a step")
    print(f"ratio {statistics.median(returned / kept for returned, kept in turns):.2f}")


if __name__ == "__main__":
    main()

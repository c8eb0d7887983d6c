"""The memory that a plan says a training step takes, over what torch allocates; and what freed memory costs.

Usage: python benchmarks/memory.py [--quick]

The estimate is held against the peak of all that torch allocates while a network is built and takes two steps, each in
a process of its own, at three sizes of a batch.

Then: seconds a training step on 150x150 images takes with glibc's own habits, beside memory that is kept.

Each side is a process of its own, since an allocator cannot be set back; they take turns, and the ratio is the median
of those of the turns. The network is the Keras blog's of 2016: 1.2 million parameters, batches of 16.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

LIMIT = 0.25  # of what is measured, that an estimate may be off
RESIDUAL = """
unit(c, s) = CONV(c, stride=s, padding=1, bias=false) -> NORM;
block(c, s) = SUM[unit(c, s) -> RELU -> unit(c, 1) | SKIP] -> RELU;
INPUT -> unit(16, 1) -> RELU -> [block(16, 1)]*2 -> block(32, 2) -> block(32, 1) -> block(64, 2) -> GAP -> FC
"""
VGG = "INPUT -> [[CONV(padding=1) -> RELU]*2 -> POOL]*3 -> [FC(512) -> RELU -> DROPOUT(0.5)]*2 -> FC"
NETWORKS = {
    "the digits default": (),
    "VGG-like": ("data=random", "data.size=300", f"arch.pattern='{VGG}'"),
    "ResNet-like": ("data=random", "data.size=300", "layer/norm=batch", f"arch.pattern='{RESIDUAL}'"),
}
BATCHES = (16, 64, 256)


def seconds(side: str, steps: int, pixels: int) -> float:
    """Time the steps of one side; memory that is kept once is kept from then on.

    Args:
        side: "kept" or "returned".
        pixels: A side of the images.

    Returns:
        Seconds a step.
    """
    import torch
    from torch import nn

    from convgrid.system.memory import keep_freed_memory

    torch.set_num_threads(1)
    if side == "kept":
        keep_freed_memory()

    def stage(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.MaxPool2d(2)

    network = nn.Sequential(*stage(3, 32), *stage(32, 32), *stage(32, 64), nn.Flatten(), nn.LazyLinear(1))
    images = torch.rand(16, 3, pixels, pixels).to(memory_format=torch.channels_last)
    network(images)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.RMSprop(network.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()

    step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - started) / steps


def seconds_alone(side: str, steps: int, pixels: int) -> float:
    """`seconds` in a process of its own."""
    return float(_printed_alone("--side", side, str(steps), str(pixels)))


def estimate_and_peak(overrides: Sequence[str], device: str = "cpu") -> tuple[int, int]:
    """Build a network, and let it take two steps.

    Args:
        overrides: Of the config.
        device: "cpu" or "cuda".

    Returns:
        Bytes as foreseen, and the most that torch has allocated on the device at a time.
    """
    import torch

    from convgrid.config import component
    from convgrid.data import Batch, Chunk
    from convgrid.network.memory import training_bytes
    from convgrid.training.setup import prepare, read
    from overhead import settings_of

    settings = settings_of(["trainer=cpu", *overrides])
    size, optimizer, data = settings.data.batch_size, component(settings, "optimizer"), read(settings)
    assert optimizer is not None
    torch.set_num_threads(1)
    foreseen: list[int] = []

    def two_steps() -> None:
        learner, plan = prepare(settings, data)
        learner.to(device)
        learner.configure_optimizers()
        learner.steps.begin_epoch(0)
        images = torch.rand(size, *settings.data.shape, device=device).to(memory_format=torch.channels_last)
        batch = Batch(images, torch.arange(size, device=device) % 10, None)
        for _ in range(2):
            learner.steps.take(Chunk(lambda: iter([batch]), 1), [1.0], torch.amp.GradScaler(enabled=False))
        foreseen.append(training_bytes(plan, size, optimizer))

    peak = _peak_on_cpu(two_steps) if device == "cpu" else _peak_on_gpu(two_steps)
    return foreseen[0], peak


def _peak_on_cpu(work: Callable[[], None]) -> int:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        seen.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    return max(event["args"]["Total Allocated"] for event in events if event.get("name") == "[memory]")


def _peak_on_gpu(work: Callable[[], None]) -> int:
    import torch

    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return torch.cuda.max_memory_allocated() - before


def measured_alone(overrides: Sequence[str]) -> tuple[int, int]:
    """`estimate_and_peak` in a process of its own."""
    estimate, peak = map(int, _printed_alone("--step", *overrides).split())
    return estimate, peak


def _printed_alone(*words: str) -> str:
    """The last line that this program prints in a process of its own."""
    command = [sys.executable, __file__, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]


def show_estimate(name: str, size: int, *, alone: bool) -> None:
    """Print the estimate of a network at a size of a batch, beside what was measured."""
    measure = measured_alone if alone else estimate_and_peak
    estimate, peak = measure([*NETWORKS[name], f"data.batch_size={size}"])
    sizes = f"{estimate / 2**20:7.2f} MiB foreseen, {peak / 2**20:7.2f} MiB measured"
    print(f"{name:<18} batches of {size:>3}: {sizes}, ratio {estimate / peak:.3f} (at most {LIMIT} from 1)", flush=True)


def main() -> None:
    """Print estimates and what they are held against, then both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="to see that it runs: one estimate, one turn, small images, all in this process",
    )
    parser.add_argument("--step", nargs="*", metavar="KEY=VALUE", help="one estimate and its peak, in bytes")
    parser.add_argument("--side", nargs=3, metavar="X", help="the time of one side's steps: its name, steps, pixels")
    args = parser.parse_args()
    if args.step is not None:
        print(*estimate_and_peak(args.step))
        return
    if args.side is not None:
        side, steps, pixels = args.side
        print(seconds(side, int(steps), int(pixels)))
        return
    for name in [*NETWORKS][:1] if args.quick else NETWORKS:
        for size in BATCHES[:1] if args.quick else BATCHES:
            show_estimate(name, size, alone=not args.quick)
    rounds, steps, pixels, timed = (1, 2, 30, seconds) if args.quick else (3, 20, 150, seconds_alone)
    turns = [(timed("returned", steps, pixels), timed("kept", steps, pixels)) for _ in range(rounds)]
    for returned, kept in turns:
        print(f"returned to the kernel {1000 * returned:6.1f} ms a step   kept {1000 * kept:6.1f} ms a step")
    print(f"ratio {statistics.median(returned / kept for returned, kept in turns):.2f}")


if __name__ == "__main__":
    main()

"""What convgrid adds to a training step: run.py's own path over a hand-written torch loop on the same tensors.

Usage: python benchmarks/overhead.py [--quick] [group=option | key=value ...]   (for every case, such as trainer=gpu)

Both train the same network from the same weights on the same batches, an epoch each in turn, in one process. The loop
by hand has what a good engineer gives it: pixels normalised once, channels_last, torch's fused cross-entropy, and the
same optimizer down to its flags (fused or foreach, where torch's own default on a CPU is slower). A residual network is
written by hand as well, and the memory that its way forward keeps for the way back is compared.

"step" is an epoch up to its validation, divided by its steps: shuffling, gathering, Lightning's loops and all. "epoch"
goes on to the next epoch's start: validation, a checkpoint, a line of metrics, on both sides. A ratio is the median
over pairs of neighbouring epochs. Tracking is off: it adds nothing to a step, and MLflow's share of an epoch (10 ms
with sqlite) has no counterpart by hand.
"""

import argparse
import copy
import io
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from convgrid.config import Settings, check
from convgrid.system.device import find_device
from convgrid.system.seeding import derive
from convgrid.training.components import Components
from convgrid.training.learner import EVALUATION_BATCH, Learner, train
from convgrid.training.progress import Lines
from convgrid.training.setup import prepare, read

RESIDUAL = """
unit(c, s) = CONV(c, stride=s, padding=1, bias=false) -> NORM;
block(c, s) = SUM[unit(c, s) -> RELU -> unit(c, 1) | SKIP] -> RELU;
INPUT -> unit(16, 1) -> RELU -> block(16, 1) -> block(32, 2) -> block(64, 2) -> GAP -> FC
"""
NOISE = ("data=random", "data.size=4096", "data.batch_size=64", "arch.m=3", "arch.filters=16")


class Block(nn.Module):
    """Two convolutions beside a shortcut, as torchvision writes them."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters)
        self.shortcut = None
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, filters, 1, stride), nn.BatchNorm2d(filters))

    def forward(self, x: Tensor) -> Tensor:
        """Add both."""
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    """RESIDUAL as one writes it in torch, with its parameters in the same order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.output = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Score images."""
        return self.output(self.blocks(functional.relu(self.norm(self.conv(x)))).mean((2, 3)))


@dataclass(frozen=True)
class Case:
    """What is trained, for how many epochs, and the largest ratio of steps that the project allows itself.

    Args:
        write: Makes the network by hand; None where a copy of convgrid's, a plain sequence, is no other.
    """

    name: str
    overrides: Sequence[str]
    epochs: int
    limit: float
    write: Callable[[], nn.Module] | None = None


CASES = (
    Case("the digits default", (), 60, 1.15),
    Case("32x32 pixels, 16/32/64 filters", NOISE, 16, 1.05),
    Case(
        "a residual network on 32x32 pixels, 16/32/64 filters",
        ("data=random", "data.size=1024", "data.batch_size=64", "layer/norm=batch", f"arch.pattern='{RESIDUAL}'"),
        24,
        1.05,
        ResNet,
    ),
)


@dataclass
class Times:
    """Seconds of one side, a value an epoch."""

    step: list[float] = field(default_factory=list)
    epoch: list[float] = field(default_factory=list)


class ByHand:
    """What an engineer would write for this one network: no config, no hooks, pixels normalised once.

    Args:
        learner: Whose network, data and settings are used; the network's weights are copied.
        write: Makes the network; None copies the learner's.
    """

    def __init__(
        self, learner: Learner, device: torch.device, folder: Path, write: Callable[[], nn.Module] | None = None
    ) -> None:
        predictor, optimizer = learner.predictor, learner.configure_optimizers()
        self.network = (write or partial(copy.deepcopy, predictor.network))()
        weights = predictor.network.state_dict().values()
        self.network.load_state_dict(dict(zip(self.network.state_dict(), weights, strict=True)))
        self.network.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimizer = type(optimizer)(self.network.parameters(), **optimizer.defaults)
        self.batch_size, self.seed, self.folder = learner.recipe.batch_size, learner.recipe.seed, folder
        self.history: list[dict[str, float]] = []
        self.console = Console(file=io.StringIO())
        self.train, self.validation = (
            (((part.images - predictor.mean) / predictor.std).permute(0, 2, 3, 1).contiguous().to(device), part.targets)
            for part in (learner.data.train, learner.data.validation)
            if isinstance(part.images, Tensor)
        )

    def train_epoch(self) -> Tensor:
        """Take a step for every batch, in an order drawn for this epoch."""
        pixels, targets = self.train
        generator = torch.Generator().manual_seed(derive(self.seed, "shuffle", len(self.history)))
        order = torch.randperm(len(targets), generator=generator).to(pixels.device)
        total = torch.zeros((), device=pixels.device)
        for first in range(0, len(targets), self.batch_size):
            rows = order[first : first + self.batch_size]
            images = pixels.index_select(0, rows).permute(0, 3, 1, 2)
            self.optimizer.zero_grad()
            loss = functional.cross_entropy(self.network(images), targets.index_select(0, rows))
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(rows)
        return total / len(targets)

    @torch.no_grad()
    def validate(self) -> Tensor:
        """Mean loss and accuracy."""
        self.network.eval()
        pixels, targets = self.validation
        sums = torch.zeros(2, device=pixels.device)
        for first in range(0, len(targets), EVALUATION_BATCH):
            scores = self.network(pixels[first : first + EVALUATION_BATCH].permute(0, 3, 1, 2))
            labels = targets[first : first + EVALUATION_BATCH]
            loss = functional.cross_entropy(scores, labels, reduction="sum")
            sums += torch.stack((loss, (scores.argmax(-1) == labels).sum()))
        self.network.train()
        return sums / len(targets)

    def finish_epoch(self, train_loss: Tensor) -> None:
        """Validate, keep the last and the best checkpoint, print a line."""
        loss, accuracy = self.validate().tolist()
        metrics = {"train/loss": train_loss.item(), "val/loss": loss, "val/accuracy": accuracy}
        best = all(accuracy > earlier["val/accuracy"] for earlier in self.history)
        self.history.append(metrics)
        partial, last = self.folder / "partial.pt", self.folder / "last.pt"
        torch.save((self.network.state_dict(), self.optimizer.state_dict(), self.history), partial)
        partial.replace(last)
        if best:
            shutil.copyfile(last, self.folder / "best.pt")
        self.console.print(f"epoch {len(self.history)}  {metrics}", highlight=False)


class Turns(Callback):
    """Lets the loop by hand train an epoch before each of the Trainer's, and times both.

    Args:
        device: What to wait for before the clock is read.
        num_steps: Optimizer steps an epoch.
    """

    def __init__(self, by_hand: ByHand, device: torch.device, num_steps: int) -> None:
        self.by_hand, self.device, self.num_steps = by_hand, device, num_steps
        self.ours, self.theirs = Times(), Times()
        self._started = math.nan

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the Trainer's epoch, then take the other side's turn."""
        ended = self._now()
        if not math.isnan(self._started):
            self.ours.epoch.append(ended - self._started)
        started = self._now()
        train_loss = self.by_hand.train_epoch()
        self.theirs.step.append((self._now() - started) / self.num_steps)
        self.by_hand.finish_epoch(train_loss)
        self.theirs.epoch.append(self._now() - started)
        self._started = self._now()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the steps of the Trainer's epoch."""
        self.ours.step.append((self._now() - self._started) / self.num_steps)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def settings_of(overrides: Sequence[str]) -> Settings:
    """Compose a config as run.py does.

    Args:
        overrides: As on the command line.

    Returns:
        The resolved config.
    """
    settings = check(["tracking=none", *overrides]).settings
    assert settings is not None
    return settings


def measure(case: Case) -> None:
    """Train both sides in turn, and print their times and ratios."""
    settings = settings_of([*case.overrides, f"trainer.max_epochs={case.epochs + 2}"])
    torch.set_num_threads(settings.trainer.threads)
    device = torch.device(find_device(settings.trainer.accelerator))
    data = read(settings)
    components = Components(settings)
    components.check()  # as each trial's are: what was tried is what trains
    learner, _ = prepare(settings, data, components)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        by_hand = ByHand(learner, device, folder, case.write)
        kept = kept_bytes(learner.predictor.network, by_hand) / kept_bytes(by_hand.network, by_hand)
        turns = Turns(by_hand, device, math.ceil(len(data.train) / learner.recipe.batch_size))
        train(learner, folder, device=device.type, callbacks=[turns, Lines(Console(file=io.StringIO()))])
    ours, theirs = learner.history[0]["train/loss"], by_hand.history[0]["train/loss"]
    assert math.isclose(ours, theirs, rel_tol=0.01), f"not the same training: {ours} and {theirs} in the first epoch"
    print(f"{case.name}: batches of {learner.recipe.batch_size}, {turns.num_steps} an epoch, on {device}")
    _report("step", turns.ours.step, turns.theirs.step, case.epochs, f" (at most {case.limit})")
    _report("epoch", turns.ours.epoch, turns.theirs.epoch, case.epochs)
    if case.write is not None:
        print(f"  memory kept from the way forward for the way back: ratio {kept:.3f} (at most 1)")


def kept_bytes(network: nn.Module, by_hand: ByHand) -> int:
    """Add up what autograd keeps of a batch's way forward, weights left out, each piece of memory once."""
    known = {weights.untyped_storage().data_ptr() for weights in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x
        return x

    images = by_hand.train[0][: by_hand.batch_size].permute(0, 3, 1, 2)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        copy.deepcopy(network).to(images.device)(images)  # a norm would note that it has seen them
    return sum(x.untyped_storage().nbytes() for place, x in kept.items() if place not in known)


def _report(what: str, ours: Sequence[float], theirs: Sequence[float], epochs: int, limit: str = "") -> None:
    """The first epoch warms up."""
    ours, theirs = ours[1 : epochs + 1], theirs[1 : epochs + 1]
    pairs = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
    middle = f"half of the pairs {pairs[epochs // 4]:.3f} to {pairs[3 * epochs // 4]:.3f}"
    times = f"median {statistics.median(ours) * 1e3:.3f} ms over {statistics.median(theirs) * 1e3:.3f} ms by hand"
    print(f"  {what:<5}  ratio {statistics.median(pairs):.3f}{limit}  {times}, {middle}", flush=True)


def main() -> None:
    """Run every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? One epoch, little data; no true times")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides for every case, such as trainer=gpu")
    args = parser.parse_args()
    for case in CASES:
        epochs, fewer = (1, ("data.limit=64", "data.limit_evaluation=64")) if args.quick else (case.epochs, ())
        measure(replace(case, overrides=(*case.overrides, *args.overrides, *fewer), epochs=epochs))


if __name__ == "__main__":
    main()

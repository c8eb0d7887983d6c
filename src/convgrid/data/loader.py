"""Minibatches without per-sample Python: gathered on the device, or streamed from worker processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import itemgetter

import torch
from torch import Tensor

from convgrid.data.dataset import Batch, Files, Split
from convgrid.data.stored import Stored, pick
from convgrid.data.streaming import stream

# Pixels' values that are gathered at once: of many small minibatches, or of a large one; no more than caches hold.
NUMBERS_AT_ONCE = 2**20


class Chunk:
    """The minibatches of a few optimizer steps, made one by one while it is iterated.

    One chunk is one batch to the Trainer, whose cost for each batch is that of many small optimizer steps.
    """

    # Neither a dataclass nor a sequence: Lightning would look into those for tensors to move.
    def __init__(self, steps: Callable[[], Iterator[Batch]], num_steps: int) -> None:
        self._steps = steps
        self._num_steps = num_steps

    def __len__(self) -> int:
        return self._num_steps

    def __iter__(self) -> Iterator[Batch]:
        return self._steps()


@dataclass(frozen=True, eq=False)
class Batches:
    """All minibatches of one part, chunk by chunk; every iteration is one epoch. Made by `batches`.

    Args:
        split: The part, on the device already where it fits.
        batch_size: Images a minibatch; the last one of an epoch may be smaller.
        device: Where the minibatches are wanted.
        seed: Asked for the seed of the order as each epoch starts; None for the stored order.
        balanced: Whether the images of an epoch are drawn with replacement, every class equally often.
        prepare: What is done to images on the device; None for nothing.
    """

    split: Split | Stored
    batch_size: int
    device: torch.device
    seed: Callable[[], int] | None = None
    steps_per_chunk: int = 1
    balanced: bool = False
    prepare: Callable[[Tensor], Tensor] | None = None

    @property
    def num_steps(self) -> int:
        """Number of minibatches an epoch."""
        return math.ceil(len(self.split) / self.batch_size)

    def __len__(self) -> int:
        return math.ceil(self.num_steps / self.steps_per_chunk)

    def __iter__(self) -> Iterator[Chunk]:
        order = None
        if self.seed is not None:
            # On the CPU, whatever the device: the same seed must give the same order on each.
            generator = torch.Generator().manual_seed(self.seed())
            if self.balanced:
                order = _balanced(self.split.targets, generator)
            else:
                order = torch.randperm(len(self.split), generator=generator)
        if isinstance(self.split, Stored):
            return self._gathered(self.split.numbers, order)
        if isinstance(self.split.images, Files):
            return self._streamed(self.split, order)
        return self._gathered(self.split.images, order)

    def _gathered(self, images: Tensor, order: Tensor | None) -> Iterator[Chunk]:
        order = None if order is None else order.to(images.device)
        for first, last in self._spans():
            yield Chunk(partial(self._steps, images, order, first, last), last - first)

    def _steps(self, images: Tensor, order: Tensor | None, first: int, last: int) -> Iterator[Batch]:
        """A chunk's minibatches; small ones are gathered and prepared many at once."""
        at_once = max(1, NUMBERS_AT_ONCE // (self.batch_size * images[0].numel()))
        for step in range(first, last, at_once):
            span = slice(step * self.batch_size, min(step + at_once, last) * self.batch_size)
            batch = _gather(self.split, images, span if order is None else order[span], self.device)
            yield from self._prepared(batch).split(self.batch_size)

    def _streamed(self, split: Split, order: Tensor | None) -> Iterator[Chunk]:
        # One iterator for all chunks: decoding runs ahead over their borders. A chunk takes the next of it, so that
        # chunks must be used up in order.
        steps = map(self._prepared, stream(split, order, self.batch_size, self.device))
        for first, last in self._spans():
            yield Chunk(partial(islice, steps, last - first), last - first)

    def _prepared(self, batch: Batch) -> Batch:
        return batch if self.prepare is None else batch._replace(images=self.prepare(batch.images))

    def _spans(self) -> Iterator[tuple[int, int]]:
        """First and last + 1 minibatch of each chunk."""
        for first in range(0, self.num_steps, self.steps_per_chunk):
            yield first, min(first + self.steps_per_chunk, self.num_steps)


@dataclass(frozen=True, eq=False)
class Turns:
    """All minibatches of one of several views of a part, another in each epoch.

    Args:
        views: Of the same images, in the same order.
        epoch: Asked for the number of finished epochs as each starts.
    """

    views: Sequence[Batches]
    epoch: Callable[[], int]

    def __len__(self) -> int:
        return len(self.views[0])

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.views[self.epoch() % len(self.views)])


def batches(
    split: Split | Stored,
    *,
    batch_size: int,
    device: torch.device | str,
    seed: Callable[[], int] | None = None,
    steps_per_chunk: int = 1,
    balanced: bool = False,
    prepare: Callable[[Tensor], Tensor] | None = None,
) -> Batches:
    """Iterate over a part in minibatches, every image once an epoch, or as many drawn anew from balanced classes.

    Tensors cost one gathering operation for images and one for targets a minibatch, or a few small minibatches. Files
    are decoded ahead by worker processes, which live as long as the iteration, and their chunks must be used up in
    order.

    Args:
        split: The part; its `to(device)` moves it first.
        batch_size: Images a minibatch; the last one of an epoch may be smaller.
        device: Where the minibatches are wanted.
        seed: Asked for the seed of the order as each epoch starts; None for the stored order.
        balanced: With a seed: draw as many images as the part has, with replacement; a class that the part has is
            equally likely to be drawn as every other one, and so is an image among those of its class.
        prepare: What is done to images (B, C, H, W) on the device, to each by itself; None for nothing.

    Returns:
        Chunks of (images, targets, weights); images as stored or prepared, shape (B, C, H, W), the others as in the
        part.

    Example:
        >>> part = Split(torch.arange(5).view(5, 1, 1, 1), torch.arange(5))
        >>> chunks = batches(part, batch_size=2, device="cpu", steps_per_chunk=2)
        >>> [[targets.tolist() for _, targets, _ in chunk] for chunk in chunks]
        [[[0, 1], [2, 3]], [[4]]]
    """
    return Batches(split, batch_size, torch.device(device), seed, steps_per_chunk, balanced, prepare)


def _balanced(targets: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a class evenly, then one of its images, once for each image that there is."""
    targets = targets.cpu()
    counts = targets.unique(return_counts=True)[1]
    classes = torch.randint(len(counts), targets.shape, generator=generator)
    # In float32 the product may round up to the count, which is the next class's first image.
    places = (torch.rand(targets.shape, generator=generator, dtype=torch.float64) * counts[classes]).long()
    # Sorted by class, the images of a class lie together, from the sum of the counts before it on.
    return targets.argsort(stable=True)[(counts.cumsum(0) - counts)[classes] + places]


def _gather(split: Split | Stored, images: Tensor, rows: Tensor | slice, device: torch.device) -> Batch:
    take = itemgetter(rows) if isinstance(rows, slice) else partial(torch.index_select, dim=0, index=rows)
    if isinstance(split, Stored):
        picked = pick(images, take(split.places))
    else:
        picked = images[rows] if isinstance(rows, slice) else pick(images, rows)
    weights = None if split.weights is None else take(split.weights).to(device, non_blocking=True)
    return Batch(picked.to(device, non_blocking=True), take(split.targets).to(device, non_blocking=True), weights)

"""Per-channel statistics of pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import torch
from torch import Tensor

from convgrid.data.dataset import Split
from convgrid.data.loader import batches

CHUNK = 2**20  # pixels looked at together: the copies stay small, and in the cache


def statistics(split: Split) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, over all images and places, in raw pixel units.

    Integer pixels are summed exactly: mean = s1 / n and std = sqrt(s2 / n - mean^2), with s1 and s2 the sums of
    pixels and of their squares. Float pixels take two passes in double precision. A streamed folder is decoded
    once for it.

    Returns:
        Means and standard deviations, one of each a channel; 1 in place of a deviation of 0.

    Example:
        >>> statistics(Split(torch.tensor([0, 4], dtype=torch.uint8).view(2, 1, 1, 1), torch.zeros(2)))
        ([2.0], [2.0])
    """
    if isinstance(split.images, Tensor) and split.images.is_floating_point():
        return _of_floats(split)
    sums = squares = torch.zeros(1, dtype=torch.int64)
    count = 0
    for pixels in _chunks(split):
        wide = pixels.int()
        sums = sums + wide.sum((0, 2, 3)).cpu()
        squares = squares + (wide * wide).sum((0, 2, 3)).cpu()
        count += pixels[:, 0].numel()
    means = [Fraction(total, count) for total in sums.tolist()]
    variances = [Fraction(total, count) - mean**2 for total, mean in zip(squares.tolist(), means, strict=True)]
    return [float(mean) for mean in means], [math.sqrt(variance) or 1.0 for variance in variances]


def _of_floats(split: Split) -> tuple[list[float], list[float]]:
    count = sum(pixels[:, 0].numel() for pixels in _chunks(split))
    mean = sum((pixels.double().sum((0, 2, 3)).cpu() for pixels in _chunks(split)), torch.zeros(1)) / count
    centre = mean.view(1, -1, 1, 1)
    squares = ((pixels.double() - centre.to(pixels.device)).square().sum((0, 2, 3)).cpu() for pixels in _chunks(split))
    std = (sum(squares, torch.zeros(1)) / count).sqrt()
    # A constant channel differs from its rounded mean by a few units in the last place.
    std[std <= torch.finfo(torch.float32).eps * mean.abs()] = 1.0
    return mean.tolist(), std.tolist()


def _chunks(split: Split) -> Iterator[Tensor]:
    if isinstance(split.images, Tensor):
        yield from split.images.split(max(1, CHUNK // max(1, split.images[0].numel())))
        return
    _, height, width = split.images.shape
    size = max(1, CHUNK // (height * width))
    for chunk in batches(split, batch_size=min(size, 64), device="cpu"):
        for images, _, _ in chunk:
            yield images

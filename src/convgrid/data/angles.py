"""Digits turned by a known angle: regression without a download."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from convgrid.data.counts import check_numbers
from convgrid.data.dataset import ImageData, fingerprint
from convgrid.data.embedded import read_digits
from convgrid.data.precision import as_numbers
from convgrid.data.splits import divide
from convgrid.errors import ConfigError
from convgrid.system.seeding import derive

LEAST_SIDE = 12  # pixels; the diagonal of a digit of 8x8 pixels is 11.3
BRIGHTEST = 16  # pixel of scikit-learn's digits
DRAWN = 256  # images drawn together: bounds what large pictures need meanwhile


def digits_angle(
    *,
    shape: Sequence[int] = (1, 16, 16),
    num_classes: int = 1,
    task: str = "regression",
    min_angle: float | None = None,
    max_angle: float = 45.0,
    split: Sequence[float] = (0.7, 0.15, 0.15),
    split_seed: int = 0,
    limit: int = 0,
) -> ImageData:
    """scikit-learn's 1,797 digits, each turned by its own angle, which is to be predicted in degrees.

    Angles are uniform in [min_angle, max_angle], counter-clockwise above 0. Each digit is drawn once, enlarged so that
    its diagonal is the picture's shorter side: no angle cuts a corner off, and all see the same black border. All ten
    digits take part: 0, 1 and 8 repeat themselves after half a turn, which angles up to 90 never reach. How far the
    writer's own hand leans is in no target, and bounds what can be reached.

    Args:
        shape: 1, height, width; 12 pixels or more.
        num_classes: 1, the angle.
        task: regression.
        min_angle: Least angle in degrees, at least -180; None for -max_angle.
        max_angle: Largest angle in degrees, above the least and 0, and at most 180.
        split: Fractions for train, validation and, if wanted, test.
        split_seed: Seed of the angles and of the division.
        limit: How many training images to keep; 0 for all.

    Returns:
        The data set: pixels in 0..255, targets of shape (B, 1). Its digest covers the digits and the angles.

    Raises:
        ConfigError: If the shape, the angle, the fractions or the limit are out of range.
        DataError: If scikit-learn's file is missing or not as expected.

    Example:
        >>> data = digits_angle(max_angle=30)
        >>> data.train.images.shape, data.train.targets.shape, data.train.targets.abs().max() <= 30
        (torch.Size([1258, 1, 16, 16]), torch.Size([1258, 1]), tensor(True))

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).
    """
    check_numbers(1, num_classes, task, "data=digits_angle")
    if len(shape) != 3 or shape[0] != 1 or min(shape[1:]) < LEAST_SIDE:
        raise ConfigError(
            f"data.shape={list(shape)} must be 1, height and width, with sides of {LEAST_SIDE} pixels or more: "
            "a digit of 8x8 pixels has to fit at any angle."
        )
    if not 0 < max_angle <= 180:
        raise ConfigError(f"data.max_angle={max_angle:g} must be above 0 and at most 180 degrees.")
    least = -max_angle if min_angle is None else min_angle
    if not -180 <= least < max_angle:
        raise ConfigError(
            f"data.min_angle={least:g} must be -180 degrees or more, and below data.max_angle={max_angle:g}."
        )
    images, _ = read_digits()
    generator = np.random.default_rng(derive(split_seed, "angle"))
    (angles,) = as_numbers([generator.uniform(least, max_angle, (len(images), 1))])
    # Not the drawn pixels: the last bit of a cosine may differ between machines.
    digest = fingerprint(images, angles, [str(side) for side in shape])
    pixels = torch.from_numpy(images).float() * (255 / BRIGHTEST)
    drawn = turn(pixels, torch.from_numpy(angles[:, 0]).float(), (shape[1], shape[2])).round().byte().numpy()
    return divide((drawn, angles), class_names=(), digest=digest, split=split, split_seed=split_seed, limit=limit)


def turn(images: Tensor, angles: Tensor, size: tuple[int, int]) -> Tensor:
    """Draw square images on larger canvases, black beyond their edges, turned and enlarged.

    Sampled between the four nearest pixels at source = R(angle) target * sqrt(2) side / min(size), from the centres.

    Args:
        images: Shape (B, C, side, side), float32.
        angles: In degrees, counter-clockwise, shape (B,).
        size: Height and width of the canvases; the images' diagonal becomes the shorter one.

    Returns:
        Canvases, shape (B, C, *size).

    Example:
        >>> corner = torch.tensor([[[[0.0, 9.0], [0.0, 0.0]]]])
        >>> turn(corner, torch.tensor([45.0]), (3, 3)).argmax().item()  # the upper right corner comes to the top
        1
    """
    height, width = size
    radians = torch.deg2rad(angles)
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    # In the coordinates of affine_grid, which run from -1 to 1 over an image and over a canvas.
    stretch = torch.tensor([width, height, 1]) * (math.sqrt(2) / min(size))
    matrices = torch.stack((cos, -sin, zero, sin, cos, zero), -1).view(-1, 2, 3) * stretch
    drawn = [
        functional.grid_sample(
            some, functional.affine_grid(matrix, [len(some), some.shape[1], height, width], False), align_corners=False
        )
        for some, matrix in zip(images.split(DRAWN), matrices.split(DRAWN), strict=True)
    ]
    return torch.cat(drawn)

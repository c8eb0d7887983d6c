"""Parts of images hidden."""

import torch
from torch import Tensor

from convgrid.augment.geometry import fill


def box(height: int, width: int, first: Tensor, size: Tensor) -> Tensor:
    """Tell which pixels are in each image's box; what reaches beyond the image is cut off.

    Args:
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        first: x and y of the box's first pixel, shape (B, 2), int64.
        size: Width and height of the box in pixels, shape (B, 2), int64.

    Returns:
        Shape (B, 1, H, W), bool.

    Example:
        >>> box(2, 3, torch.tensor([[1, -1]]), torch.tensor([[5, 2]])).int().tolist()
        [[[[0, 1, 1], [0, 0, 0]]]]
    """
    last = first + size
    x, y = (torch.arange(extent, device=first.device) for extent in (width, height))
    columns = (x >= first[:, :1]) & (x < last[:, :1])
    rows = (y >= first[:, 1:]) & (y < last[:, 1:])
    return (rows[:, :, None] & columns[:, None])[:, None]


def cutout(images: Tensor, centre: Tensor, *, size: int = 16, cval: float = 0.0) -> Tensor:
    """Hide a square of each image; near an edge only a part of it is inside.

    Args:
        images: float32, shape (B, C, H, W).
        centre: x and y of the square's centre, in pixels from the first, shape (B, 2), int64.
        size: Of a side, in pixels.
        cval: What the hidden pixels become.

    Returns:
        Shape (B, C, H, W).

    Example:
        >>> cutout(torch.ones(1, 1, 1, 4), torch.tensor([[0, 0]]), size=3).tolist()
        [[[[0.0, 0.0, 1.0, 1.0]]]]

    Source: DeVries and Taylor, 2017, arXiv:1708.04552.
    """
    height, width = images.shape[2:]
    return fill(images, ~box(height, width, centre - size // 2, torch.full_like(centre, size)), cval)

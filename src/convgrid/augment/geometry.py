"""Where the pixels of a changed image come from: one affine sampling, or an exact copy of whole pixels.

Shapes: B batch, C channels, H height, W width. Points are (x, y) in pixels from an image's centre, x along W.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

FillMode = Literal["nearest", "constant", "reflect", "wrap"]
FILL_MODES: tuple[FillMode, ...] = get_args(FillMode)
TOLERANCE = 1e-3  # pixels outside the image that rounding may put a point at its edge
CACHED = 2**17  # pixels that a CPU changes at a time: twice as fast as a batch of photos at once


def affine(angle: Tensor, shift: Tensor, shear: Tensor, zoom: Tensor) -> tuple[Tensor, Tensor]:
    """Compose rotation, shift, shear and zoom into source = matrix @ target + offset, as Keras does.

    With R the rotation, S = [[1, -sin shear], [0, cos shear]]: matrix = R S diag(zoom), offset = R shift.

    Args:
        angle: Of the rotation, in radians, shape (B,).
        shift: In pixels, shape (B, 2); above 0, the image moves left or up.
        shear: In radians, shape (B,).
        zoom: Factor of x and of y, shape (B, 2); above 1, the image shrinks.

    Returns:
        Matrices of shape (B, 2, 2) and offsets in pixels of shape (B, 2). Negated columns flip the image.

    Example:
        >>> zero = torch.zeros(1)
        >>> matrix, offset = affine(zero, torch.tensor([[1.0, 0.0]]), zero, torch.ones(1, 2))
        >>> matrix.tolist(), offset.tolist()
        ([[[1.0, -0.0], [0.0, 1.0]]], [[1.0, 0.0]])

    Source: apply_affine_transform of Keras 3.15's legacy ImageDataGenerator.
    """
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack((cos, -sin, sin, cos), -1).view(-1, 2, 2)
    sheared = torch.stack((cos, -(angle + shear).sin(), sin, (angle + shear).cos()), -1).view(-1, 2, 2)
    return sheared * zoom[:, None], (rotation * shift[:, None]).sum(-1)


def warp(
    images: Tensor, matrix: Tensor, offset: Tensor, *, fill_mode: FillMode = "nearest", cval: float = 0.0
) -> Tensor:
    """Sample each image at source = matrix @ target + offset, between the four nearest pixels.

    Fill modes, beyond `abcd`: nearest `aaaa|abcd|dddd`, constant `kkkk|abcd|kkkk`, reflect `dcba|abcd|dcba`,
    wrap `abcd|abcd|abcd`. A constant begins at the outermost pixels' centres, without a seam, as in scipy.

    Args:
        images: Shape (B, C, H, W).
        matrix: Shape (B, 2, 2).
        offset: In pixels, shape (B, 2).
        fill_mode: What is beyond an image.
        cval: Value of the constant.

    Returns:
        float32, shape (B, C, H, W), in the memory format of the images.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0, 4.0]]]])
        >>> warp(image, torch.eye(2)[None], torch.tensor([[0.5, 0.0]])).tolist()
        [[[[1.5, 3.0, 4.0]]]]

    Source: scipy.ndimage.affine_transform, order 1; its mode "wrap" has another period, ours is its "grid-wrap".
    """
    return _in_parts(partial(_warp, fill_mode=fill_mode, cval=cval), images, matrix, offset)


def copy(images: Tensor, shift: Tensor, flip: Tensor, *, fill_mode: FillMode = "nearest", cval: float = 0.0) -> Tensor:
    """Copy whole pixels from source = target, mirrored where flipped, + shift: a crop of the padded image.

    Args:
        images: Shape (B, C, H, W).
        shift: In pixels, shape (B, 2), int64; above 0, the image moves left or up.
        flip: Whether the crop is mirrored along x and along y, shape (B, 2), bool.
        fill_mode: What is beyond an image, as for `warp`.
        cval: Value of the constant.

    Returns:
        float32, shape (B, C, H, W), in the memory format of the images.

    Example:
        >>> image = torch.tensor([[[[1, 2, 3]]]])
        >>> copy(image, torch.tensor([[1, 0]]), torch.tensor([[True, False]])).tolist()
        [[[[3.0, 3.0, 2.0]]]]
    """
    return _in_parts(partial(_copy, fill_mode=fill_mode, cval=cval), images, shift, flip)


def fill(images: Tensor, kept: Tensor, cval: float) -> Tensor:
    """Replace pixels by a constant.

    Args:
        images: Finite, shape (B, C, H, W).
        kept: The pixels that stay, shape (B, 1, H, W), bool.
        cval: What the others become.

    Returns:
        Shape (B, C, H, W).

    Example:
        >>> fill(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[True, False]]]]), 9.0).tolist()
        [[[[1.0, 9.0]]]]
    """
    weight = kept.to(images.dtype)  # on a CPU, torch.where over channels takes 7 times as long
    filled = images * weight
    return filled.add_(cval * (1 - weight)) if cval else filled


def _in_parts(change: Callable[[Tensor, Tensor, Tensor], Tensor], images: Tensor, *each: Tensor) -> Tensor:
    """Change a batch part by part, with what there is for each image, into the memory format given."""
    changed = torch.empty_like(images, dtype=torch.float32)
    size = len(images) if images.is_cuda else max(CACHED // images[0, 0].numel(), 1)
    for result, some, first, second in zip(*(whole.split(size) for whole in (changed, images, *each)), strict=True):
        result.copy_(change(some, first, second))
    return changed


def _warp(images: Tensor, matrix: Tensor, offset: Tensor, *, fill_mode: FillMode, cval: float) -> Tensor:
    height, width = images.shape[2:]
    grid = _grid(height, width, matrix, offset)
    images = images.float()
    if fill_mode == "wrap":
        return _sample(functional.pad(images, (0, 1, 0, 1), mode="circular"), _wrapped(grid, height, width), "border")
    if fill_mode == "reflect":
        return _sample(images, grid, "reflection")
    sampled = _sample(images, grid, "border")
    if fill_mode == "nearest":
        return sampled
    inside = [grid[..., i].abs() <= (size - 1 + 2 * TOLERANCE) / size for i, size in enumerate((width, height))]
    return fill(sampled, (inside[0] & inside[1])[:, None], cval)


def _copy(images: Tensor, shift: Tensor, flip: Tensor, *, fill_mode: FillMode, cval: float) -> Tensor:
    height, width = images.shape[2:]
    columns, rows = _source(width, shift[:, 0], flip[:, 0]), _source(height, shift[:, 1], flip[:, 1])
    pixels = _fold(rows, height, fill_mode)[:, :, None] * width + _fold(columns, width, fill_mode)[:, None]
    copied = _take(images, pixels).float()
    if fill_mode != "constant":
        return copied
    inside = _inside(rows, height)[:, :, None] & _inside(columns, width)[:, None]
    return fill(copied, inside[:, None], cval)


def _grid(height: int, width: int, matrix: Tensor, offset: Tensor) -> Tensor:
    """Source points in grid_sample's units, which are half an image: (B, H, W, 2)."""
    # affine_grid multiplies matrices for this, which takes a CPU 10 times as long
    unit = 2 / matrix.new_tensor((width, height))
    matrix, offset = matrix * unit[:, None], offset * unit
    x = torch.arange(width, device=matrix.device) - (width - 1) / 2
    y = torch.arange(height, device=matrix.device) - (height - 1) / 2
    along_x = x[:, None] * matrix[:, None, None, :, 0]
    along_y = y[:, None, None] * matrix[:, None, None, :, 1] + offset[:, None, None]
    return along_x + along_y


def _wrapped(grid: Tensor, height: int, width: int) -> Tensor:
    """The same points, brought in place into an image that has its first row and column again at its end."""
    size = grid.new_tensor((width, height))
    images = grid.mul_(0.5).add_(0.5 - 0.5 / size)  # from the first pixel, 1 is a whole image
    images.sub_(images.floor())  # torch.remainder takes 5 times as long
    return images.mul_(2 * size / (size + 1)).add_(1 / (size + 1) - 1)


def _sample(images: Tensor, grid: Tensor, padding: str) -> Tensor:
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _source(size: int, shift: Tensor, flip: Tensor) -> Tensor:
    """Position along one axis that each target position is copied from, also beyond the image: (B, size)."""
    positions = torch.arange(size, device=shift.device)
    return torch.where(flip[:, None], positions.flip(0), positions) + shift[:, None]


def _fold(positions: Tensor, size: int, fill_mode: FillMode) -> Tensor:
    """Positions beyond the image become those of the pixels seen there."""
    match fill_mode:
        case "nearest" | "constant":
            return positions.clamp(0, size - 1)
        case "wrap":
            return positions % size
        case "reflect":
            folded = positions % (2 * size)
            return torch.minimum(folded, 2 * size - 1 - folded)


def _inside(positions: Tensor, size: int) -> Tensor:
    return (positions >= 0) & (positions < size)


def _take(images: Tensor, pixels: Tensor) -> Tensor:
    """Gather all channels of each pixel; `pixels` counts along the rows of its own image, (B, H, W)."""
    batch, channels, height, width = images.shape
    if images.is_contiguous() and channels > 1:
        index = pixels.view(batch, 1, -1).expand(-1, channels, -1)
        return images.flatten(2).gather(2, index).view_as(images)
    first = torch.arange(batch, device=pixels.device).view(-1, 1, 1) * (height * width)
    colours = images.permute(0, 2, 3, 1).reshape(-1, channels)
    taken = colours.index_select(0, (pixels + first).flatten())
    return taken.view(batch, height, width, channels).permute(0, 3, 1, 2)

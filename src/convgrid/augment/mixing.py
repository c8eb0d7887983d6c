"""Images made of two, and their targets.

Shapes: B batch, C channels, H height, W width, T target columns.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from convgrid.augment.erasing import box
from convgrid.system.torch_internals import sample_dirichlet


class Mixed(NamedTuple):
    """Targets of images made of two each, as they are: classes (B,) or numbers (B, T).

    Args:
        targets: Of the first images.
        order: Which image of the batch is the second one of each, shape (B,), int64.
        share: Of the first images in what is seen, in [0, 1], shape (B,).
    """

    targets: Tensor
    order: Tensor
    share: Tensor


def mixed_losses(
    losses: Callable[[Tensor, Tensor | None], Tensor], targets: Tensor | Mixed, weights: Tensor | None = None
) -> Tensor:
    """Weigh the losses against both targets by their shares: share * loss(targets) + (1 - share) * loss(others).

    Right for every loss and every form of target. Of cross-entropy it is the loss against the mixed distribution, of a
    squared error it has the gradient of the error against the mixed number. Each of the two keeps its own weight.

    Args:
        losses: From targets and their weights to one value an example, shape (B,).
        targets: Plain targets, which cost nothing more, or mixed ones.
        weights: Of the first images, shape (B,); None for all alike.

    Returns:
        One value an example, shape (B,).

    Example:
        >>> targets = Mixed(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([0.75, 0.5]))
        >>> mixed_losses(lambda target, _: 8.0 * target, targets)
        tensor([2., 4.])
    """
    if not isinstance(targets, Mixed):
        return losses(targets, weights)
    first, order, share = targets
    others = losses(first[order], None if weights is None else weights[order])
    return share * losses(first, weights) + (1 - share) * others


def blend(images: Tensor, order: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Make one image of two: weight * images + (1 - weight) * images[order].

    Args:
        images: float32 and finite, shape (B, C, H, W).
        order: Which image is mixed into each, shape (B,), int64.
        weight: Of the first images, in [0, 1], shape (B, 1, 1, 1) as in mixup, or (B, 1, H, W).

    Returns:
        Images of shape (B, C, H, W), and the share of the first ones in them, the weight's mean, shape (B,).

    Example:
        >>> images, weight = torch.tensor([8.0, 0.0]).view(2, 1, 1, 1), torch.tensor([0.25, 0.5]).view(2, 1, 1, 1)
        >>> mixed, share = blend(images, torch.tensor([1, 0]), weight)
        >>> mixed.flatten(), share
        (tensor([2., 4.]), tensor([0.2500, 0.5000]))

    Source: Zhang et al., mixup, ICLR 2018.
    """
    return images[order].mul_(1 - weight).addcmul_(images, weight), weight.mean((1, 2, 3))


def cutmix_weight(height: int, width: int, share: Tensor, centre: Tensor) -> Tensor:
    """Give each image to its first source, less a box with sides sqrt(1 - share) of its own for the second.

    Args:
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        share: Wanted of the first images, in [0, 1], shape (B,); a box cut off at an edge leaves them more.
        centre: x and y of the box's centre, in pixels from the first, shape (B, 2), int64.

    Returns:
        0 in the box and 1 outside, shape (B, 1, H, W).

    Example:
        >>> cutmix_weight(2, 2, torch.tensor([0.75]), torch.tensor([[1, 0]])).tolist()
        [[[[1.0, 0.0], [1.0, 1.0]]]]

    Source: Yun et al., CutMix, ICCV 2019.
    """
    size = ((1 - share).sqrt()[:, None] * share.new_tensor((width, height))).long()
    return (~box(height, width, centre - size // 2, size)).float()


def draw_shares(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Draw from the Beta(alpha, alpha) distribution.

    Args:
        alpha: Above 0; 1 is even over [0, 1], less is nearer to 0 and 1.
        count: How many.
        generator: Where from.

    Returns:
        In [0, 1], shape (count,), on the generator's device.

    Example:
        >>> draw_shares(1.0, 2, torch.Generator().manual_seed(0)).shape
        torch.Size([2])
    """
    # torch.distributions.Beta, which takes no generator, is this; in float32 a small alpha would underflow
    both = torch.full((count, 2), alpha, dtype=torch.float64, device=generator.device)
    shares = sample_dirichlet(both, generator)
    return shares[:, 0].float()

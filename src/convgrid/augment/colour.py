"""Other light on the same scene.

Shapes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601


def jitter(
    images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, black: Tensor, white: Tensor
) -> Tensor:
    """Scale each image's distance from black, then from its mean grey, then from each pixel's grey.

    The three steps are one linear map of a pixel's colour, clipped once at the end. Grey is the luma of three channels,
    the mean of any other number of them.

    Args:
        images: float32, shape (B, C, H, W).
        brightness: Factor, shape (B,); 0 gives black.
        contrast: Factor, shape (B,); 0 gives even grey.
        saturation: Factor, shape (B,); 0 gives a grey image.
        black: The least value, in pixel units, shape ().
        white: The largest value, in pixel units, shape ().

    Returns:
        Shape (B, C, H, W), within the range of values.

    Example:
        >>> image, one = torch.tensor([[[[10.0, 200.0]]]]), torch.ones(1)
        >>> jitter(image, 1.5 * one, one, one, torch.tensor(0.0), torch.tensor(255.0)).tolist()
        [[[[15.0, 255.0]]]]

    Source: torchvision's ColorJitter, without hue, in a fixed order.
    """
    brightness, contrast, saturation = (factor.view(-1, 1, 1, 1) for factor in (brightness, contrast, saturation))
    grey = _grey(images)
    mean = black + brightness * (grey.mean((2, 3), keepdim=True) - black)
    offset = contrast * (1 - brightness) * black + (1 - contrast) * mean
    scale = contrast * brightness
    added = grey.mul_((1 - saturation) * scale).add_(offset)
    return (images * (saturation * scale)).add_(added).clamp_(black, white)


def value_range(images: Tensor) -> tuple[Tensor, Tensor]:
    """Tell black and white: 0 and 255 of bytes; of numbers, which have no limits of their own, the batch's extremes.

    Args:
        images: As stored, shape (B, C, H, W).

    Returns:
        The least and the largest value, in pixel units, each of shape ().

    Example:
        >>> value_range(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))
        (tensor(0.), tensor(255.))
    """
    if images.is_floating_point():
        least, largest = images.aminmax()
        return least, largest
    return torch.zeros((), device=images.device), torch.full((), 255.0, device=images.device)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] != len(LUMA):
        return images.mean(1, keepdim=True)
    red, green, blue = images.split(1, 1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])

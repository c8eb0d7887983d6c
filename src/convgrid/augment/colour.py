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

    Source: torchvision's ColorJitter in a fixed order; `turn_hue` is its last step.
    """
    brightness, contrast, saturation = (factor.view(-1, 1, 1, 1) for factor in (brightness, contrast, saturation))
    grey = _grey(images)
    mean = black + brightness * (grey.mean((2, 3), keepdim=True) - black)
    offset = contrast * (1 - brightness) * black + (1 - contrast) * mean
    scale = contrast * brightness
    added = grey.mul_((1 - saturation) * scale).add_(offset)
    return (images * (saturation * scale)).add_(added).clamp_(black, white)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn each image's colours round the colour circle; value and chroma of a pixel stay.

    With V the largest of red, green and blue, C the distance to the least, and h in [0, 6) the hue in sixths of a turn,
    each is V - C clip(min(k, 4 - k), 0, 1), where k = (n + h + 6 turns) mod 6 and n = 5, 3, 1.

    Args:
        images: float32, shape (B, C, H, W); those of other than three channels have no hue, and stay as they are.
        turns: In turns of the circle, shape (B,); 1/3 makes green of red.

    Returns:
        Shape (B, C, H, W), within each pixel's range of values.

    Example:
        >>> red = torch.tensor([[[[255.0]], [[0.0]], [[0.0]]]])
        >>> turn_hue(red, torch.tensor([1 / 3])).flatten().tolist()
        [0.0, 255.0, 0.0]

    Source: torchvision's adjust_hue, by way of HSV.
    """
    if images.shape[1] != len(LUMA):
        return images
    red, green, blue = images.split(1, 1)
    value = images.amax(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    green_or_blue = torch.where(green == value, blue - red + 2 * chroma, red - green + 4 * chroma)
    hue = torch.where(red == value, green - blue, green_or_blue) / chroma.where(chroma > 0, 1)
    k = (hue + 6 * turns.view(-1, 1, 1, 1) + images.new_tensor((5, 3, 1)).view(-1, 1, 1)) % 6
    # empty_like, because a result of one plane and three numbers would not be channels_last
    return torch.sub(value, chroma * torch.minimum(k, 4 - k).clamp_(0, 1), out=torch.empty_like(images))


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

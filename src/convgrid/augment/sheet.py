"""Images and what augmentation makes of them, on one sheet to look at.

Shapes: N images, C channels, H height, W width.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from convgrid.system.text import one_line

MIN_IMAGE_SIDE = 96  # pixels that a side is enlarged to, at the least
IMAGE_GAP = 4  # pixels between images; thrice that after the originals
CAPTION_HEIGHT = 14  # pixels
GALLERY_COLUMNS = 6


def augmentation_sheet(images: Tensor, augmented: Sequence[Tensor], captions: Sequence[str] = ()) -> Image.Image:
    """Lay out a row for each image: the original, then what each round of augmentation made of it.

    The originals' smallest value is shown black, their largest white. Two, four and more channels are averaged.

    Args:
        images: The originals, in any unit, shape (N, C, H, W).
        augmented: The rounds, each in the same unit and shape.
        captions: What to write to the left of each row; () for no captions.

    Returns:
        An RGB picture; small images are enlarged, pixel by pixel.

    Example:
        >>> digits = torch.arange(64).reshape(1, 1, 8, 8)
        >>> augmentation_sheet(digits, [digits.float(), digits.float()]).size
        (312, 104)
    """
    low, high = (float(value) for value in images.aminmax())
    rounds = [_pixels(some, low, high) for some in (images, *augmented)]
    count, height, width, _ = rounds[0].shape
    factor = -(-MIN_IMAGE_SIDE // min(height, width))
    height, width = factor * height, factor * width
    font, captions = ImageFont.load_default(CAPTION_HEIGHT), list(map(one_line, captions))
    margin = max((IMAGE_GAP + math.ceil(font.getlength(text)) for text in captions), default=0)
    size = (margin + len(rounds) * (width + IMAGE_GAP) + 3 * IMAGE_GAP, count * (height + IMAGE_GAP) + IMAGE_GAP)
    picture = Image.new("RGB", size, "white")
    for column, shown in enumerate(rounds):
        left = margin + IMAGE_GAP + column * (width + IMAGE_GAP) + (2 * IMAGE_GAP if column else 0)
        for row, pixels in enumerate(shown):
            large = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
            picture.paste(large, (left, IMAGE_GAP + row * (height + IMAGE_GAP)))
    for row, text in enumerate(captions):
        middle = (margin, IMAGE_GAP + row * (height + IMAGE_GAP) + height // 2)
        ImageDraw.Draw(picture).text(middle, text, "black", font, anchor="rm")
    return picture


def gallery(images: Tensor, captions: Sequence[Sequence[str]]) -> Image.Image:
    """Lay out images side by side, row after row, each above its caption.

    Args:
        images: In any unit, shown as `augmentation_sheet` shows originals, shape (N, C, H, W).
        captions: The lines below each image, equally many; too long ones are cut.

    Returns:
        An RGB picture; small images are enlarged, pixel by pixel.

    Example:
        >>> gallery(torch.zeros(7, 1, 8, 8), [["is 3", "told 8"]] * 7).size
        (604, 276)
    """
    low, high = (float(value) for value in images.aminmax())
    pixels = _pixels(images, low, high)
    count, height, width, _ = pixels.shape
    factor = -(-MIN_IMAGE_SIDE // min(height, width))
    height, width = factor * height, factor * width
    font, lines = ImageFont.load_default(CAPTION_HEIGHT), len(captions[0])
    below = lines * (CAPTION_HEIGHT + IMAGE_GAP) + IMAGE_GAP
    columns = min(count, GALLERY_COLUMNS)
    rows = -(-count // columns)
    picture = Image.new(
        "RGB", (columns * (width + IMAGE_GAP) + IMAGE_GAP, rows * (height + below) + IMAGE_GAP), "white"
    )
    write = ImageDraw.Draw(picture)
    for place, (shown, texts) in enumerate(zip(pixels, captions, strict=True)):
        left, top = IMAGE_GAP + place % columns * (width + IMAGE_GAP), IMAGE_GAP + place // columns * (height + below)
        picture.paste(Image.fromarray(shown).resize((width, height), Image.Resampling.NEAREST), (left, top))
        for line, text in enumerate(texts):
            at = (left, top + height + line * (CAPTION_HEIGHT + IMAGE_GAP))
            write.text(at, _cut(one_line(text), width, font), "black", font)
    return picture


def _cut(text: str, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of a text as fits."""
    while font.getlength(text) > width:
        text = f"{text.removesuffix('...')[:-1]}..."
    return text


def _pixels(images: Tensor, low: float, high: float) -> np.ndarray:
    """Bytes of shape (N, H, W, 3)."""
    scaled = (images.detach().cpu().float() - low) * (255 / max(high - low, 1e-12))
    colours = scaled if scaled.shape[1] == 3 else scaled.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return colours.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8).numpy()

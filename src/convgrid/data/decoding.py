"""One image file to pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF")  # GIF: some collections name them .jpg


def decode(content: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Decode an image, upright as its EXIF says, its shorter side resized and the centre cropped.

    Args:
        shape: Channels (3: RGB, 1: grey), height, width.

    Returns:
        Pixels, shape (H, W, C), uint8; antialiased bilinear where resized.

    Raises:
        Exception: Whatever Pillow raises on a corrupt, truncated or hostile file.
    """
    from PIL import Image, ImageOps

    channels, height, width = shape
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits; Pillow's own conversion cuts at 255 instead of scaling
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    converted = upright.convert("RGB" if channels == 3 else "L")
    fitted = ImageOps.fit(converted, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(fitted).reshape(height, width, channels)


@contextmanager
def strict() -> Iterator[None]:
    """Hold back Pillow's warnings, less the one of a decompression bomb, which becomes an error."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield

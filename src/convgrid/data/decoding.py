"""One image file to pixels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")  # whatever the file's name ends in
PHOTO = 89_478_485  # pixels; Pillow warns of more
DENSEST = 1000  # pixels a byte of a larger image, above which no photo is, but a decompression bomb
DEPTHS = (8, 12, 16)  # bits that grey levels of more than 8 bits are known to use
PNG_SIGNATURE, PNG_TEXT_CHUNKS = b"\x89PNG\r\n\x1a\n", (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def decode(
    content: bytes, shape: tuple[int, int, int], note_depth: Callable[[int], object] | None = None
) -> np.ndarray:
    """Decode an image, upright as its EXIF says, its shorter side resized and the centre cropped.

    Grey levels of more than 8 bits are scaled by the bits that they use, 8, 12 or 16: white is 255, 4095 or 65535.

    Args:
        shape: Channels (3: RGB, 1: grey), height, width.
        note_depth: Told the bits of grey levels of more than 8 bits.

    Returns:
        Pixels, shape (H, W, C), uint8; antialiased bilinear where resized.

    Raises:
        Exception: Whatever Pillow raises on a corrupt, truncated or hostile file.
    """
    from PIL import Image, ImageOps

    channels, height, width = shape
    fitted = ImageOps.fit(_converted(content, channels, note_depth), (width, height), Image.Resampling.BILINEAR)
    return np.asarray(fitted).reshape(height, width, channels)


def decode_whole(content: bytes, channels: int) -> np.ndarray:
    """Decode an image as `decode` does, in its own size.

    Returns:
        Pixels, shape (H, W, C), uint8.

    Raises:
        Exception: Whatever Pillow raises on a corrupt, truncated or hostile file.
    """
    converted = _converted(content, channels)
    return np.array(converted).reshape(converted.height, converted.width, channels)


def _converted(content: bytes, channels: int, note_depth: Callable[[int], object] | None = None) -> Image.Image:
    """Upright, and grey or RGB."""
    from PIL import Image

    upright = _opened(content)
    if upright.mode.startswith(("I", "F")):  # Pillow's own conversion cuts at 255 instead of scaling
        levels, depth = _as_bytes(np.asarray(upright))
        upright = Image.fromarray(levels)
        if note_depth is not None:
            note_depth(depth)
    return upright.convert("RGB" if channels == 3 else "L")


def _opened(content: bytes) -> Image.Image:
    """Load an image, upright; what is beside its pixels may be broken."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(BytesIO(content), formats=IMAGE_FORMATS) as image:
            pixels = image.width * image.height
            if pixels > max(PHOTO, DENSEST * len(content)):
                raise ValueError(f"{image.width}x{image.height} pixels in {len(content)} bytes: no photo is like that")
            image.load()
            try:
                return ImageOps.exif_transpose(image)
            except Exception:  # whatever Pillow raises on broken EXIF, which then says nothing
                return image
    except UnidentifiedImageError:
        raise ValueError("not a readable image") from None
    except ValueError:
        lean = _without_text(content)
        if lean == content:
            raise
        return _opened(lean)


def _without_text(content: bytes) -> bytes:
    """A PNG without its texts, of which Pillow takes no long ones, and its colour profile."""
    if not content.startswith(PNG_SIGNATURE):
        return content
    kept, place = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while place + 12 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] not in PNG_TEXT_CHUNKS:
            kept.append(content[place:end])
        place = end
    return b"".join(kept)


def _as_bytes(levels: np.ndarray) -> tuple[np.ndarray, int]:
    """Grey levels of more than 8 bits, or of floats, as bytes; and the bits that they used."""
    if levels.dtype.kind == "f":
        if not np.isfinite(levels).all():
            raise ValueError("it has pixels that are NaN or infinite")
        if levels.max() <= 1:  # black and white are 0 and 1
            return (levels.clip(0, 1) * 255).round().astype(np.uint8), 8
    whole = levels.clip(0, 2**31 - 1).astype(np.int64)
    used = int(whole.max()).bit_length()
    depth = next((depth for depth in DEPTHS if used <= depth), used)
    return (whole >> (depth - 8)).astype(np.uint8), depth


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back Pillow's warnings; `decode` tells decompression bombs from large photos itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

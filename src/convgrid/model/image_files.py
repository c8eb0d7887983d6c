"""Image files to what a model takes: decoded, converted and resized as for its training."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convgrid.data.decoding import decode, decode_whole, quiet
from convgrid.data.files import EXTENSIONS, readable, walk
from convgrid.data.profile import FILE_SCALE, Profile
from convgrid.errors import ModelError
from convgrid.system.environment import cores


def find_images(named: Iterable[str]) -> tuple[list[Path], list[str]]:
    """List files, and all images below folders, less hidden and system files.

    Returns:
        Files as they were named, and in the order of their names below each folder; and what was left out as hidden.

    Raises:
        ModelError: If a folder holds none.
    """
    found: list[Path] = []
    hidden: list[str] = []
    for path in map(Path, named):
        if not path.is_dir():
            found.append(path)
            continue
        inside = walk(path)
        if not inside.images:
            raise ModelError(f"{readable(str(path))} holds no images ({', '.join(EXTENSIONS)}).")
        found += sorted(map(Path, inside.images))
        hidden += inside.hidden
    return found, hidden


def read_images(files: Sequence[Path], profile: Profile) -> tuple[list[Path], Tensor, list[str]]:
    """Decode image files for a model: upright, grey or RGB, resized and cropped, on the training's scale of pixels.

    Args:
        profile: Of what the model was trained on.

    Returns:
        The files that could be read, their pixels (B, C, H, W), and a line for each of the others.
    """
    with quiet(), ThreadPoolExecutor(min(8, cores())) as pool:
        decoded = list(pool.map(lambda file: _tried(file, lambda content: decode(content, profile.shape)), files))
    pairs = [(file, pixels) for file, pixels in zip(files, decoded, strict=True) if isinstance(pixels, np.ndarray)]
    broken = [pixels for pixels in decoded if isinstance(pixels, str)]
    empty = torch.empty(0, *profile.shape, dtype=torch.uint8)
    pixels = torch.from_numpy(np.stack([pixels for _, pixels in pairs])).permute(0, 3, 1, 2) if pairs else empty
    return [file for file, _ in pairs], on_scale(pixels.contiguous(), profile), broken


def read_whole(file: Path, profile: Profile) -> Tensor | str:
    """Decode an image file in its own size: upright, grey or RGB, on the training's scale of pixels.

    Args:
        profile: Of what the model was trained on.

    Returns:
        Its pixels (1, C, H, W), or a line that says why it cannot be read.
    """
    with quiet():
        pixels = _tried(file, lambda content: decode_whole(content, profile.shape[0]))
    if isinstance(pixels, str):
        return pixels
    return on_scale(torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).contiguous(), profile)


def check_readable(profile: Profile) -> None:
    """Refuse a model whose images no file can hold.

    Args:
        profile: Of what the model was trained on.

    Raises:
        ModelError: If its images are neither grey nor of three colours.
    """
    if profile.shape[0] not in (1, 3):
        raise ModelError(
            f"The model takes images of {profile.shape[0]} channels, and files have 1 (grey) or 3 (RGB). "
            "Give arrays to its exported program instead."
        )


def on_scale(pixels: Tensor, profile: Profile) -> Tensor:
    """Bring a file's pixels, 0 to 255, to those of the training.

    Args:
        pixels: Shape (B, C, H, W), uint8.
        profile: Of what the model was trained on.

    Returns:
        The same shape, of the training's type.
    """
    least, most = profile.scale
    if (least, most) == FILE_SCALE:
        return pixels
    scaled = least + pixels.float() * ((most - least) / FILE_SCALE[1])
    return scaled.round().to(torch.uint8) if profile.dtype == "uint8" else scaled


def _tried(file: Path, decoded: Callable[[bytes], np.ndarray]) -> np.ndarray | str:
    try:
        return decoded(file.read_bytes())
    except OSError as error:
        return f"{readable(str(file))}: {error.strerror or error}"
    except Exception as error:  # whatever Pillow raises on a corrupt or hostile file
        return f"{readable(str(file))}: {error}"

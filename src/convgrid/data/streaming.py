"""Images of a folder too large for memory, decoded ahead by worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from convgrid.data.dataset import Batch, Files, Split
from convgrid.data.decoding import decode, quiet
from convgrid.data.files import readable
from convgrid.errors import DataError


def stream(split: Split, order: Tensor | None, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """Yield the minibatches of one epoch; the workers end with the iterator, or with this process.

    Args:
        split: A part whose images are Files.
        order: Rows in the order wanted; None for the stored order.
        device: Where the minibatches are wanted.

    Returns:
        Images as uint8 (B, C, H, W) in channels_last order, targets and weights as in the part.

    Raises:
        DataError: If an image cannot be read, when it is met.
    """
    files = split.images
    assert isinstance(files, Files)
    rows = (torch.arange(len(split)) if order is None else order).split(batch_size)
    loader = DataLoader(
        _Decoder(files),
        batch_sampler=[some.tolist() for some in rows],
        num_workers=files.workers,
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # else it draws from the global one
    )
    for some, pixels in zip(rows, loader, strict=True):
        if isinstance(pixels, DataError):
            raise pixels
        images = pixels.to(device, non_blocking=True).permute(0, 3, 1, 2)
        weights = None if split.weights is None else split.weights[some].to(device, non_blocking=True)
        yield Batch(images, split.targets[some].to(device, non_blocking=True), weights)


class _Decoder(Dataset[Any]):
    """Decodes the rows of a minibatch at once; a mistake is returned, as raising would wrap it in a traceback."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def __getitems__(self, rows: list[int]) -> Tensor | DataError:
        channels, height, width = self.files.shape
        pixels = np.empty((len(rows), height, width, channels), np.uint8)
        with quiet():
            for place, row in enumerate(rows):
                path = self.files.paths[row]
                try:
                    pixels[place] = decode(Path(path).read_bytes(), self.files.shape)
                except Exception as error:  # whatever Pillow raises on a broken file
                    return DataError(f"{readable(path)} cannot be read as an image ({error}). Repair or remove it.")
        return torch.from_numpy(pixels)


def _as_it_is(pixels: Any) -> Any:
    return pixels

"""Numbers of images in place of their pixels: rows of one tensor, which may lie on the disk."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Stored:
    """One part of a data set, whose images are rows of a tensor that other parts and processes share.

    Args:
        numbers: Shape (R, F) or (R, C, H, W), floats; mapped from a file, it takes memory that the system takes back.
        places: The row of each image, shape (B,), int64.
        targets: As of a `Split`.
        weights: As of a `Split`.
    """

    numbers: Tensor
    places: Tensor
    targets: Tensor
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device | str) -> Stored:
        """Move the part to a GPU whose memory it fits in; on the CPU its rows stay where they are.

        Args:
            device: Where the training runs.

        Returns:
            The part, with its own rows only where it was moved.

        Example:
            >>> part = Stored(torch.zeros(3, 2), torch.tensor([2, 0]), torch.tensor([1, 0]))
            >>> part.to("cpu") is part
            True
        """
        device = torch.device(device)
        if device.type != "cuda" or self.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
            return self
        weights = None if self.weights is None else self.weights.to(device)
        rows = pick(self.numbers, self.places).to(device)
        every = torch.arange(len(self), device=device)
        return replace(self, numbers=rows, places=every, targets=self.targets.to(device), weights=weights)

    @property
    def nbytes(self) -> int:
        """Memory that the part's own rows take."""
        return len(self) * self.numbers[0].nbytes


def pick(images: Tensor, rows: Tensor) -> Tensor:
    """Gather rows, those of a tensor in channels_last order as such."""
    if images.is_contiguous():
        return images.index_select(0, rows)
    # channels_last, gathered through its contiguous (B, H, W, C) view: 10 times faster, and stays channels_last
    return images.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)

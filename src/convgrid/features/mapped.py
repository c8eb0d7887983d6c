"""A tensor in a safetensors file, mapped: its rows come into memory when they are asked for, once for all processes."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from convgrid.features.cache import LONGEST_HEADER

TENSOR_NAME = "features"
ALIGNED_BYTES = 64  # as of memory that torch takes itself
TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
TYPE_NAMES = {kind: name for name, kind in TYPES.items()}


def num_bytes(shape: Sequence[int], kind: torch.dtype) -> int:
    """Count the bytes of a tensor.

    Example:
        >>> num_bytes((10, 3), torch.float32)
        120
    """
    return torch.Size(shape).numel() * kind.itemsize


def write(
    path: Path, shape: Sequence[int], kind: torch.dtype, rows: Iterable[Tensor], about: Mapping[str, str]
) -> None:
    """Write a file, some rows at a time.

    Args:
        shape: Of the whole: rows, then those of one, (F,) or (H, W, C).
        kind: One of `TYPES`.
        rows: Some rows each, contiguous, on the CPU, in order.
        about: What the file says of itself.

    Raises:
        OSError: If it cannot be written.
    """
    known = {"dtype": TYPE_NAMES[kind], "shape": [*shape], "data_offsets": [0, num_bytes(shape, kind)]}
    header = json.dumps({"__metadata__": dict(about), TENSOR_NAME: known}).encode()
    header += b" " * (-(8 + len(header)) % ALIGNED_BYTES)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for some in rows:
            file.write(some.contiguous().view(torch.uint8).numpy().data)


def read(path: Path) -> Tensor:
    """Map a file.

    Returns:
        The tensor, as it was written; it must not be changed.

    Raises:
        OSError: If there is none, or it cannot be read.
        ValueError: If it is torn, or something else.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        known = json.loads(file.read(min(length, LONGEST_HEADER)))
    size = path.stat().st_size
    try:
        shape, kind = known[TENSOR_NAME]["shape"], TYPES[known[TENSOR_NAME]["dtype"]]
        whole = 8 + length + num_bytes(shape, kind) == size
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold features") from error
    if not whole:
        raise ValueError(f"{path} is torn")
    content = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    return content[8 + length :].view(kind).view(shape)

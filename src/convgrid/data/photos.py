"""Image files: decoded once into memory where they fit, or left where they are, to be streamed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np

from convgrid.data.dataset import Files
from convgrid.data.decoding import decode, strict
from convgrid.errors import ConfigError, DataError
from convgrid.system.environment import cores

SHOWN = 5  # names in a message, before a count of the others


def load(
    parts: Mapping[str, Sequence[str]],
    shape: tuple[int, int, int],
    *,
    folder: Path,
    source: str,
    memory_gib: float,
    threads: int,
) -> tuple[dict[str, np.ndarray | Files], list[str]]:
    """Decode the image files of all parts into memory if their pixels fit; else leave them to be streamed.

    Args:
        parts: Paths of the files, by part.
        shape: What each becomes: channels (3: RGB, 1: grey), height, width.
        folder: What the paths in messages are relative to.
        source: The key and value that named the files, for messages.
        memory_gib: Decoded up to so many GiB of pixels.
        threads: Threads that decode now, or processes that stream later.

    Returns:
        Pixels (B, C, H, W), uint8, or the files, by part; and what tells that a file has changed, one text a file in
        the order of the parts: the SHA-256 of its content, or its size where it is streamed.

    Raises:
        DataError: If decoded files are corrupt, all of them named.
    """
    paths = [path for part in parts.values() for path in part]
    if int(np.prod(shape)) * len(paths) > memory_gib * 2**30:
        files = {name: Files(tuple(part), shape, threads) for name, part in parts.items()}
        return dict(files), [str(os.path.getsize(path)) for path in paths]
    images = {name: np.empty((len(part), *shape), np.uint8) for name, part in parts.items()}
    places = [place for pixels in images.values() for place in pixels]

    def read(path: str, place: np.ndarray) -> tuple[str, str]:
        try:
            content = Path(path).read_bytes()
            place[:] = decode(content, shape).transpose(2, 0, 1)
        except Exception as error:  # whatever Pillow raises on a broken file
            return "", f"{os.path.relpath(path, folder)} ({error})"
        return sha256(content).hexdigest(), ""

    with strict(), ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(read, paths, places))
    broken = list(dict.fromkeys(mistake for _, mistake in results if mistake))
    if broken:
        count = f"{len(broken)} of {len(set(paths))} images"
        raise DataError(f"{source}: {count} cannot be read. Repair or remove them:\n{some(broken)}")
    return dict(images), [content for content, _ in results]


def image_size(shape: Sequence[int]) -> tuple[int, int, int]:
    """Hold `data.shape` against what an image file can become.

    Returns:
        The same three.

    Raises:
        ConfigError: If they are out of range.

    Example:
        >>> image_size([3, 64, 64])
        (3, 64, 64)
    """
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1:
        raise ConfigError(f"data.shape={list(shape)} must be 3 (RGB) or 1 (grey), height and width.")
    return (shape[0], shape[1], shape[2])


def num_workers(workers: int | None) -> int:
    """Count the threads or processes that decode.

    Args:
        workers: What `data.workers` says; None for one a core, at most 8.

    Returns:
        At least 1.

    Raises:
        ConfigError: If there would be none.

    Example:
        >>> num_workers(3)
        3
    """
    if workers is None:
        return min(8, cores())
    if workers < 1:
        raise ConfigError(f"data.workers={workers} must be 1 or more, or null for one a core.")
    return workers


def some(names: Iterable[str], most: int = SHOWN) -> str:
    """List names for a message: the first few, and how many more there are.

    Args:
        names: In the order wanted.
        most: How many to show.

    Returns:
        One line.

    Example:
        >>> some("abcdefg")
        'a, b, c, d, e and 2 more'
    """
    every = list(names)
    shown = ", ".join(every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"

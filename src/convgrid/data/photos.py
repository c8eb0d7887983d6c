"""Image files: decoded once into memory where they fit, or left where they are, to be streamed."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convgrid.data.dataset import Files
from convgrid.data.decoding import decode, quiet
from convgrid.data.files import MAX_NAMES_SHOWN, readable, some
from convgrid.errors import ConfigError, DataError
from convgrid.system.environment import cores

ENDS = 2**16  # bytes of either end of a streamed file that tell copies


class Loaded(NamedTuple):
    """Image files that were read, or are to be streamed.

    Args:
        images: Pixels (B, C, H, W), uint8, or the files, by part.
        marks: What tells that a file has changed, one text a file in the order of the parts: the SHA-256 of its
            content, or its size where it is streamed.
        notes: What the user is told.
    """

    images: dict[str, np.ndarray | Files]
    marks: list[str]
    notes: tuple[str, ...] = ()


def load(
    parts: Mapping[str, Sequence[str]],
    shape: tuple[int, int, int],
    *,
    folder: Path,
    source: str,
    memory_gib: float,
    threads: int,
) -> Loaded:
    """Decode the image files of all parts into memory if their pixels fit; else leave them to be streamed.

    Args:
        parts: Paths of the files, by part.
        shape: What each becomes: channels (3: RGB, 1: grey), height, width.
        folder: What the paths in messages are relative to.
        source: The key and value that named the files, for messages.
        memory_gib: Decoded up to so many GiB of pixels.
        threads: Threads that decode now, or processes that stream later.

    Raises:
        DataError: If decoded files are corrupt, all of them named.
    """
    paths = [path for part in parts.values() for path in part]
    if int(np.prod(shape)) * len(paths) > memory_gib * 2**30:
        files = {name: Files(tuple(part), shape, threads) for name, part in parts.items()}
        return Loaded(dict(files), [str(os.path.getsize(path)) for path in paths])
    images = {name: np.empty((len(part), *shape), np.uint8) for name, part in parts.items()}
    places = [place for pixels in images.values() for place in pixels]
    depths = Counter[int]()

    def read(path: str, place: np.ndarray) -> tuple[str, str]:
        try:
            content = Path(path).read_bytes()
            place[:] = decode(content, shape, lambda depth: depths.update([depth])).transpose(2, 0, 1)
        except Exception as error:  # whatever Pillow raises on a broken file
            return "", f"{readable(os.path.relpath(path, folder))} ({error})"
        return sha256(content).hexdigest(), ""

    with quiet(), ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(read, paths, places))
    broken = list(dict.fromkeys(mistake for _, mistake in results if mistake))
    if broken:
        count = f"{len(broken)} of {len(set(paths))} images"
        raise DataError(f"{source}: {count} cannot be read. Repair or remove them:\n{some(broken)}{_all_of(broken)}")
    return Loaded(dict(images), [content for content, _ in results], _on_depths(depths))


def _all_of(broken: Sequence[str]) -> str:
    """Where all of many are listed."""
    if len(broken) <= MAX_NAMES_SHOWN:
        return ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="convgrid-unreadable-", suffix=".txt", delete=False
        ) as file:
            file.writelines(f"{line}\n" for line in broken)
    except OSError:  # a full disk
        return ""
    return f", all listed in {file.name}"


def _on_depths(depths: Mapping[int, int]) -> tuple[str, ...]:
    if len(depths) < 2:
        return ()
    listed = ", ".join(f"{2**depth - 1} in {count}" for depth, count in sorted(depths.items()))
    return (
        f"Grey images of more than 8 bits differ in what is taken for white: {listed}. "
        "Rescale them alike if they come from one camera.",
    )


def contents(paths: Sequence[str], marks: Sequence[str]) -> list[str]:
    """Tell copies: equal where two files hold the same, as `load`'s marks say, or of streamed files size and both ends.

    Returns:
        A text for each file.
    """
    known = dict(zip(paths, marks, strict=True))
    sizes = Counter(known.values())
    if all(count == 1 for count in sizes.values()):
        return list(marks)
    ends = {
        path: mark if len(mark) == 64 or sizes[mark] == 1 else f"{mark} {_ends_of(path, int(mark))}"
        for path, mark in known.items()
    }
    return [ends[path] for path in paths]


def _ends_of(path: str, size: int) -> str:
    with open(path, "rb") as file:
        digest = sha256(file.read(ENDS))
        file.seek(max(0, size - ENDS))
        digest.update(file.read(ENDS))
    return digest.hexdigest()


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

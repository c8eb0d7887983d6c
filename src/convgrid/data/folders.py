"""Folders of images, one folder a class."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from convgrid.data.dataset import Files, ImageData, check_classes, fingerprint
from convgrid.data.decoding import decode, strict
from convgrid.data.splits import divide
from convgrid.errors import ConfigError, DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SYSTEM_FILES = ("Thumbs.db", "desktop.ini")
SHOWN = 5  # names in a message, before a count of the others


@dataclass(frozen=True)
class Listing:
    """The images below one folder of class folders."""

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    targets: np.ndarray
    stray: tuple[str, ...]


def image_folder(
    *,
    root: str | None = None,
    shape: Sequence[int] = (3, 64, 64),
    num_classes: int | None = None,
    memory_gib: float = 2.0,
    workers: int | None = None,
    split: Sequence[float] = (0.8, 0.2),
    split_seed: int = 0,
    limit: int = 0,
) -> ImageData:
    """Photos sorted into one folder a class; the classes are the sorted folder names.

    `train/`, `validation/` (or `val/`) and `test/` are used as they are, where they exist; without a validation folder
    the training images, or all class folders of the root, are divided by `data.split`. Images are turned upright by
    their EXIF orientation, resized (shorter side, antialiased bilinear) and cropped at the centre.

    Args:
        root: The folder itself.
        shape: Channels (3: RGB, 1: grey), and the height and width that images are resized to.
        num_classes: Number of class folders; None for as many as there are.
        memory_gib: Decoded once into memory up to so many GiB of pixels; a larger folder streams.
        workers: Threads that decode at load, or processes that stream; None for one a core, at most 8.
        split: Fractions for train, validation and, if wanted and there is no `test/`, test.
        split_seed: Seed of the division.
        limit: How many training images to keep, stratified; 0 for all.

    Returns:
        The data set. Its digest covers names and contents, for a streamed folder names and sizes.

    Raises:
        ConfigError: If a number cannot be.
        DataError: If folders or images are missing, classes do not agree, or images are corrupt, all named.
    """
    size = _image_size(shape)
    threads = _workers(workers)
    folder = _existing(root)
    listings = {name: _list(path) for name, path in _parts(folder).items()}
    train = listings["train"]
    _check_listings(folder, listings, num_classes)
    num_bytes = int(np.prod(size)) * sum(len(listing.paths) for listing in listings.values())
    if num_bytes > memory_gib * 2**30:
        images = {name: Files(listing.paths, size, threads) for name, listing in listings.items()}
        digest = _digest(folder, listings, [str(os.path.getsize(path)) for path in _all_paths(listings)])
    else:
        images, digest = _decode_all(folder, listings, size, threads)
    parts = {name: (images[name], listing.targets) for name, listing in listings.items()}
    return divide(
        parts["train"],
        class_names=train.class_names,
        digest=digest,
        split=split,
        split_seed=split_seed,
        limit=limit,
        validation=parts.get("validation"),
        test=parts.get("test"),
    )


def _image_size(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1:
        raise ConfigError(f"data.shape={list(shape)} must be 3 (RGB) or 1 (grey), height and width.")
    return (shape[0], shape[1], shape[2])


def _workers(workers: int | None) -> int:
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return min(8, cores or 1)
    if workers < 1:
        raise ConfigError(f"data.workers={workers} must be 1 or more, or null for one a core.")
    return workers


def _existing(root: str | None) -> Path:
    if root is None:
        raise ConfigError("data.root must be given with data=image_folder: the folder that holds a folder a class.")
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise DataError(f"data.root={root} is not a folder. It must hold a folder of images for each class.")
    return folder


def _parts(folder: Path) -> dict[str, Path]:
    """Folders of class folders by part; the root itself unless `train/` holds folders."""
    found = {"train": folder / "train", "validation": folder / "validation", "test": folder / "test"}
    if not found["validation"].is_dir():
        found["validation"] = folder / "val"
    parts = {name: path for name, path in found.items() if path.is_dir() and any(_subfolders(path))}
    return parts if "train" in parts else {"train": folder}


def _list(folder: Path) -> Listing:
    names = _subfolders(folder)
    paths: list[str] = []
    targets: list[int] = []
    stray = [str(folder / entry.name) for entry in os.scandir(folder) if entry.is_file() and _visible(entry.name)]
    for index, name in enumerate(names):
        images, others = _walk(folder / name)
        if not images:
            raise DataError(
                f"Class folder {folder / name} holds no images ({', '.join(EXTENSIONS)}). Fill or remove it."
            )
        paths += images
        targets += [index] * len(images)
        stray += others
    if not names:
        raise DataError(f"{folder} holds no class folders. Put the images of each class in a folder of their own.")
    return Listing(names, tuple(paths), np.array(targets, np.int64), tuple(stray))


def _walk(folder: Path) -> tuple[list[str], list[str]]:
    """Image files and other files below a folder, sorted."""
    files = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if _visible(name)]
    images = sorted(path for path in files if path.lower().endswith(EXTENSIONS))
    return images, sorted(set(files) - set(images))


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and _visible(entry.name)))


def _visible(name: str) -> bool:
    return not name.startswith(".") and name not in SYSTEM_FILES


def _check_listings(folder: Path, listings: dict[str, Listing], num_classes: int | None) -> None:
    names = listings["train"].class_names
    check_classes(len(names), num_classes, str(folder))
    for part, listing in listings.items():
        differing = set(names) ^ set(listing.class_names)
        if differing:
            raise DataError(
                f"data.root={folder}: the class folders of the training and {part} images differ in "
                f"{_some(sorted(differing))}. Each needs the same ones."
            )
    stray = [os.path.relpath(path, folder) for listing in listings.values() for path in listing.stray]
    if stray:
        logging.getLogger(__name__).warning(
            "data.root=%s: left aside what is not an image (%s) of a class folder: %s",
            *(folder, ", ".join(EXTENSIONS), _some(stray)),
        )


def _decode_all(
    folder: Path, listings: dict[str, Listing], size: tuple[int, int, int], threads: int
) -> tuple[dict[str, np.ndarray], str]:
    """Pixels (B, C, H, W) by part, and the digest of the files' contents."""
    images = {name: np.empty((len(listing.paths), *size), np.uint8) for name, listing in listings.items()}
    places = [place for pixels in images.values() for place in pixels]

    def read(path: str, place: np.ndarray) -> tuple[str, str]:
        try:
            content = Path(path).read_bytes()
            place[:] = decode(content, size).transpose(2, 0, 1)
        except Exception as error:  # whatever Pillow raises on a broken file
            return "", f"{os.path.relpath(path, folder)} ({error})"
        return sha256(content).hexdigest(), ""

    with strict(), ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(read, _all_paths(listings), places))
    broken = [mistake for _, mistake in results if mistake]
    if broken:
        raise DataError(
            f"data.root={folder}: {len(broken)} of {len(results)} images cannot be read. Repair or remove them:\n"
            f"{_some(broken)}"
        )
    return images, _digest(folder, listings, [content for content, _ in results])


def _all_paths(listings: dict[str, Listing]) -> list[str]:
    return [path for listing in listings.values() for path in listing.paths]


def _digest(folder: Path, listings: dict[str, Listing], contents: list[str]) -> str:
    names = [Path(path).relative_to(folder).as_posix() for path in _all_paths(listings)]
    return fingerprint(names, contents)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"

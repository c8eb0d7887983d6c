"""Folders of images, one folder a class."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convgrid.data.dataset import ImageData, check_classes, fingerprint
from convgrid.data.photos import image_size, load, num_workers, some
from convgrid.data.splits import divide
from convgrid.errors import ConfigError, DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SYSTEM_FILES = ("Thumbs.db", "desktop.ini")


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
        ConfigError: If a number is out of range.
        DataError: If folders or images are missing, classes do not agree, or images are corrupt, all named.
    """
    size = image_size(shape)
    threads = num_workers(workers)
    folder = _existing(root)
    listings = {name: _list(path) for name, path in _parts(folder).items()}
    train = listings["train"]
    _check_listings(folder, listings, num_classes)
    paths = {name: listing.paths for name, listing in listings.items()}
    source = f"data.root={folder}"
    images, marks = load(paths, size, folder=folder, source=source, memory_gib=memory_gib, threads=threads)
    names = [Path(path).relative_to(folder).as_posix() for part in paths.values() for path in part]
    parts = {name: (images[name], listing.targets) for name, listing in listings.items()}
    return divide(
        parts["train"],
        class_names=train.class_names,
        digest=fingerprint(names, marks),
        split=split,
        split_seed=split_seed,
        limit=limit,
        validation=parts.get("validation"),
        test=parts.get("test"),
    )


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
                f"{some(sorted(differing))}. Each needs the same ones."
            )
    stray = [os.path.relpath(path, folder) for listing in listings.values() for path in listing.stray]
    if stray:
        logging.getLogger(__name__).warning(
            "data.root=%s: left aside what is not an image (%s) of a class folder: %s",
            *(folder, ", ".join(EXTENSIONS), some(stray)),
        )

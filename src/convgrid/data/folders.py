"""Folders of images, one folder a class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from convgrid.data.dataset import ImageData, fingerprint
from convgrid.data.files import EXTENSIONS, left_out, readable, some
from convgrid.data.groups import groups_of_paths
from convgrid.data.listing import Listing, list_classes
from convgrid.data.origins import Origins
from convgrid.data.photos import contents, image_size, load, num_workers
from convgrid.data.splits import Pool, divide


def image_folder(
    *,
    root: str | None = None,
    shape: Sequence[int] = (3, 64, 64),
    num_classes: int | None = None,
    memory_gib: float = 2.0,
    workers: int | None = None,
    group: str | None = None,
    split: Sequence[float] = (0.8, 0.2),
    split_seed: int = 0,
    limit: int = 0,
) -> ImageData:
    """Photos sorted into one folder a class; the classes are the sorted folder names.

    `train/` (or `training/`), `validation/` (`val/`, `valid/`, `dev/`) and `test/` (`testing/`), in any case, are used
    as they are, where they exist; without a validation folder the training images, or all class folders of the root,
    are divided by `data.split`. Links are followed; hidden and system files and folders are left out. Images are turned
    upright by their EXIF orientation, resized (shorter side, antialiased bilinear) and cropped at the centre.

    Args:
        root: The folder itself.
        shape: Channels (3: RGB, 1: grey), and the height and width that images are resized to.
        num_classes: Number of class folders; None for as many as there are.
        memory_gib: Decoded once into memory up to so many GiB of pixels; a larger folder streams.
        workers: Threads that decode at load, or processes that stream; None for one a core, at most 8.
        group: A pattern over an image's path below its class folder, such as `(.+)_frame`: images whose match (its
            bracketed part, where it has one) is the same come into the same part, whatever their class. None for none.
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
    folder, listings, aside = list_classes(root, num_classes)
    groups = {name: groups_of_paths(listing.below, group) for name, listing in listings.items()}
    paths = {name: listing.paths for name, listing in listings.items()}
    source = f"data.root={folder}"
    images, marks, told = load(paths, size, folder=folder, source=source, memory_gib=memory_gib, threads=threads)
    names = {name: [Path(path).relative_to(folder).as_posix() for path in part] for name, part in paths.items()}
    every = iter(contents([path for part in paths.values() for path in part], marks))
    pools = {
        name: Pool(
            images[name],
            np.array(listing.targets, np.int64),
            origins=Origins.of(list(map(readable, names[name])), [next(every) for _ in listing.paths], groups[name]),
        )
        for name, listing in listings.items()
    }
    return divide(
        pools["train"],
        class_names=listings["train"].class_names,
        digest=fingerprint([name for part in names.values() for name in part], marks),
        split=split,
        split_seed=split_seed,
        limit=limit,
        validation=pools.get("validation"),
        test=pools.get("test"),
        notes=(*_notes(folder, listings, aside), *told),
    )


def _notes(folder: Path, listings: Mapping[str, Listing], aside: Sequence[str]) -> tuple[str, ...]:
    """Tell what was left aside, and why."""
    stray = [path for listing in listings.values() for path in listing.stray]
    hidden = [path for listing in listings.values() for path in listing.hidden]
    told = list(left_out(hidden, folder))
    if stray:
        names = some(readable(os.path.relpath(path, folder)) for path in stray)
        told.append(f"Left out, since not images of a class ({', '.join(EXTENSIONS)}): {len(stray)} ({names}).")
    if aside:
        told.append(f"Left out, since outside of the parts' folders: {len(aside)} ({some(map(readable, aside))}).")
    return tuple(told)

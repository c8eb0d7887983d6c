"""Class folders and the images in them: found and checked by their names alone, without reading an image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from convgrid.data.counts import check_classes
from convgrid.data.files import EXTENSIONS, is_folder, is_hidden, is_image, listed, readable, some, walk
from convgrid.errors import ConfigError, DataError

# What folders of the parts are called, in any case.
PART_FOLDERS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
FOLDER_PER_CLASS = "Put the images of each class in a folder of their own."
ANY_PART = {name for names in PART_FOLDERS.values() for name in names}


@dataclass(frozen=True)
class Listing:
    """The images below one folder of class folders, of each image its class and its path below the class folder."""

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    below: tuple[str, ...]
    targets: tuple[int, ...]
    stray: tuple[str, ...]
    hidden: tuple[str, ...]

    def numbered_as(self, class_names: Sequence[str]) -> Listing:
        """Number the classes in another part's order: names in other normal forms are sorted otherwise."""
        places = [class_names.index(name) for name in self.class_names]
        return replace(self, class_names=tuple(class_names), targets=tuple(places[target] for target in self.targets))


def list_classes(root: str | None, num_classes: int | None) -> tuple[Path, dict[str, Listing], list[str]]:
    """Find the class folders of each part.

    Args:
        root: What `data.root` says.
        num_classes: What `data.num_classes` says; None for as many as there are.

    Returns:
        The folder; the listings by part, their classes in the training's order; and what stands beside the parts.

    Raises:
        ConfigError: If no folder is given.
        DataError: If folders or images are missing, or the classes do not agree.
    """
    folder = existing_folder(root)
    places, aside = _parts(folder)
    listings = {name: _list(path) for name, path in places.items()}
    _check_listings(folder, listings, num_classes)
    names = listings["train"].class_names
    return folder, {part: listing.numbered_as(names) for part, listing in listings.items()}, aside


def existing_folder(root: str | None) -> Path:
    """Find the folder that `data.root` names.

    Raises:
        ConfigError: If none is given.
        DataError: If there is none.
    """
    if root is None:
        raise ConfigError("data.root must be given with data=image_folder: the folder that holds a folder a class.")
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise DataError(f"data.root={root} is not a folder. It must hold a folder of images for each class.")
    return folder


def _parts(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Folders of class folders by part, the root itself without a training folder; and what stands beside them."""
    entries = [entry.name for entry in listed(folder) if not is_hidden(entry.name)]
    found: dict[str, Path] = {}
    for part, known in PART_FOLDERS.items():
        named = [name for name in entries if name.lower() in known and any(_subfolders(folder / name))]
        if len(named) > 1:
            raise DataError(f"data.root={folder} holds several folders of {part} images: {some(named)}. Keep one.")
        if named:
            found[part] = folder / named[0]
    if "train" not in found:
        return {"train": folder}, []
    used = [path.name for path in found.values()]
    return found, [name for name in entries if name not in used]


def _list(folder: Path) -> Listing:
    names = _subfolders(folder)
    _check_folders(folder, names)
    paths: list[str] = []
    below: list[str] = []
    targets: list[int] = []
    entries = [entry for entry in listed(folder) if not (is_folder(entry) and not is_hidden(entry.name))]
    stray = [entry.path for entry in entries if not is_hidden(entry.name)]
    hidden = [entry.path for entry in entries if is_hidden(entry.name)]
    for index, name in enumerate(names):
        found = walk(folder / name)
        if not found.images:
            raise DataError(
                f"Class folder {folder / name} holds no images ({', '.join(EXTENSIONS)}). Fill or remove it."
            )
        paths += found.images
        below += [os.path.relpath(path, folder / name) for path in found.images]
        targets += [index] * len(found.images)
        stray += found.others
        hidden += found.hidden
    shown = tuple(map(readable, names))
    return Listing(shown, tuple(paths), tuple(below), tuple(targets), tuple(stray), tuple(hidden))


def _check_folders(folder: Path, names: Sequence[str]) -> None:
    """Refuse folders that are not classes, saying which folder was probably meant."""
    alike = [name for name in names if [readable(other) for other in names].count(readable(name)) > 1]
    if alike:
        raise DataError(
            f"{folder} holds class folders whose names look alike, of other Unicode forms: {some(map(ascii, alike))}. "
            "Rename or merge them."
        )
    if not names:
        raise DataError(f"{folder} holds no class folders. {_meant(folder) or FOLDER_PER_CLASS}")
    if all(name.lower() in ANY_PART for name in names):
        raise DataError(
            f"{folder} holds {some(names)}, which are parts, not classes, but no class folders for the training. "
            "Put the images of each class in a folder of their own inside of each part, such as train/cat, train/dog."
        )
    if len(names) == 1:
        raise DataError(
            f"{folder} holds a single class folder, {names[0]}, and a network needs two or more. "
            f"{_meant(folder) or FOLDER_PER_CLASS}"
        )
    for name in names:
        if _has_parts(folder / name):
            raise DataError(f"{folder / name} holds parts, so it is not a class. Use data.root={folder / name}.")
    inner = {_subfolders(folder / name) for name in names}
    if len(inner) == 1 and inner != {()} and not any(_holds_images(folder / name) for name in names):
        raise DataError(
            f"{folder}: its folders {some(names)} are not classes: they hold only folders of the same names "
            f"({some(next(iter(inner)))}). Use the one whose folders are classes, such as "
            f"data.root={folder / names[0]}, or name them train, validation and test."
        )


def _meant(folder: Path) -> str:
    """Which folder was probably meant, one level lower or higher, if any looks like it."""
    lower = [name for name in _subfolders(folder) if _has_parts(folder / name) or _has_classes(folder / name)]
    if lower:
        return f"Use data.root={folder / lower[0]}."
    higher = folder.parent.parent if folder.parent.name.lower() in ANY_PART else folder.parent
    if _has_parts(higher) or (_has_classes(higher) and walk(folder).images):
        return f"Use data.root={higher}."
    return ""


def _has_parts(folder: Path) -> bool:
    """Whether a folder holds folders of training images and others, with class folders."""
    named = {name.lower() for name in _subfolders(folder) if any(_subfolders(folder / name))}
    return bool(named & {*PART_FOLDERS["train"]} and named & (ANY_PART - {*PART_FOLDERS["train"]}))


def _has_classes(folder: Path) -> bool:
    """Whether two folders or more hold images right inside of them."""
    return sum(_holds_images(folder / name) for name in _subfolders(folder)) > 1


def _holds_images(folder: Path) -> bool:
    return any(is_image(entry.name) and not is_hidden(entry.name) for entry in listed(folder))


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(entry.name for entry in listed(folder) if is_folder(entry) and not is_hidden(entry.name))


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

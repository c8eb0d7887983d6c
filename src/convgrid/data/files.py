"""Which files below a folder are images: hidden and system files are left out, links are followed without loops."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convgrid.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
# What systems and viewers put among photos, thumbnails of the photos among it; in lower case.
SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "#recycle", "$recycle.bin")
MAX_NAMES_SHOWN = 5  # names in a message, before a count of the others


@dataclass
class Found:
    """What lies below a folder."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # files that are not images
    hidden: list[str] = field(default_factory=list)  # hidden and system files and folders, not looked into


def walk(folder: str | Path) -> Found:
    """Find the images below a folder, through links, each real folder once.

    Returns:
        Paths that start with the folder's, sorted.

    Raises:
        DataError: If a folder cannot be listed.

    Example:
        >>> walk("src/convgrid/data").images
        []
    """
    found, seen, waiting = Found(), set[tuple[int, int]](), [os.fspath(folder)]
    while waiting:
        place = waiting.pop()
        real = os.stat(place)
        if (real.st_dev, real.st_ino) in seen:
            continue
        seen.add((real.st_dev, real.st_ino))
        for entry in reversed(listed(place)):
            if is_hidden(entry.name):
                found.hidden.append(entry.path)
            elif is_folder(entry):
                waiting.append(entry.path)
            else:
                (found.images if is_image(entry.name) else found.others).append(entry.path)
    return Found(sorted(found.images), sorted(found.others), sorted(found.hidden))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Say whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def listed(folder: str | Path) -> list[os.DirEntry[str]]:
    """List a folder's entries, sorted by name.

    Raises:
        DataError: If it cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"{readable(str(folder))} cannot be listed ({error.strerror}). Check its permissions."
        ) from None


def is_image(name: str) -> bool:
    """Say whether a file's name is an image's."""
    return name.lower().endswith(EXTENSIONS)


def is_hidden(name: str) -> bool:
    """Say whether a file or folder is hidden, or one that systems make, whatever it holds.

    Example:
        >>> [is_hidden(name) for name in (".ipynb_checkpoints", "._1.jpg", "Thumbs.db", "__MACOSX", "1.jpg")]
        [True, True, True, True, False]
    """
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def left_out(hidden: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Tell what was left out for being hidden: one line, or none.

    Example:
        >>> left_out(["cats/a/.DS_Store"], Path("cats"))
        ('Left out as hidden or made by the system: 1 file or folder (a/.DS_Store).',)
    """
    if not hidden:
        return ()
    counted = f"{len(hidden)} {'file or folder' if len(hidden) == 1 else 'files or folders'}"
    names = some(readable(os.path.relpath(path, folder)) for path in hidden)
    return (f"Left out as hidden or made by the system: {counted} ({names}).",)


def readable(name: str) -> str:
    r"""Write a name so that it can be encoded: bytes that are not UTF-8 as \xe9, accents in one piece.

    Example:
        >>> readable("caf\udce9")
        'caf\\xe9'
    """
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "backslashreplace"))


def some(names: Iterable[str], most: int = MAX_NAMES_SHOWN) -> str:
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

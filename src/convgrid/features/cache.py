"""Files of features: shared by processes, bounded in size, and never more than a convenience. No torch."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from convgrid.errors import ConfigError
from convgrid.runs.files import replacing, sync

LIMIT = "CONVGRID_CACHE_GIB"  # the environment's variable
DEFAULT_GIB = 10.0  # where it says nothing
FEATURES_SUFFIX = ".safetensors"
PARTIAL = "partial."  # what the name of a file begins with that is not whole yet
LONGEST_HEADER = 2**16
RATE = "multiply-adds a second"  # that a file says it was made with


@dataclass(frozen=True)
class Entry:
    """A file of the cache.

    Args:
        used: When it was used last, in seconds since 1970.
        about: What it says of itself, such as "images" and "network".
    """

    path: Path
    size: int
    used: float
    about: Mapping[str, str]


class Cache:
    """Files below one folder; the least recently used ones go where all would take more than the limit.

    Args:
        folder: None for the user's own.
        limit: Bytes that all files together may take; None for what the environment says.

    Raises:
        ConfigError: If the environment says something that is not a size.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = folder or user_cache_path("convgrid") / "features"
        self.limit = _limit() if limit is None else limit

    def entries(self) -> list[Entry]:
        """List the files, the most recently used first."""
        found: list[Entry] = []
        for path in self.folder.glob(f"*{FEATURES_SUFFIX}"):
            with suppress(OSError):  # another process removes it
                status = path.stat()
                if not path.name.startswith(PARTIAL):
                    found.append(Entry(path, status.st_size, status.st_mtime, about(path)))
        return sorted(found, key=lambda entry: -entry.used)

    def find(self, key: str) -> Path | None:
        """Find a file, which counts as used from now on.

        Args:
            key: Hexadecimal digits.

        Returns:
            Where it is; None where it is not.
        """
        path = self._path(key)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError:  # of another user, who shares the folder
            pass
        return path

    @contextmanager
    def writing(self, key: str, size: int) -> Iterator[Path]:
        """Write a file in a place of its own; it has its name when it is whole and on the disk.

        Args:
            size: Bytes that it will take: older files go where there is no room for them.

        Yields:
            Where to write.

        Raises:
            OSError: If it cannot be written, or is larger than the limit.
        """
        if size > self.limit:
            raise OSError(f"{size / 2**30:.1f} GiB are more than {LIMIT}={self.limit / 2**30:g}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_partial()
        self._make_room(size)
        with replacing(self._path(key)) as partial:
            yield partial
            sync(partial)  # a power cut must not leave zeros under the name

    @contextmanager
    def lock(self, key: str, timeout: float = -1) -> Iterator[None]:
        """Keep other processes from making the same file at the same time; all locks are a few files that stay.

        Args:
            timeout: Seconds to wait for another process at most; below 0 waits until it is done.

        Raises:
            Timeout: If it is not done by then.
            OSError: If the folder cannot be written.
        """
        folder = self.folder / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / key[:2], timeout=timeout):
            yield

    def clear(self) -> list[Entry]:
        """Remove all files; those in use stay readable to who uses them.

        Returns:
            What was removed.

        Raises:
            OSError: If one cannot be.
        """
        gone = self.entries()
        for entry in gone:
            entry.path.unlink(missing_ok=True)
        self._remove_partial()
        return gone

    def _make_room(self, size: int) -> None:
        entries = self.entries()
        taken = sum(entry.size for entry in entries)
        while entries and taken + size > self.limit:
            oldest = entries.pop()
            with suppress(OSError):  # in use on Windows: then it stays
                oldest.path.unlink(missing_ok=True)
            taken -= oldest.size

    def _remove_partial(self) -> None:
        """What killed processes left: who is at work on a file holds its lock."""
        for path in self.folder.glob(f"{PARTIAL}*{FEATURES_SUFFIX}"):
            with suppress(OSError, Timeout), self.lock(path.name.removeprefix(PARTIAL), timeout=0):
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{FEATURES_SUFFIX}"


def about(path: Path) -> dict[str, str]:
    """Read what a safetensors file says of itself.

    Returns:
        Texts by name; nothing of a file that is damaged.
    """
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), LONGEST_HEADER)))
        return {str(name): str(text) for name, text in header["__metadata__"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _limit() -> int:
    text = os.environ.get(LIMIT) or str(DEFAULT_GIB)
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 2**20:
        raise ConfigError(
            f"{LIMIT}={text} is not a size in GiB. Give a number such as {DEFAULT_GIB:g}; 0 keeps nothing."
        )
    return int(found * 2**30)

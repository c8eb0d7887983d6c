"""`convgrid cache`: what features take on the disk."""

import time
from argparse import Namespace
from collections.abc import Sequence

from convgrid.errors import DiskError
from convgrid.features.cache import Cache, Entry
from convgrid.terminal import duration


def cache(asked: Namespace) -> int:
    """List the files of features, or remove them.

    Args:
        asked: `what`: "list" or "clear".

    Returns:
        The exit status.

    Raises:
        ConvgridError: If a file cannot be removed.
    """
    files = Cache()
    if asked.what == "clear":
        try:
            print(f"{files.folder}: removed {_total(files.clear())}")
        except OSError as error:
            raise DiskError(f"{files.folder} cannot be cleared: {error.strerror}.") from None
        return 0
    entries, now = files.entries(), time.time()
    print(f"{files.folder}: {_total(entries)} of at most {_size(files.limit)}")
    for entry in entries:
        images, network = entry.about.get("images", "?"), entry.about.get("network", "of another program")
        images = f"{int(images):,}" if images.isdecimal() else "?"
        used = duration(max(0.0, now - entry.used))
        print(f"  {_size(entry.size):>9}  {images:>9} images  used {used:>6} ago  {network!r}")
    return 0


def _total(entries: Sequence[Entry]) -> str:
    return f"{len(entries)} file{'s' * (len(entries) != 1)}, {_size(sum(entry.size for entry in entries))}"


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"

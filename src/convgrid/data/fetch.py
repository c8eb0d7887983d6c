"""Official files: found below the data root, fetched with checksums where missing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convgrid.errors import DataError

TIMEOUT = 10.0  # seconds to wait for a server's answer; there are no retries


def data_folder(root: str | None) -> Path:
    """Say where data lies.

    Args:
        root: What `data.root` says; None for the per-user cache folder.

    Returns:
        The folder; it need not exist yet.

    Example:
        >>> data_folder("/data")
        PosixPath('/data')
    """
    if root:  # an empty CONVGRID_DATA says nothing
        return Path(root).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("convgrid") / "data"


def fetch(folder: Path, base_url: str, checksums: Mapping[str, str | None], *, put: str) -> None:
    """Download missing files; only a whole file with the right checksum takes its name.

    Args:
        folder: Where the files go.
        base_url: What the files' addresses begin with.
        checksums: The files' names and what pooch is to check: a SHA-256, or `md5:` and an MD5; None for what
            the caller checks.
        put: What the user may do instead, for the message.

    Raises:
        DataError: If a file cannot be had.
    """
    import pooch

    downloader: Any = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT, chunk_size=2**16)
    for name, checksum in checksums.items():
        try:
            pooch.retrieve(base_url + name, checksum, fname=name, path=folder, downloader=downloader)
        except (OSError, ValueError) as error:
            lacking = ", ".join(other for other in checksums if not (folder / other).is_file())
            cause = f"Fetching {base_url}{name} failed: {_reason(error)}."
            raise DataError(f"{folder} lacks {lacking}. {cause}\n{put}") from error


def _reason(error: Exception) -> str:
    from requests import exceptions

    if isinstance(error, exceptions.Timeout):
        return f"no answer within {TIMEOUT:g} s"
    if isinstance(error, exceptions.ConnectionError):
        return f"no connection ({type(error).__name__})"
    if isinstance(error, ValueError) and "hash" in str(error):
        return "what came does not have the official checksum"
    return str(error)

"""A trial's weights: held by a command that reads them, and removed by a sweep only where nobody needs them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

from convgrid.runs.sweep import SWEEP, SWEEPS, read_sweep_or_tell
from convgrid.runs.trial import BEST, WORST

_winners: dict[Path, tuple[int, str | None]] = {}  # by a sweep's file, with when it was written


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep sweeps from removing a trial's weights while they are read.

    Args:
        folder: The trial's.
    """
    try:
        opened = (folder / BEST).open("rb")
    except OSError:  # who reads it says so
        yield
        return
    with opened:
        _lock(opened, shared=True)
        yield


def remove(folder: Path, sweeps: Path = SWEEPS) -> None:
    """Remove a trial's weights and its picture, unless a sweep names it as its winner or a command reads them.

    Args:
        folder: The trial's.
        sweeps: Where the sweeps' folders are.
    """
    if folder.name in _named(sweeps):
        return
    with suppress(FileNotFoundError), closing((folder / BEST).open("rb")) as opened:
        if not _lock(opened, shared=False):
            return
        (folder / BEST).unlink()
    (folder / WORST).unlink(missing_ok=True)


def _lock(opened: IO[bytes], *, shared: bool) -> bool:
    """Whether it was got; a disk without locks has no readers that would be asked."""
    try:
        import fcntl
    except ImportError:  # Windows, where no file is removed that is open
        return True
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(opened, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _named(sweeps: Path) -> set[str | None]:
    """The winners of all sweeps; a file is read again when it was written again."""
    found: set[str | None] = set()
    for file in sweeps.absolute().glob(f"*/{SWEEP}"):
        with suppress(OSError):
            written = file.stat().st_mtime_ns
            if _winners.get(file, (0, None))[0] != written:
                _winners[file] = written, (read_sweep_or_tell(file.parent) or {}).get("winner")
            found.add(_winners[file][1])
    return found

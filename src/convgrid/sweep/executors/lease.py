"""Until when the processes of a node may train: a moment in a file, which the node puts off and its workers read.

The node may be stopped, or its link cut, while its workers train on: so they look themselves, each in a thread.
"""

import mmap
import os
import struct
import time
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path

LEASE_POLL_INTERVAL = 0.5  # seconds between two looks of a worker
LAPSED = 75  # exit status of a worker whose lease is over, sysexits' "temporary failure"
_MOMENT = struct.Struct("=d")


def clock() -> float:
    """Seconds since this machine was started, those asleep included where the system counts them (Linux)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lease:
    """A moment of this machine's clock after which nothing may be trained.

    Args:
        file: Where it is kept; made where it does not exist, and over from the start.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.exists():
            file.write_bytes(_MOMENT.pack(0.0))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), _MOMENT.size)

    def put_off(self, until: float) -> None:
        """Let it last longer, never shorter.

        Args:
            until: By `clock`.
        """
        _MOMENT.pack_into(self._shared, 0, max(until, self._until))

    def end(self) -> None:
        """It is over now."""
        _MOMENT.pack_into(self._shared, 0, 0.0)

    @property
    def left(self) -> float:
        """Seconds that it lasts; below 0 once it is over."""
        return self._until - clock()

    @property
    def _until(self) -> float:
        return _MOMENT.unpack_from(self._shared, 0)[0]


def end_with_parent_or_lease(file: str | None) -> None:
    """Wait until this process must end, and end it: a worker's thread does.

    Args:
        file: Of the lease; None where the end of the parent is the only cause.
    """
    parent, lease = parent_process(), None if file is None else Lease(Path(file))
    assert parent is not None
    while not wait([parent.sentinel], None if lease is None else LEASE_POLL_INTERVAL):
        if lease is not None and lease.left < 0:  # the scheduler gives the trial to another: not a step more
            os._exit(LAPSED)
    os._exit(1)

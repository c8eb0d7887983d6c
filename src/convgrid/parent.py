"""A process that ends with the one that started it."""

import ctypes
import os
import signal
import sys

PARENT = "CONVGRID_PARENT"  # the variable that says who that is
_PDEATHSIG = 1  # of prctl(2)


def end_with_parent() -> None:
    """Let Linux kill this process once its parent has ended, even while it imports.

    The fork server would go on importing for a sweep that was refused, and take its time to end after the others: who
    reads all that a sweep prints waits for all that could print. To Linux, the parent is the thread that started this
    process: start it from one that lasts.

    Source: prctl(2).
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
        parent = str(os.getppid())
        if os.environ.get(PARENT, parent) != parent:  # it was faster
            os._exit(1)

"""What Python's collector does while libraries are imported, and the C library's allocator with freed memory."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # of mallopt(3)


def keep_freed_memory() -> None:
    """Let a step take the memory that the step before it freed, instead of asking the kernel for zeroed pages again.

    glibc maps every tensor above 32 MiB anew, which took half of the time to train on 150x150 images
    (`benchmarks/memory.py`). Elsewhere than on Linux with glibc it does nothing.

    Example:
        >>> keep_freed_memory()

    Source: mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def uncollected() -> Iterator[None]:
    """Import large libraries without Python's garbage collector, and leave what they make out of all that it does.

    torch and Lightning make half a million objects that live as long as the process. The collector would look through
    them many times, for a third of the seconds that they take to import, and once more at the process's end.

    Example:
        >>> with uncollected():
        ...     import torch

    Source: https://docs.python.org/3/library/gc.html#gc.freeze
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()

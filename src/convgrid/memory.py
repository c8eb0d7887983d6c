"""What the C library's allocator does with freed memory."""

import ctypes
import sys

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

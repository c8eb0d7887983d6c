"""What Python's collector does while libraries are imported, and the C library's allocator with freed memory."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # of mallopt(3)
_DEFAULTS = {_MMAP_MAX: 65536, _TRIM_THRESHOLD: 128 * 1024}


def keep_freed_memory() -> None:
    """Let a step take the memory that the step before it freed, instead of asking the kernel for zeroed pages again.

    glibc maps every tensor above 32 MiB anew, which took half of the time to train on 150x150 images
    (`benchmarks/memory.py`). Elsewhere than on Linux with glibc it does nothing.

    Example:
        >>> keep_freed_memory()

    Source: mallopt(3).
    """
    library = _glibc()
    if library is not None:
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep it for a while, and give it back at the end: the process may go on, as a notebook's does.

    Example:
        >>> with freed_memory_kept():
        ...     steps = 3
    """
    keep_freed_memory()
    try:
        yield
    finally:
        library = _glibc()
        if library is not None:
            for name, value in _DEFAULTS.items():
                library.mallopt(name, value)
            library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None  # musl has neither


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

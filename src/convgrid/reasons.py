"""What went wrong, in one line: its kind, and its words."""

import errno

from convgrid.errors import ConvgridError, DiskError

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
MEMORY = ("can't allocate memory", "out of memory", "unable to mmap")  # as torch words it


def cause_of(error: BaseException) -> str:
    """Name the kind of trouble that an exception is.

    Args:
        error: What was raised.

    Returns:
        "disk", "memory", "mistake" (of a person's, or a divergence), or "".

    Example:
        >>> cause_of(MemoryError())
        'memory'
    """
    if isinstance(error, DiskError) or (isinstance(error, OSError) and error.errno in DISK):
        return "disk"
    if isinstance(error, MemoryError) or any(word in str(error) for word in MEMORY):
        return "memory"
    return "mistake" if isinstance(error, ConvgridError) else ""


def reason_of(error: BaseException) -> str:
    """Say in one line what an exception is; a person's mistake under no other name than its own.

    Args:
        error: What was raised.

    Returns:
        The line.

    Example:
        >>> reason_of(ZeroDivisionError("division by zero"))
        'ZeroDivisionError: division by zero'
    """
    words = " ".join(str(error).split())
    if cause_of(error) == "memory":
        return f"out of memory: {words}"
    return words if isinstance(error, ConvgridError) else f"{type(error).__name__}: {words}"

"""The mistakes that the user can make, each told in one to three lines: the key as typed, the cause, the fix."""

import errno
import re
from collections.abc import Callable, Iterable, Sequence

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
MEMORY = ("can't allocate memory", "out of memory", "unable to mmap")  # as torch words it


class ConvgridError(ValueError):
    """The user's mistake; the entry points tell it without a traceback and exit with status 1."""

    def __str__(self) -> str:
        """Its text; what a library says and a full stop of ours may end in two."""
        return re.sub(r"(?<=\w)\.\.(?=\s|$)", ".", super().__str__())

    def tell(self) -> str:
        """The mistake under the name of its class, as it is printed."""
        return f"{type(self).__name__}: {self}"

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return self.tell().splitlines()


class ConfigError(ConvgridError):
    """A key, an option or a value of the config that is not allowed."""


class PatternError(ConvgridError):
    """An architecture pattern that cannot be parsed, with a caret under the column."""


class PlanError(ConvgridError):
    """An architecture whose sizes do not work out."""


class DataError(ConvgridError):
    """A data set that is missing, incomplete or corrupt."""


class RunError(ConvgridError):
    """A run with a file that is damaged."""


class SweepError(RunError):
    """A sweep whose file is damaged."""


class TrainingError(ConvgridError):
    """A training that cannot go on."""


class DivergenceError(TrainingError):
    """A training whose loss is no longer finite."""


class DiskError(ConvgridError):
    """A disk that is full or cannot be written: what was interrupted can go on later."""


class ModelError(ConvgridError):
    """A trained model that cannot be found, put together again, exported or asked."""


class TrackingError(ConvgridError):
    """A tracking store that cannot be used, or does not hold a run."""


class Mistakes(ConvgridError):
    """Several mistakes, told together."""

    def __init__(self, errors: Sequence[ConvgridError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(dict.fromkeys(error.tell() for error in errors)))

    def tell(self) -> str:
        """One mistake after the other, each under the name of its class."""
        return str(self)


def gather(checks: Iterable[Callable[[], object]]) -> list[ConvgridError]:
    """Make all checks, whatever comes of each.

    Args:
        checks: Each may raise one mistake or several.

    Returns:
        Every single mistake, in order.
    """
    found: list[ConvgridError] = []
    for check in checks:
        try:
            check()
        except Mistakes as several:
            found += several.errors
        except ConvgridError as error:
            found.append(error)
    return found


def refuse(mistakes: Sequence[ConvgridError]) -> None:
    """Raise what was found wrong, if anything was.

    Args:
        mistakes: One is raised as it is, several together.

    Raises:
        ConvgridError: If there are any.
    """
    if mistakes:
        raise mistakes[0] if len(mistakes) == 1 else Mistakes(mistakes)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGUSR1 ended a training that can go on later; the message says how."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return [str(self)]


def cause_of(error: BaseException) -> str:
    """Name the kind of trouble that an exception is.

    Returns:
        "disk", "memory", "mistake" (of the user's, or a divergence), or "".

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
    """Say in one line what an exception is; the user's mistake under no other name than its own.

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

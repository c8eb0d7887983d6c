"""How a command ends: a mistake, Ctrl-C or a pipe that nobody reads is told in a line at most, without a traceback."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from convgrid.errors import ConvgridError, Interrupted
from convgrid.system.text import escaped

BROKEN_PIPE = 141  # what a shell says of a program that SIGPIPE ended


class Lasting:
    """A stream that takes what it cannot write, so that work goes on: what is printed of a training is not all of it.

    Args:
        stream: Where to, as long as that can be written.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or drop, a text."""
        self._unless_failed(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Write, or drop, what is left."""
        self._unless_failed(self.stream.flush)

    def _unless_failed(self, write: Callable[[], object]) -> None:
        try:
            if self.failure is None:
                write()
        except OSError as error:
            self.failure = error
            _drop(self.stream)

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


def exit_status(work: Callable[[], int]) -> int:
    """Work, and tell on stderr what the user did wrong.

    Args:
        work: What a command does; gives its exit status.

    Returns:
        That status; 1 after the user's mistake or where the output cannot be written, 130 after Ctrl-C, 141 where
        nobody reads the output.

    Example:
        >>> exit_status(lambda: 0)
        0
    """
    _open_closed_streams()
    status = 0
    with _lasting_stderr():
        try:
            status = _work(work)
            sys.stdout.flush()  # what is left would fail behind the last line of Python
        except OSError as error:
            cause = _failure(sys.stdout)
            if cause is None:  # it was not the output
                raise
            _drop(sys.stdout)
            status = status or unwritten(cause if error.errno is None else error)
    return status


def unwritten(error: OSError) -> int:
    """Tell why the output could not be written, where anybody would want to know.

    Returns:
        The exit status.
    """
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    _say(f"The output cannot be written: {error.strerror}.")
    return 1


@contextmanager
def _lasting_stderr() -> Iterator[None]:
    """Let a note that cannot be told stop nothing."""
    lasting = Lasting(sys.stderr)
    sys.stderr = cast("TextIO", lasting)
    try:
        yield
    finally:
        sys.stderr = lasting.stream


def _work(work: Callable[[], int]) -> int:
    try:
        return work()
    except ConvgridError as error:
        _say(error.tell())
        return 1
    except KeyboardInterrupt as interrupt:
        _say(f"\n{interrupt if isinstance(interrupt, Interrupted) else 'Stopped.'}")
        return 130
    except SystemExit as end:  # argparse's or Hydra's, after --help; or rich's, whose pipe nobody reads
        if isinstance(end.__context__, BrokenPipeError):
            _drop(sys.stdout)
            return unwritten(end.__context__)
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _drop(stream: TextIO) -> None:
    """Drop what is left in a stream: Python would try to write it once more with each new process, and at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _failure(stream: TextIO) -> OSError | None:
    """Why a stream takes nothing; None where it does."""
    try:
        stream.write("\n")
        stream.flush()
    except OSError as error:
        return error
    return None


def _say(text: str) -> None:
    print(escaped(text), file=sys.stderr, flush=True)


def _open_closed_streams() -> None:
    """Write to nowhere where the shell closed a stream: the next file to be opened would take its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115

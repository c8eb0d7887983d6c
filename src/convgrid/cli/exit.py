"""How a command ends: a mistake, Ctrl-C or a pipe that nobody reads is told in a line at most, without a traceback."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from convgrid.errors import ConvgridError, Interrupted

BROKEN_PIPE = 141  # what a shell says of a program that SIGPIPE ended


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
    try:
        status = _work(work)
        sys.stdout.flush()  # what is left would fail behind the last line of Python
    except OSError as error:
        cause = _failure(sys.stdout) or _failure(sys.stderr)
        if cause is None:  # it was not the output
            raise
        status = _without_output(cause if error.errno is None else error)
    return status


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
            return _without_output(end.__context__)
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _without_output(error: OSError) -> int:
    """Drop what is left of the output, which Python would try to write once more when it ends."""
    for stream in (sys.stdout, sys.stderr):
        if _failure(stream) is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    _say(f"The output cannot be written: {error.strerror}.")
    return 1


def _failure(stream: TextIO) -> OSError | None:
    """Why a stream takes nothing; None where it does."""
    try:
        stream.write("\n" if stream is sys.stdout else "")  # stderr keeps what it could not write
        stream.flush()
    except OSError as error:
        return error
    return None


def _say(text: str) -> None:
    with suppress(OSError):  # then nobody can be told
        print(text, file=sys.stderr, flush=True)


def _open_closed_streams() -> None:
    """Write to nowhere where the shell closed a stream: the next file to be opened would take its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115

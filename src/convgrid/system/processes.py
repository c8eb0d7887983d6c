"""How processes are started, what ends them, and what signals mean to them."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from typing import Any

PARENT = "CONVGRID_PARENT"  # the variable that says whose end is that of a process as well
HAS_FORK_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
_PDEATHSIG = 1  # of prctl(2)


def warm_up() -> None:
    """Start the fork server, which imports torch and Lightning while the caller goes on."""
    if HAS_FORK_SERVER:
        os.environ[PARENT] = str(os.getpid())
        multiprocessing.set_forkserver_preload(["convgrid.sweep.preload"])
        # It inherits what is ignored: Ctrl-C, and SIGTERM to the whole group, are for the sweep's process.
        with handled_by(signal.SIG_IGN):
            forkserver.ensure_running()


@contextlib.contextmanager
def handled_by(handler: Callable[[int, Any], None] | signal.Handlers) -> Iterator[None]:
    """Handle what asks a sweep to end, SIGINT and SIGTERM, otherwise for a while.

    Args:
        handler: As for `signal.signal`.
    """
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def start(target: Callable[..., None], *args: Any) -> BaseProcess:
    """Start a process: from the fork server, warm; or a bare one.

    Args:
        target: What it does, a function of a module.

    Returns:
        The process; a normal end of this one ends it.
    """
    context = multiprocessing.get_context("forkserver") if HAS_FORK_SERVER else multiprocessing.get_context("spawn")
    process = context.Process(target=target, args=args, daemon=True)
    process.start()
    return process


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

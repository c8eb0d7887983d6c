"""How processes are started, what ends them, and what signals mean to them."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

PARENT = "CONVGRID_PARENT"  # the variable that says whose end is that of a process as well
HAS_FORK_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
PREEMPTED = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))  # as clusters do
ENDING = (signal.SIGINT, *PREEMPTED)  # what asks a training to end
_PDEATHSIG = 1  # of prctl(2)


def warm_up() -> None:
    """Start the fork server, which imports torch and Lightning while the caller goes on."""
    if HAS_FORK_SERVER:
        from convgrid.system.forking import SERVER  # Windows cannot import it

        resource_tracker.ensure_running()  # which the server would start first, and let signals through behind it
        with _kept_waiting(), _variable(PARENT, str(os.getpid())):
            SERVER.ensure_running()


@contextlib.contextmanager
def _kept_waiting() -> Iterator[None]:
    """Let signals wait for the end of the block; a process that is started in it begins so, until `ignore_ending`.

    Ignored meanwhile, as the new process shall ignore them, a Ctrl-C of the user would be lost.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_ending() -> None:
    """Ignore, in the fork server, what was kept waiting: signals to the group are for the sweep's process."""
    waiting = signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {*ENDING}
    for number in waiting:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, waiting)


def cooled_down() -> AbstractContextManager[None]:
    """End the fork server at the end: a process that goes on, such as a notebook's, keeps nothing of a sweep."""
    if not HAS_FORK_SERVER:
        return contextlib.nullcontext()
    from convgrid.system.forking import SERVER  # as above

    return SERVER.used()


@contextlib.contextmanager
def handled_by(handler: Callable[[int, Any], None] | signal.Handlers) -> Iterator[None]:
    """Handle what asks a training to end, SIGINT, SIGTERM and SIGUSR1, otherwise for a while.

    Args:
        handler: As for `signal.signal`; nothing is handled outside of the main thread, where no signal arrives.
    """
    with _handled(ENDING, handler):
        yield


@contextlib.contextmanager
def preempted_as_interrupted() -> Iterator[None]:
    """Take SIGTERM and SIGUSR1, by which clusters announce an end, for Ctrl-C for a while: a run can go on later.

    Only the first one counts, so that nothing that is written at the end is torn.
    """
    came: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        came.append(number)
        if len(came) == 1:
            raise KeyboardInterrupt

    with _handled(PREEMPTED, interrupt):
        yield


@contextlib.contextmanager
def _handled(numbers: Sequence[int], handler: Callable[[int, Any], None] | signal.Handlers) -> Iterator[None]:
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers if is_main}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment, which a new process inherits, for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def start(target: Callable[..., None], *args: Any) -> BaseProcess:
    """Start a process: from the fork server, warm; or a bare one.

    Args:
        target: What it does, a function of a module.

    Returns:
        The process; a normal end of this one ends it.
    """
    if HAS_FORK_SERVER:
        from convgrid.system.forking import Forked  # as above

        warm_up()  # should it have ended
        process: BaseProcess = Forked(target=target, args=args, daemon=True)
    else:
        process = multiprocessing.get_context("spawn").Process(target=target, args=args, daemon=True)
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

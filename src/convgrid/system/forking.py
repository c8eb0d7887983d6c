"""A fork server of convgrid's own; multiprocessing's private names are gathered here.

multiprocessing has one fork server a process, which is the user's: what it imports before it forks, and when it ends,
is theirs to say. And its processes import `__main__` anew, which `python -` does not have, and which trains everything
again in a script without `if __name__ == "__main__"`. Workers name nothing of `__main__`.
"""

import contextlib
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import popen_forkserver, process, reduction, util
from multiprocessing.context import set_spawning_popen
from multiprocessing.forkserver import ForkServer, read_signed
from threading import Lock
from typing import Any, cast

PRELOAD = "convgrid.sweep.preload"


class LazyForkServer:
    """Starts with the first process, or `ensure_running`; ends with this process, or when nobody uses it any more."""

    def __init__(self) -> None:
        self._server: Any = ForkServer()
        self._server.set_forkserver_preload([PRELOAD])
        self._users, self._lock = 0, Lock()

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """End the server at the end, unless someone else uses it."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._end()

    def _end(self) -> None:
        """By a signal: by itself it ends after all that it has forked, which a Ctrl-C may have left half started."""
        for child in multiprocessing.active_children():
            if isinstance(child, Forked):
                child.kill()
                child.join()
        if self._server._forkserver_pid is not None:
            os.kill(self._server._forkserver_pid, signal.SIGKILL)
        self._server._stop()

    def ensure_running(self) -> None:
        """Start it, where it does not run yet; it imports what its processes need."""
        vars(sys.modules["__main__"]).setdefault("__spec__", None)  # which is asked for, and IPython's %reset deletes
        chosen = multiprocessing.get_start_method(allow_none=True)
        try:
            self._server.ensure_running()
        finally:
            if chosen is None:  # to ask for it is to choose it, and that is the user's to do
                multiprocessing.set_start_method(None, force=True)

    def connect(self, fds: list[int]) -> tuple[int, int]:
        """Let it fork.

        Args:
            fds: What the new process inherits.

        Returns:
            Where to read of the process, and where to write what it does.
        """
        self.ensure_running()
        return self._server.connect_to_new_process(fds)


SERVER = LazyForkServer()


class Forked(process.BaseProcess):
    """A process that the server forks."""

    _start_method = "forkserver"

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> "_Popen":
        return _Popen(process_obj)


class _Popen(popen_forkserver.Popen):
    """As multiprocessing's, less the import of `__main__`, with convgrid's server."""

    def _launch(self, process_obj: process.BaseProcess) -> None:
        sent = io.BytesIO()
        set_spawning_popen(cast(Any, self))
        try:
            reduction.dump(_place(process_obj.name), sent)
            reduction.dump(process_obj, sent)
        finally:
            set_spawning_popen(None)
        self.sentinel, write = SERVER.connect(self._fds)  # pyright: ignore[reportAttributeAccessIssue]
        parent_sentinel = os.dup(write)  # the process waits for its end
        self.finalizer = util.Finalize(self, _close, (parent_sentinel, self.sentinel))
        try:
            with open(write, "wb", closefd=True) as pipe:
                pipe.write(sent.getbuffer())
            self.pid = read_signed(self.sentinel)
        except BaseException:  # Ctrl-C, while the server still imports
            self.finalizer()  # the process takes it for the end of this one
            raise


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _place(name: str) -> dict[str, Any]:
    """Where a process works and finds its modules: a folder "" among them is the working folder."""
    key = process.current_process().authkey
    return {"name": name, "authkey": key, "sys_path": [*sys.path], "sys_argv": [*sys.argv], "dir": os.getcwd()}

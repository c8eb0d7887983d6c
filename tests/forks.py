"""Processes of tests that need not import torch, Lightning or MLflow again: forks of the one that runs the test."""

import contextlib
import gc
import multiprocessing
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch

import convgrid.sweep
from convgrid.cli.main import main
from convgrid.sweep import winner_artifacts
from convgrid.sweep.executors import local
from convgrid.system import forking
from convgrid.system.imports import import_lightning
from convgrid.tracking import writer
from convgrid.tracking.writer_process import serve

_forgotten: list[object] = []  # what a fork shall not close


def fork(work: Callable[..., object], *args: Any) -> BaseProcess:
    """Start a process that does some work, and ends with 1 where that raises.

    Its torch takes one thread: it lacks the threads of the process that it is a copy of, and would wait for them.
    """
    process = multiprocessing.get_context("fork").Process(target=_alone, args=(work, *args))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: there are threads, such as pytest-xdist's
        process.start()
    return process


def _alone(work: Callable[..., object], *args: Any) -> None:
    gc.freeze()  # the collector would look through all that pytest holds
    torch.set_num_threads(1)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # not those that pytest has put in their places
    forking.SERVER = forking.LazyForkServer()  # that of another process cannot be waited for
    work(*args)


def fork_workers(patch: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let the processes of sweeps be forks of this process, not of a fork server, which has to import torch first.

    They are killed at the end: none sees that its pipe is closed, since the others hold it as well.

    Args:
        patch: `monkeypatch.setattr`, in a test's own process; a fork needs nothing undone.
    """
    end = local.Local._end

    def killed(self: local.Local, its: Any, *, kill: bool) -> None:
        end(self, its, kill=True)

    patch(local, "start", fork)
    patch(winner_artifacts, "start", fork)
    patch(local.Local, "_end", killed)
    patch(convgrid.sweep, "warm_up", lambda: None)


def fork_writers(patch: Callable[[Any, str, Any], None]) -> None:
    """Let the writers of runs and sweeps be forks of this process, which has MLflow already.

    Args:
        patch: `monkeypatch.setattr`.
    """
    import convgrid.tracking.learning_curves
    import convgrid.tracking.sync  # noqa: F401

    patch(writer, "subprocess", SimpleNamespace(PIPE=subprocess.PIPE, Popen=_Writer))


class _Writer:
    """What `subprocess.Popen` gives of a writer's process, of a fork."""

    def __init__(self, command: list[str], *, stderr: IO[bytes], env: dict[str, str], **_: object) -> None:
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        streams = (theirs_in, theirs_out, stderr.fileno())
        self._process = fork(_write, command[-1], env, streams, (ours_out, ours_in))
        os.close(theirs_in)
        os.close(theirs_out)
        self.stdin, self.stdout = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> None:
        self._process.join()

    def communicate(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self._process.join()
        self.stdout.close()


def _write(options: str, env: dict[str, str], streams: tuple[int, ...], of_the_other: tuple[int, ...]) -> None:
    os.setpgid(0, 0)
    for number in of_the_other:
        os.close(number)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  (it lives as long as the process)
    sys.argv[1:] = [options]
    os.environ.update(env)
    _forget_stores()
    serve()


def _forget_stores() -> None:
    """In a fork: open databases anew, whose connections are not for two processes, and close none of the other's."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking._tracking_service import registry

    _forgotten.append(SqlAlchemyStore._engine_map)
    SqlAlchemyStore._engine_map = {}
    registry.TrackingStoreRegistry._get_store_with_resolved_uri.cache_clear()


def fork_convgrid(folder: Path, said: Path, *words: str) -> BaseProcess:
    """Start a process that does what `python -m convgrid WORDS` does in a folder, with `fork_workers`.

    Args:
        folder: In which it is typed; modules are found in its `mine`.
        said: Gets what it prints.
    """
    return fork_within(folder, said, _type, *words)


def import_for_forks() -> None:
    """Import here what sweeps need, so that all forks have it."""
    import_lightning()

    import convgrid.compare.report
    import convgrid.sweep.worker  # noqa: F401


def fork_within(folder: Path, said: Path, work: Callable[..., object], *args: Any) -> BaseProcess:
    """Start a process that works in a folder, and has Lightning imported.

    Args:
        folder: Modules are found in its `mine`.
        said: Gets what it prints.
    """
    import_for_forks()
    return fork(_within, folder, said, work, args)


def _within(folder: Path, said: Path, work: Callable[..., object], args: tuple[Any, ...]) -> None:
    os.setsid()
    os.chdir(folder)
    sys.path.insert(0, str(folder / "mine"))
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    work(*args)


def _type(*words: str) -> None:
    fork_workers()
    sys.exit(main(words))

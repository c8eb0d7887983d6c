"""Processes of tests that need not import torch, Lightning or MLflow again: forks of the one that runs the test."""

import gc
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

import convgrid.sweep
from convgrid.cli.main import main
from convgrid.sweep import winner_artifacts
from convgrid.sweep.executors import local
from convgrid.system import forking
from convgrid.system.imports import import_lightning


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


def fork_workers() -> None:
    """In a fork: let the processes of its sweeps be forks of it, not of a fork server, which has to import torch first.

    They are killed at the end: none sees that its pipe is closed, since the others hold it as well.
    """
    end = local.Local._end

    def killed(self: local.Local, its: Any, *, kill: bool) -> None:
        end(self, its, kill=True)

    local.start, local.Local._end = fork, killed
    winner_artifacts.start = fork
    convgrid.sweep.warm_up = lambda: None


def fork_convgrid(folder: Path, said: Path, *words: str) -> BaseProcess:
    """Start a process that does what `python -m convgrid WORDS` does in a folder, with `fork_workers`.

    Args:
        folder: In which it is typed; modules are found in its `mine`.
        said: Gets what it prints.
    """
    return fork_within(folder, said, _type, *words)


def fork_within(folder: Path, said: Path, work: Callable[..., object], *args: Any) -> BaseProcess:
    """Start a process that works in a folder, and has Lightning imported.

    Args:
        folder: Modules are found in its `mine`.
        said: Gets what it prints.
    """
    import_lightning()  # here, so that all forks have them

    import convgrid.compare
    import convgrid.sweep.worker  # noqa: F401

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

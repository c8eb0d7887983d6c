"""Processes of tests that need not import torch, Lightning or MLflow again: forks of the one that runs the test."""

import multiprocessing
import sys
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import torch


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
    torch.set_num_threads(1)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # not those that pytest has put in their places
    work(*args)

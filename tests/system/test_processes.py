"""What convgrid starts leaves the process that started it as it was."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import Pipe, forkserver
from pathlib import Path
from typing import Any

import pytest

from convgrid.system import forking
from convgrid.system.processes import PARENT, cooled_down, handled_by, ignore_ending, start, warm_up


def tell_place(connection: Any) -> None:
    connection.send((os.getcwd(), sys.path[0], sys.modules["__main__"].__dict__.get("__file__"), os.getppid()))


@pytest.fixture
def place_of_a_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[str, str, str | None, int]]:
    """By a server that does not import torch, which takes seconds."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(forking, "PRELOAD", "convgrid.system.processes")
    monkeypatch.setattr(forking, "SERVER", forking.LazyForkServer())

    def ask() -> tuple[str, str, str | None, int]:
        from test_processes import tell_place  # by a name that another process finds as well

        ours, theirs = Pipe()
        process = start(tell_place, theirs)
        process.join()
        return ours.recv()

    return ask


def test_a_process_works_where_it_was_started_without_main(
    in_tmp: Path, place_of_a_process: Callable[[], tuple[str, str, str | None, int]]
) -> None:
    with cooled_down():
        folder, path, main, _ = place_of_a_process()
    assert (folder, path, main) == (str(in_tmp), str(Path(__file__).parent), None)


def test_nothing_of_multiprocessing_is_chosen_for_the_user(
    place_of_a_process: Callable[[], tuple[str, str, str | None, int]],
) -> None:
    before = (multiprocessing.get_start_method(allow_none=True), forkserver._forkserver.__dict__.copy(), {**os.environ})
    with cooled_down():
        warm_up()
        *_, server = place_of_a_process()
        assert Path(f"/proc/{server}").exists()
    after = (multiprocessing.get_start_method(allow_none=True), forkserver._forkserver.__dict__.copy(), {**os.environ})
    assert after == before
    assert PARENT not in os.environ
    assert not Path(f"/proc/{server}").exists()


def test_a_main_module_that_a_notebook_has_emptied_is_no_hindrance(
    place_of_a_process: Callable[[], tuple[str, str, str | None, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(sys.modules["__main__"], "__spec__")
    with cooled_down():
        assert place_of_a_process()[0] == str(Path.cwd())


def test_the_server_stays_while_another_sweep_uses_it(
    place_of_a_process: Callable[[], tuple[str, str, str | None, int]],
) -> None:
    with cooled_down():
        with cooled_down():
            *_, first = place_of_a_process()
        *_, second = place_of_a_process()
    assert first == second


def test_signals_are_handled_in_the_main_thread_alone_and_given_back() -> None:
    found: list[object] = []
    before = signal.getsignal(signal.SIGINT)

    def look() -> None:
        with handled_by(signal.SIG_IGN):
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    look()
    assert found == [before, signal.SIG_IGN]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_the_server_is_started_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        """To this thread: another one, such as pytest-xdist's, may handle what is sent to the process, and too late."""
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    monkeypatch.setattr(forking.SERVER, "ensure_running", interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            warm_up()
    finally:
        signal.signal(signal.SIGINT, before)
    assert PARENT not in os.environ


def test_only_what_was_kept_waiting_is_ignored() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    interrupted = signal.getsignal(signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        ignore_ending()
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is interrupted
        assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        signal.signal(signal.SIGUSR1, before)


SWEEP = """
import sys
from convgrid.__main__ import main
sys.argv[1:] = "run -m data=digits data.limit=100 trainer=debug tracking=none arch.n=1,2 sweep.workers=2".split()
main()
"""


def test_a_sweep_of_a_program_from_stdin_is_trained_once(in_tmp: Path) -> None:
    """It has no file, and no main guard; tests/test_api.py has a script."""
    done = subprocess.run([sys.executable, "-"], input=SWEEP, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("is best") == 1

"""Which worker sees which GPU, with a stand-in for how many torch finds."""

from types import SimpleNamespace
from typing import Any

import pytest

from convgrid.sweep.executors import local
from convgrid.sweep.executors.local import VISIBLE, Local
from forks import fork


@pytest.mark.parametrize(
    ("inherited", "count", "slots"),
    [
        (None, 2, ["0", "0", "1", "1"]),
        ("2,3", 2, ["2", "2", "3", "3"]),
        ("GPU-8932f937, GPU-0aa1", 2, ["GPU-8932f937", "GPU-8932f937", "GPU-0aa1", "GPU-0aa1"]),
        ("5,-1,7", 1, ["5", "5"]),  # CUDA stops at what it does not know
        ("MIG-4a,MIG-4b", 1, ["MIG-4a", "MIG-4a", "MIG-4b", "MIG-4b"]),  # a process uses one
    ],
)
def test_workers_see_the_gpus_that_this_process_was_given_and_no_others(
    monkeypatch: pytest.MonkeyPatch, inherited: str | None, count: int, slots: list[str]
) -> None:
    if inherited is None:
        monkeypatch.delenv(VISIBLE, raising=False)
    else:
        monkeypatch.setenv(VISIBLE, inherited)
    started: list[str | None] = []

    def start(local: Any, number: int) -> Any:
        started.append(local._slots[number])
        return SimpleNamespace()

    monkeypatch.setattr(Local, "_start", start)
    monkeypatch.setattr(Local, "_end", lambda *_, **__: None)
    monkeypatch.setattr(Local, "_ready", lambda *_: count)
    Local(workers=None, trials_per_gpu=2, threads=1, accelerator="auto")
    assert started == [None, *slots]  # the first one sees them all, and counts


def test_a_worker_that_cannot_start_is_told_before_it_gets_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine whose torch is broken: a node of such workers is refused, and no trial is blamed."""
    monkeypatch.setattr(local, "start", lambda work, theirs, *_: fork(theirs.close))
    workers = Local(workers=2, trials_per_gpu=1, threads=1, accelerator="cpu")
    with pytest.raises(EOFError):
        workers.wait_until_ready()
    workers.close()

"""Workers and GPUs: real processes with a stand-in for how many GPUs torch finds; and real GPUs where there are any."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from convgrid.compare import load
from convgrid.runs.trial import Outcome
from convgrid.sweep import worker
from convgrid.sweep.executors import local
from convgrid.sweep.messages import Ended, Job
from forks import fork

RUN = Path(__file__).parents[2] / "run.py"


@pytest.mark.parametrize(
    ("inherited", "seen"),
    [
        (None, ["0", "0", "1", "1"]),
        ("3,5", ["3", "3", "5", "5"]),
        ("MIG-0c757cd7-eb09-5d4c", ["MIG-0c757cd7-eb09-5d4c"] * 2),
    ],
)
def test_the_process_of_each_worker_sees_one_gpu_of_those_that_the_sweep_was_given(
    inherited: str | None, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if inherited is None:
        monkeypatch.delenv(local.VISIBLE, raising=False)
    else:
        monkeypatch.setenv(local.VISIBLE, inherited)
    end = local.Local._end
    monkeypatch.setattr(local, "start", fork)  # which know the stand-ins, but keep each other's pipes open
    monkeypatch.setattr(local.Local, "_end", lambda workers, its, *, kill: end(workers, its, kill=True))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(os.environ.get(local.VISIBLE, "0,1").split(",")))
    monkeypatch.setattr(worker, "_run", lambda *_: Ended(Outcome("finished", os.environ[local.VISIBLE])))
    workers = local.Local(workers=None, trials_per_gpu=2, threads=1, accelerator="auto")
    try:
        for each in workers.free():
            workers.give(each, cast(Job, "a trial"))
        said: dict[int, str] = {}
        while len(said) < len(workers.workers):
            said |= {each.number: cast(Any, event).outcome.reason for each, event in workers.events(timeout=10)}
    finally:
        workers.close()
    assert [said[number] for number in sorted(said)] == seen


def test_a_worker_gives_a_gpus_memory_back_between_two_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Pipe:
        def recv(self) -> str:
            if "sent" in done:
                raise EOFError
            return "a trial"

        def send(self, message: object) -> None:
            if isinstance(message, Ended):
                done.append("sent")

    monkeypatch.setattr(worker, "_run", lambda *_: Ended(Outcome("finished")))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("given back"))
    monkeypatch.setattr(os, "setpgrp", lambda: None)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    monkeypatch.setattr(worker, "end_with_parent_or_lease", lambda *_: None)
    monkeypatch.setattr(worker, "keep_freed_memory", lambda: None)
    worker.work(cast(Any, Pipe()), None)
    assert done == ["given back", "sent"]


@pytest.mark.gpu
def test_trials_that_share_a_gpu_all_finish_there_and_one_that_takes_too_much_of_it_is_halved(tmp_path: Path) -> None:
    (tmp_path / "mine" / "activation").mkdir(parents=True)
    (tmp_path / "mine" / "activation" / "greedy.yaml").write_text("# Large.\n_target_: greedy.greedy\nmost: 16\n")
    (tmp_path / "mine" / "greedy.py").write_text(
        "import torch\n\ndef greedy(x, *, most=16):\n    if len(x) > most and torch.is_grad_enabled():\n"
        "        torch.empty(2**50, device=x.device)\n    return torch.relu(x)\n"
    )
    words = [
        "-m", "--config-dir", "mine", "activation=greedy", "activation.most=16,99", "seed=0,1", "trainer=gpu",
        "sweep.trials_per_gpu=2", "data.limit=64", "arch.filters=4", "trainer.max_epochs=2", "tracking=none",
    ]  # fmt: skip
    path = os.pathsep.join([str(tmp_path / "mine"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(RUN), *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("out of memory. Again with batches in 2 parts.") == 2
    (sweep,) = (tmp_path / "sweeps").iterdir()
    frame = load(str(sweep)).frame
    assert [*frame["status"]] == ["finished"] * 4
    assert {*frame["tag.device"]} == {"cuda"}

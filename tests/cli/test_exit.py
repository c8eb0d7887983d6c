"""How commands end whose output nobody reads, that cannot write it, or that Ctrl-C stops: never in a traceback."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO

import pytest
from PIL import Image

from convgrid.cli.main import main
from convgrid.cli.parser import COMMANDS
from convgrid.runs.trial import read_epochs, read_record
from forks import fork_workers
from sweep_folders import make_sweep

ROOT = Path(__file__).parents[2]
RUN = f"{ROOT / 'run.py'}"
TINY = ["data.limit=100", "arch.filters=4", "trainer.max_epochs=3", "tracking=none", "trainer=cpu"]
WORDS = [
    *(f"{command} --help" for command in COMMANDS),
    "--help",
    "run --cfg all",
    "run --version",
    "run -sc install=bash",
    "run dry_run=true",
    "run dry_run=true -m arch.n=1,2",
    "run resume=last",
    "compare",
    "predict last 0.png",
    "predict last 0.png --csv",
    "export last --format safetensors",
    "preview",
    "sweeps",
    "sync",
]
Sink = Callable[[], AbstractContextManager[TextIO]]
FULL = "The output cannot be written: No space left on device.\n"
PROCESSES = [f"{RUN} --help", "-m convgrid --help", "-m convgrid sweeps"]


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", PROCESSES)
def test_output_of_a_process_that_goes_nowhere_is_no_traceback(tmp_path: Path, command: str) -> None:
    python = f"'{sys.executable}' {command}"
    unread = shell(f"{python} | true; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert (unread.returncode, unread.stderr) == (141, "")
    full = shell(f"{python} >/dev/full", tmp_path)
    assert (full.returncode, full.stderr) == (1, FULL)
    closed = shell(f"{python} >&-", tmp_path)
    assert (closed.returncode, closed.stderr) == (0, "")
    untold = shell(f"{python} 2>&-", tmp_path)
    assert untold.returncode == 0
    assert untold.stdout


@contextmanager
def nobody() -> Iterator[TextIO]:
    """A pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8", buffering=1) as stream:
        yield stream


@contextmanager
def full_disk() -> Iterator[TextIO]:
    with open("/dev/full", "w", encoding="utf-8", buffering=1) as stream:
        yield stream


@pytest.fixture(scope="module")
def desk(trained_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and an image to ask it about."""
    folder = tmp_path_factory.mktemp("desk")
    trial = shutil.copytree(trained_digits, folder / "runs" / trained_digits.name)
    make_sweep(folder / "sweeps", "1f0c00000000", [trial.name], status="finished", points=1)
    Image.new("L", (8, 8)).save(folder / "0.png")
    return folder


@pytest.mark.parametrize("words", WORDS)
def test_a_command_whose_output_goes_nowhere_says_so(
    desk: Path, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(desk)
    for sink, status, told in ((nobody, 141, ""), (full_disk, 1, FULL)):
        for written in desk.glob("*.safetensors*"):
            written.unlink()
        with sink() as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            assert main(words.split()) == status
        assert capsys.readouterr().err.endswith(told)


@pytest.mark.parametrize(("sink", "status", "told"), [(nobody, 141, ""), (full_disk, 1, FULL)])
@pytest.mark.parametrize("more", [[], ["-m", "arch.n=1,2", "sweep.workers=1"]])
def test_a_training_whose_output_goes_nowhere_ends_whole(
    in_tmp: Path, sink: Sink, status: int, told: str, more: list[str],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fork_workers(monkeypatch.setattr)
    with sink() as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert main(["run", *TINY, *more]) == status
    assert capsys.readouterr().err == told
    folders = [*Path("runs").iterdir()]
    assert len(folders) == (2 if more else 1)
    for folder in folders:
        assert read_record(folder)["status"] == "finished"
        assert len(read_epochs(folder)) == 3


def test_what_stderr_cannot_take_stops_nothing(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line about black and white is lost, the predictions are not."""
    monkeypatch.chdir(desk)
    with full_disk() as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        assert main(["predict", "last", "0.png"]) == 0
        assert main(["predict", "last", "nowhere.png"]) == 1
        assert sys.stderr is stream
    assert capsys.readouterr().out.startswith("0.png  ")


@pytest.mark.parametrize("imported", ["convgrid.errors", "argparse", "hydra.types", "convgrid.config"])
def test_ctrl_c_while_libraries_are_imported_is_a_line(tmp_path: Path, imported: str) -> None:
    command = [sys.executable, "-X", "importtime", RUN]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while not re.search(rf"\| +{re.escape(imported)}$", process.stderr.readline()):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told
    if imported != "convgrid.errors":  # before anything could be said
        assert told.endswith("\nStopped.\n")


def test_run_py_names_files_that_exist() -> None:
    named = re.findall(r"\S+/(?:\w+\.py)?(?= )", (ROOT / "run.py").read_text(encoding="utf-8").split('"""')[1])
    assert len(named) >= 8
    assert [name for name in named if not (ROOT / name).exists()] == []

"""How commands end whose output nobody reads, that cannot write it, or that Ctrl-C stops: never in a traceback."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = f"{ROOT / 'run.py'}"
COMMANDS = [f"{RUN} --help", f"{RUN} --cfg all", f"{RUN} dry_run=true", "-m convgrid run --help", "-m convgrid sweeps"]


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_output_that_goes_nowhere_is_no_traceback(tmp_path: Path, command: str) -> None:
    python = f"'{sys.executable}' {command}"
    unread = shell(f"{python} | true; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert (unread.returncode, unread.stderr) == (141, "")
    full = shell(f"{python} >/dev/full", tmp_path)
    assert (full.returncode, full.stderr) == (1, "The output cannot be written: No space left on device.\n")
    closed = shell(f"{python} >&-", tmp_path)
    assert (closed.returncode, closed.stderr) == (0, "")
    untold = shell(f"{python} 2>&-", tmp_path)
    assert untold.returncode == 0
    assert untold.stdout


@pytest.mark.parametrize("imported", ["argparse", "hydra.types", "convgrid.config"])
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
    assert told.endswith("\nStopped.\n")


def test_run_py_names_files_that_exist() -> None:
    named = re.findall(r"\S+/(?:\w+\.py)?(?= )", (ROOT / "run.py").read_text(encoding="utf-8").split('"""')[1])
    assert len(named) >= 8
    assert [name for name in named if not (ROOT / name).exists()] == []

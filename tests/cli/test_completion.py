"""Tab in a real bash: what it completes for `python run.py` and for `convgrid`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN_PY = Path(__file__).parents[2] / "run.py"
TAB = """
. {installed}
COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
_convgrid
printf '%s|' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `eval "$(python run.py -sc install=bash)"` tells a shell."""
    told = subprocess.run([sys.executable, RUN_PY, "-sc", "install=bash"], capture_output=True, check=True).stdout
    (file := tmp_path_factory.mktemp("tab") / "installed.sh").write_bytes(told)
    return file


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("convgrid sw", "sweeps |"),
        ("convgrid export --f", "--format |"),
        ("convgrid run arch=con", "conv_fc |conv_pool |convnet |"),
        ("convgrid run optimizer=sgd optimizer.m", "optimizer.momentum=|"),
        ("python {run_py} layer/no", "layer/norm=|"),
        ("python {run_py} optimizer=ada", "adadelta |adagrad |adam |adamax |"),
        ("python -m convgrid pre", "predict |preview |"),
        ("python -m convgrid run optimizer=nowhere optimizer.", "|"),
        ("python other.py opt", "|"),
    ],
)
def test_tab_completes_commands_groups_options_and_keys(
    installed: Path, tmp_path: Path, line: str, expected: str
) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    program = tmp_path / "convgrid"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m convgrid "$@"\n')
    program.chmod(0o755)
    path = f"{Path(sys.executable).parent}:{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", TAB.format(installed=installed, line=line.format(run_py=RUN_PY))],
        cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (expected, "")

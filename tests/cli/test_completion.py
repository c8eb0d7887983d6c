"""Tab in a real bash: what it completes for `python run.py` and for `convgrid`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TAB = """
eval "$(python {run_py} -sc install=bash)"
COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
_convgrid
printf '%s|' "${{COMPREPLY[@]}}"
"""


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
def test_tab_completes_commands_groups_options_and_keys(tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    program = tmp_path / "convgrid"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m convgrid "$@"\n')
    program.chmod(0o755)
    run_py = ROOT / "run.py"
    path = f"{Path(sys.executable).parent}:{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", TAB.format(run_py=run_py, line=line.format(run_py=run_py))],
        cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (expected, "")

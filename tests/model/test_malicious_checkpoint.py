"""A checkpoint of others that would run code: it does not, and the line says nothing of how to let it."""

import io
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from convgrid.cli.main import main


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.made),)


@pytest.fixture
def folder(trained_digits: Path, in_tmp: Path) -> Path:
    """A run whose checkpoints are malicious, each of which would make `ran`."""
    copied = Path(shutil.copytree(trained_digits, in_tmp / "runs" / trained_digits.name))
    for name in ("best.ckpt", "last.ckpt"):
        content, stored = io.BytesIO(), torch.load(copied / name, weights_only=True)
        torch.save({**stored, "more": Bomb(in_tmp / "ran")}, content)
        (copied / name).write_bytes(content.getvalue())
    return copied


def test_it_would_run_code(folder: Path, in_tmp: Path) -> None:
    torch.load(folder / "best.ckpt", weights_only=False)
    assert (in_tmp / "ran").is_dir()


@pytest.mark.parametrize("command", ["predict {run} 0.png", "export {run} --format safetensors"])
def test_a_command_that_reads_it_says_one_line(
    folder: Path, command: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (8, 8)).save("0.png")
    assert main(command.format(run=folder.name).split()) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "best.ckpt cannot be read: it holds something else than weights and numbers." in err
    assert "weights_only" not in err
    assert not (in_tmp / "ran").exists()


def test_a_run_that_goes_on_starts_over_without_it(
    folder: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps(record | {"status": "killed"}), encoding="utf-8")
    assert main(["run", f"resume={folder.name}"]) == 0
    out, err = capsys.readouterr()
    told = " ".join((out + err).split())
    assert "it holds something else than weights and numbers" in told
    assert "weights_only" not in told
    assert not (in_tmp / "ran").exists()

"""A winner's curves and model are made beside the sweep, and the writer makes what was not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from convgrid.sweep import winner
from convgrid.sweep.winner import made_aside

ASIDE = "import sys; from pathlib import Path; from convgrid.sweep.winner import _make; _make(*map(Path, sys.argv[1:]))"


class Started:
    """A process of its own, though none of a fork server, which takes seconds to start."""

    def __init__(self, _: object, *folders: Path) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", ASIDE, *map(str, folders)])
        self.kill = self._process.kill

    def join(self, timeout: float | None = None) -> None:
        self._process.wait(timeout)

    @property
    def exitcode(self) -> int | None:
        return self._process.returncode


@pytest.fixture
def folder(trained_digits: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(winner, "start", Started)
    return Path(shutil.copytree(trained_digits, in_tmp / "runs" / "abc"))


def test_curves_and_parts_are_made_and_the_parts_last_as_long_as_they_are_needed(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with made_aside(folder) as made:
        parts = made()
        assert parts is not None
        assert {path.name for path in parts.iterdir()} == {
            "convgrid.json", "examples.npy", "model_card.md", "program.pt2",
        }  # fmt: skip
        assert (folder / "learning_curves.png").exists()
    assert not parts.exists()
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_made_is_left_to_the_writer_which_tells(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "best.ckpt").write_bytes(b"no checkpoint")
    with made_aside(folder) as made:
        assert made() is None
    assert capfd.readouterr() == ("", "")


def test_nothing_is_made_of_no_winner_or_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winner, "start", lambda *_: pytest.fail("it was started"))
    with made_aside(None) as made:
        assert made() is None
    tracked = {"place": "sqlite:///mlflow.db 1 1", "uri": "sqlite:///mlflow.db", "run_id": "r", "model": ""}
    (folder / "tracked.json").write_text(json.dumps(tracked))
    with made_aside(folder) as made:
        assert made() is None
    (folder / "tracked.json").unlink()
    (folder / "best.ckpt").unlink()
    with made_aside(folder) as made:
        assert made() is None

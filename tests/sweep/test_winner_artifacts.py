"""A winner's curves and model are made beside the sweep, and the writer makes what was not."""

import json
import shutil
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from convgrid.sweep import winner_artifacts
from convgrid.sweep.winner_artifacts import WinnerArtifacts
from forks import fork


@pytest.fixture
def folder(trained_digits: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(winner_artifacts, "start", fork)  # as the fork server's, which imports first
    return Path(shutil.copytree(trained_digits, in_tmp / "runs" / "abc"))


def test_curves_and_parts_are_made_and_the_parts_last_as_long_as_they_are_needed(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    maker = WinnerArtifacts()
    maker.warm_up()
    maker.begin(folder)
    parts = maker.parts()
    assert parts is not None
    assert {path.name for path in parts.iterdir()} == {
        "convgrid.json", "examples.npy", "model_card.md", "program.pt2",
    }  # fmt: skip
    assert (folder / "learning_curves.png").exists()
    maker.close()
    assert not parts.exists()
    assert capfd.readouterr() == ("", "")


def test_parts_are_there_also_where_they_were_made_long_before_they_are_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes: list[BaseProcess] = []

    def noted(*args: Any) -> BaseProcess:
        processes.append(fork(*args))
        return processes[-1]

    monkeypatch.setattr(winner_artifacts, "start", noted)
    maker = WinnerArtifacts()
    maker.begin(folder)
    (process,) = processes
    process.join(60)
    assert process.exitcode == 0
    parts = maker.parts()
    assert parts is not None
    assert (parts / "program.pt2").exists()
    maker.close()


def test_of_what_cannot_be_made_there_are_no_parts(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "best.ckpt").write_bytes(b"no checkpoint")
    maker = WinnerArtifacts()
    maker.begin(folder)
    assert maker.parts() is None
    maker.close()
    assert capfd.readouterr() == ("", "")


def test_nothing_is_made_without_weights_or_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winner_artifacts, "start", lambda *_: pytest.fail("it was started"))
    maker = WinnerArtifacts()
    tracked = {"place": "sqlite:///mlflow.db 1 1", "uri": "sqlite:///mlflow.db", "run_id": "r", "model": ""}
    (folder / "tracked.json").write_text(json.dumps(tracked))
    maker.begin(folder)
    assert maker.parts() is None
    (folder / "tracked.json").unlink()
    (folder / "best.ckpt").unlink()
    maker.begin(folder)
    assert maker.parts() is None
    maker.close()

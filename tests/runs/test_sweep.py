"""The folder of a sweep, and what becomes of what it already says."""

import json
from pathlib import Path

import pytest

from convgrid.errors import DiskError
from convgrid.runs.sweep import SweepFolder, read_sweep, status

KNOWN = {
    "command": "python run.py -m arch.n=1",
    "objective": ["val/accuracy", "max"],
    "varying": {"arch.n": ["1"]},
    "skipped": {},
}


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    SweepFolder("abc", (), KNOWN).close("finished")
    return tmp_path / "sweeps" / "abc" / "sweep.json"


def test_a_sweep_that_goes_on_keeps_the_time_it_began(stored: Path) -> None:
    stored.write_text(json.dumps(json.loads(stored.read_text()) | {"created": 123}))
    SweepFolder("abc", (), KNOWN).close("finished")
    assert json.loads(stored.read_text())["created"] == 123


def test_a_broken_sweep_json_is_written_anew(stored: Path) -> None:
    whole = json.loads(stored.read_text())
    stored.write_text(stored.read_text()[:20])
    SweepFolder("abc", (), KNOWN).close("finished")
    assert json.loads(stored.read_text()) | {"created": ""} == whole | {"created": ""}


def test_a_sweep_json_that_the_disk_does_not_give_is_left_alone(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = stored.read_text()

    def fail(*_: object, **__: object) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_text", fail)
    with pytest.raises(DiskError, match="abc cannot be used: Input/output error"):
        SweepFolder("abc", (), KNOWN)
    monkeypatch.undo()
    assert stored.read_text() == text


def fail(folder: SweepFolder) -> None:
    assert status(read_sweep(folder.path), folder.path) == "running"
    folder.ended("b", "1f0c")
    raise ZeroDivisionError


def test_a_sweep_that_an_exception_ends_is_killed_and_lets_its_folder_go(stored: Path) -> None:
    folder = SweepFolder("abc", ["a", "b"], KNOWN, shared=False)
    with pytest.raises(ZeroDivisionError), folder:
        fail(folder)
    assert status(read_sweep(folder.path), folder.path) == "killed"
    assert read_sweep(folder.path)["trials"] == [None, "1f0c"]
    SweepFolder("abc", ["a", "b"], KNOWN, shared=False).close("finished")  # nobody holds it


def test_a_full_disk_at_the_end_lets_the_folder_go(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SweepFolder("abc", (), KNOWN, shared=False)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    folder.close("finished", winner="1f0c")
    monkeypatch.undo()
    SweepFolder("abc", (), KNOWN, shared=False).close("finished")

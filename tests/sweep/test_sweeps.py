"""The folder of a sweep, and what becomes of what it already says."""

import json
from pathlib import Path

import pytest

from convgrid.errors import DiskError
from convgrid.sweep.interfaces import Survey
from convgrid.sweep.sweeps import SweepFolder

ASKED = {"command": "python run.py -m arch.n=1", "objective": "val/accuracy", "mode": "max"}


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    SweepFolder("abc", Survey(0, ()), ASKED).close("finished")
    return tmp_path / "sweeps" / "abc" / "sweep.json"


def test_a_sweep_that_goes_on_keeps_the_time_it_began(stored: Path) -> None:
    stored.write_text(json.dumps(json.loads(stored.read_text()) | {"created": 123}))
    SweepFolder("abc", Survey(0, ()), ASKED).close("finished")
    assert json.loads(stored.read_text())["created"] == 123


def test_a_broken_sweep_json_is_written_anew(stored: Path) -> None:
    whole = json.loads(stored.read_text())
    stored.write_text(stored.read_text()[:20])
    SweepFolder("abc", Survey(0, ()), ASKED).close("finished")
    assert json.loads(stored.read_text()) | {"created": ""} == whole | {"created": ""}


def test_a_sweep_json_that_the_disk_does_not_give_is_left_alone(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = stored.read_text()

    def fail(*_: object, **__: object) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_text", fail)
    with pytest.raises(DiskError, match="abc cannot be used: Input/output error"):
        SweepFolder("abc", Survey(0, ()), ASKED)
    monkeypatch.undo()
    assert stored.read_text() == text

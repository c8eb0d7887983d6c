"""Files are written whole or not at all, and what must outlive a power cut is on the disk before it has its name."""

import json
import os
from pathlib import Path

import pytest

from convgrid.runs.files import replacing, sync_is_due, write
from convgrid.runs.sweep import SweepFolder

KNOWN = {"command": "run.py -m", "objective": ["val/accuracy", "max"], "varying": {}, "skipped": {}}


def test_a_full_disk_leaves_the_old_file_and_no_part_of_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.write_bytes

    def fill(path: Path, content: bytes) -> int:
        whole(path, content[:2])
        raise OSError(28, "No space left on device")

    write(tmp_path / "run.json", "old")
    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "run.json", "newer", lasting=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("run.json", "old")]


def test_an_interrupt_leaves_no_part_either(tmp_path: Path) -> None:
    def interrupted() -> None:
        with replacing(tmp_path / "picture.png") as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_is_to_last_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    rename = Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name))
    monkeypatch.setattr(Path, "replace", lambda path, to: (done.append("rename"), rename(path, to))[1])
    write(tmp_path / "run.json", "{}", lasting=True)
    assert done == ["partial.run.json", "rename", tmp_path.name]
    write(tmp_path / "run.json", "{}")
    assert done[3:] == ["rename"]


def test_short_trials_rarely_wait_for_the_disk() -> None:
    assert [sync_is_due("test a"), sync_is_due("test a"), sync_is_due("test b")] == [True, False, True]


def test_a_sweep_that_ends_on_a_full_disk_keeps_its_file_and_leaves_no_part(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = SweepFolder("0a", ["a"], KNOWN)
    sweep.ended("a", "1f0c")
    sweep.update()
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    sweep.close("finished", winner="1f0c")
    monkeypatch.undo()
    stored = json.loads((in_tmp / "sweeps" / "0a" / "sweep.json").read_text())
    assert (stored["status"], stored["trials"]) == ("running", ["1f0c"])
    assert not [*in_tmp.rglob("partial*")]


def test_what_a_killed_sweep_left_half_written_is_removed(in_tmp: Path) -> None:
    SweepFolder("0a", ["a"], KNOWN).close("killed")
    (in_tmp / "sweeps" / "0a" / "partial.99999.sweep.json").write_text("{")
    SweepFolder("0a", ["a"], KNOWN).close("finished")
    assert not [*in_tmp.rglob("partial*")]

"""What the user remembers of a run leads to its folder."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from convgrid.errors import ModelError, SweepError
from convgrid.runs.find import find_trained


def trial(name: str, *, age: float = 0, weights: bool = True, **record: Any) -> Path:
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("values: {}\n")
    (folder / "run.json").write_text(json.dumps(record))
    if weights:
        (folder / "best.ckpt").touch()
        os.utime(folder / "best.ckpt", (1e9 - age, 1e9 - age))
    return folder


def sweep(name: str, trials: list[str], *, age: float = 0) -> Path:
    folder = Path("sweeps") / name
    folder.mkdir(parents=True)
    known = {"trials": trials, "objective": ["val/accuracy", "max"], "command": "run.py -m arch.n=1,2"}
    (folder / "sweep.json").write_text(json.dumps(known))
    os.utime(folder / "sweep.json", (1e9 - age, 1e9 - age))
    return folder


def finished(accuracy: float, **more: str) -> dict[str, Any]:
    return {"status": "finished", "reason": "", "metrics": {"best/val/accuracy": accuracy}, **more}


@pytest.mark.usefixtures("in_tmp")
def test_a_run_is_found_by_its_folder_its_ids_and_how_they_start() -> None:
    wanted = trial("abcdef123456", run_id="0f1e2d3c")
    trial("abcdef123456-2", run_id="999")
    trial("ab0000000000")
    (trial("ffff") / "tracked.json").write_text(json.dumps({"run_id": "77aa"}))
    for run in ("runs/abcdef123456", "runs/abcdef123456/best.ckpt", "abcdef123456", "0f1e2d3c"):
        assert find_trained(run) == wanted
    assert find_trained("ab0").name == "ab0000000000"
    assert find_trained("77aa").name == "ffff"
    with pytest.raises(ModelError, match=r"^abc may be abcdef123456, abcdef123456-2. Give more of the id.$"):
        find_trained("abc")


@pytest.mark.usefixtures("in_tmp")
def test_a_sweep_stands_for_its_winner() -> None:
    for name, accuracy in (("aaa", 0.8), ("bbb", 0.9), ("ccc", 0.7)):
        trial(name, **finished(accuracy, sweep="feedbeef"))
    asked = sweep("feedbeef", ["aaa", "bbb", "ccc"])
    for run in ("feed", "sweeps/feedbeef", str(asked.absolute())):
        assert find_trained(run) == Path("runs/bbb")


@pytest.mark.usefixtures("in_tmp")
def test_last_is_what_was_trained_last_and_a_sweep_is_one_thing() -> None:
    trial("old", age=100)
    trial("new", age=50)
    assert find_trained("last").name == "new"
    trial("winner", age=70, **finished(0.9, sweep="5eeb"))
    trial("loser", age=10, **finished(0.8, sweep="5eeb"))
    asked = sweep("5eeb", ["winner", "loser"], age=60)
    assert find_trained("last").name == "new"
    os.utime(asked / "sweep.json", (1e9, 1e9))
    assert find_trained("last").name == "winner"


@pytest.mark.usefixtures("in_tmp")
def test_what_is_not_there_is_named_with_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"^There is no trained model in .*runs. Train one: python run.py$"):
        find_trained("last")
    with pytest.raises(ModelError, match=r"^nothing is no run, sweep or exported model that is known in .*id, or last"):
        find_trained("nothing")
    trial("gone", weights=False, **finished(0.9, sweep="5eeb"))
    sweep("5eeb", ["gone"])
    with pytest.raises(ModelError, match=r"gone keeps no weights: sweep.keep_checkpoints let them go. Train it again"):
        find_trained("5eeb")
    sweep("0123", [])
    with pytest.raises(ModelError, match=r"^sweep 0123 has no finished trial yet. To go on: run.py -m arch.n=1,2$"):
        find_trained("0123")


@pytest.mark.usefixtures("in_tmp")
def test_a_broken_sweep_is_passed_over_unless_it_is_the_one_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    broken = sweep("5eeb", [], age=10) / "sweep.json"
    broken.write_text("{broken")
    with pytest.raises(ModelError, match="There is no trained model in"):
        find_trained("last")
    trial("single", age=1e8)
    capsys.readouterr()
    assert find_trained("last").name == "single"
    assert capsys.readouterr().err.startswith("passed over: sweeps/5eeb/sweep.json cannot be read: Expecting property")
    assert find_trained("single").name == "single"
    for run in ("5ee", "sweeps/5eeb"):
        with pytest.raises(SweepError, match=r"^sweeps/5eeb/sweep\.json cannot be read: .* writes it anew\.$"):
            find_trained(run)

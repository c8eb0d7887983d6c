"""What the user remembers of a run or a sweep leads to its folder: the same words for every command."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from convgrid.errors import ConfigError, ModelError, SweepError
from convgrid.runs.find import find_model, find_run, find_sweep, find_to_resume

NOW = 1_000_000_000


def trial(name: str, *, age: float = 0, weights: bool = True, run_id: str = "", **record: Any) -> Path:
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("values: {}\n")
    (folder / "run.json").write_text(json.dumps({"status": "running", "reason": "", "ended": NOW, **record}))
    (folder / "metrics.jsonl").touch()
    (folder / "last.ckpt").touch()
    if weights:
        (folder / "best.ckpt").touch()
    if run_id:
        (folder / "tracked.json").write_text(json.dumps({"place": "1", "uri": "sqlite:///mlflow.db", "run_id": run_id}))
    os.utime(folder / "config.yaml", (NOW - 1e6, NOW - 1e6))
    os.utime(folder / "metrics.jsonl", (NOW - age, NOW - age))
    return folder


def sweep(name: str, trials: list[str], *, age: float = 0, run_id: str = "") -> Path:
    folder = Path("sweeps") / name
    folder.mkdir(parents=True)
    known = {
        "id": name,
        "created": NOW,
        "status": "finished",
        "varying": {},
        "skipped": {},
        "trials": trials,
        "objective": ["val/accuracy", "max"],
        "command": "run.py -m arch.n=1,2",
    }
    (folder / "sweep.json").write_text(json.dumps(known))
    if run_id:
        (folder / "parent.json").write_text(json.dumps({"place": "1", "uri": "sqlite:///mlflow.db", "run_id": run_id}))
    os.utime(folder / "sweep.json", (NOW - age, NOW - age))
    return folder


def finished(accuracy: float, **more: str) -> dict[str, Any]:
    result = {"metrics": {"best/val/accuracy": accuracy}, "best_epoch": 1, "epochs": 1, "seconds": 1.0}
    return {"status": "finished", **result, **more}


@pytest.mark.usefixtures("in_tmp")
def test_a_run_is_found_by_its_folder_its_checkpoints_its_ids_and_how_they_start() -> None:
    wanted = trial("abcdef123456", run_id="0f1e2d3c")
    trial("abcdef123456-2", run_id="999")
    trial("ab0000000000")
    trial("ffff", run_id="77aa")
    for name in (
        "runs/abcdef123456", "runs/abcdef123456/", str(wanted.absolute()), "runs/abcdef123456/best.ckpt",
        "runs/abcdef123456/last.ckpt", "abcdef123456", "0f1e2d3c",
    ):  # fmt: skip
        assert find_run(name).resolve() == find_model(name).resolve() == wanted.resolve()
        resumed = find_to_resume(name)
        assert resumed.path.resolve() == wanted.resolve()
        resumed.lock.release()
    assert find_run("ab0").name == "ab0000000000"
    assert find_run("77aa").name == "ffff"
    with pytest.raises(ConfigError, match=r"^abc may be abcdef123456, abcdef123456-2\. Give more of the id\.$"):
        find_run("abc")


@pytest.mark.usefixtures("in_tmp")
def test_a_sweep_is_found_likewise_and_stands_for_its_winner() -> None:
    for name, accuracy in (("aaa", 0.8), ("bbb", 0.9), ("ccc", 0.7)):
        trial(name, **finished(accuracy, sweep="feedbeef"))
    asked = sweep("feedbeef", ["aaa", "bbb", "ccc"], run_id="c0ffee")
    for name in ("feed", "feedbeef", "sweeps/feedbeef", str(asked.absolute()), "c0ffee", "last"):
        assert find_sweep(name).resolve() == asked.resolve()
        assert find_run(name) == find_model(name) == Path("runs/bbb")
        resumed = find_to_resume(name)
        assert resumed.path == Path("runs/bbb")
        resumed.lock.release()
    with pytest.raises(ConfigError, match=r"^aaa is a run, not a sweep\. Give its sweep: feedbeef\.$"):
        find_sweep("aaa")


@pytest.mark.usefixtures("in_tmp")
def test_last_is_what_was_trained_last_and_a_sweep_is_one_thing() -> None:
    trial("old", age=100)
    trial("new", age=50, weights=False, status="killed")
    assert find_run("last").name == "new"
    trial("winner", age=70, **finished(0.9, sweep="5eeb"))
    trial("loser", age=10, **finished(0.8, sweep="5eeb"))
    asked = sweep("5eeb", ["winner", "loser"], age=60)
    assert find_run("last").name == "new"
    assert find_sweep("last") == asked
    os.utime(asked / "sweep.json", (NOW, NOW))
    assert find_run("last").name == "winner"
    trial("begun", age=1e7)
    os.utime("runs/begun/config.yaml", (NOW + 1, NOW + 1))  # no epoch has ended
    assert find_run("last").name == "begun"


@pytest.mark.usefixtures("in_tmp")
def test_what_is_not_there_is_named_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"^last: there is no run in .*runs\. Train one: python run\.py$"):
        find_run("last")
    with pytest.raises(ConfigError, match=r"^resume=last: there is no run in .*runs\. Train one: python run\.py$"):
        find_to_resume("last")
    with pytest.raises(ConfigError, match=r"^There is no sweep in .*sweeps\. python -m convgrid sweeps lists those"):
        find_sweep()
    for find in (find_run, find_model, find_sweep):
        with pytest.raises(ConfigError, match=r"^nothing is not a run or sweep known in .*\. Give last, a folder"):
            find("nothing")
    with pytest.raises(ConfigError, match=r"^resume=nothing is not a run or sweep known in"):
        find_to_resume("nothing")
    trial("gone", weights=False, **finished(0.9, sweep="5eeb"))
    sweep("5eeb", ["gone"])
    with pytest.raises(ModelError, match=r"gone keeps no weights: sweep.keep_checkpoints let them go. Train it again"):
        find_model("5eeb")
    sweep("0123", [])
    with pytest.raises(ModelError, match=r"^sweep 0123 has no finished trial yet. To go on: run.py -m arch.n=1,2$"):
        find_run("0123")


@pytest.mark.parametrize("name", ["", "abcd", "runs"])
def test_a_config_of_another_program_here_makes_nothing_a_run(in_tmp: Path, name: str) -> None:
    (in_tmp / "config.yaml").touch()
    trial("abc")
    with pytest.raises(ConfigError, match="is not a run or sweep known in"):
        find_run(name)


@pytest.mark.usefixtures("in_tmp")
def test_a_broken_sweep_is_passed_over_unless_it_is_the_one_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    broken = sweep("5eeb", [], age=10) / "sweep.json"
    broken.write_text("{broken")
    with pytest.raises(ConfigError, match="last: there is no run in"):
        find_run("last")
    trial("single", age=1e8)
    assert find_run("last").name == "single"
    assert capsys.readouterr().err.startswith("left aside: sweeps/5eeb/sweep.json cannot be read: Expecting property")
    assert find_run("single").name == "single"
    for name in ("5ee", "sweeps/5eeb"):
        with pytest.raises(SweepError, match=r"^sweeps/5eeb/sweep\.json cannot be read: .* writes it anew\.$"):
            find_run(name)

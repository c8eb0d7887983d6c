"""Whatever becomes of one file of one run, no command ends for all the others, and none with a traceback."""

import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from convgrid.cli.sweeps import show_sweeps
from convgrid.compare import answer
from convgrid.compare.sources import load
from convgrid.errors import ConvgridError
from convgrid.runs.find import find_model, find_run, find_sweep
from convgrid.runs.sweep import read_sweep
from convgrid.runs.trial import read_record, read_records, set_right
from convgrid.tracking.run_contents import wanted_of_sweep, wanted_of_trial
from convgrid.tracking.sync_all import _tracking_of_trial, newest_tracking
from fuzzing import fuzz
from mutations import mutate
from sweep_folders import finish, make_sweep, make_trial

RUNS, SWEEPS = Path("runs"), Path("sweeps")
CONFIG = {"choices": {"optimizer": "sgd"}, "values": {"arch": {"n": 1}, "seed": 0, "tracking": {"uri": None}}}


def make(name: str, number: int, **record: Any) -> None:
    params = {"arch.n": str(number % 2 + 1), "optimizer": "sgd", "seed": str(number // 2), "data": "digits"}
    sizes = {"plan.parameters": "10", "plan.multiply_adds": "20", "tracking.uri": "sqlite:///mlflow.db"}
    folder = make_trial(RUNS, name, epochs=2, **{"params": {**params, **sizes}, **record})
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "tracked.json").write_text('{"place": "p", "uri": "sqlite:///mlflow.db", "run_id": "0a", "sent": 2}')
    if "status" not in record:
        finish(folder, accuracy=0.8 + number / 100)


@pytest.fixture
def whole(in_tmp: Path) -> Path:
    for number in range(4):
        make(f"good{number}", number, sweep="good")
        make(f"bad{number}", number, sweep="bad")
    make("badfailed", 0, status="failed", reason="no", ended=1, params={}, sweep="bad")
    (RUNS / "badfailed" / "plan.json").unlink()
    make("badkilled", 1, status="killed", reason="no", ended=1, sweep="bad")
    make("badrunning", 2, status="running", sweep="bad")
    make("badsingle", 3)
    make_sweep(SWEEPS, "good", [f"good{number}" for number in range(4)], status="finished", winner="good3")
    names = [path.name for path in sorted(RUNS.glob("bad*"))]
    made = make_sweep(SWEEPS, "bad", [*names, None], status="finished", winner="bad3", searched=["arch.n"])
    (made / "parent.json").write_text('{"place": "p", "uri": "sqlite:///mlflow.db", "run_id": "0b"}')
    (made / "system.jsonl").write_text('{"time": 1, "metrics": {"system/cpu": 0.5}}\n')
    return in_tmp


def of_all() -> list[object]:
    """What commands do with every run and sweep; what they say of the good ones."""
    printed = io.StringIO()
    show_sweeps(Console(file=printed, width=200))
    assert "0.82 (mean of 2)" in printed.getvalue()
    assert [*read_records()]
    set_right()
    newest_tracking()
    good = answer(load("good"))
    return [good.sentence, [(each.values, each.mean) for each in good.settings], find_run("good"), find_run("good1")]


OF_ONE: tuple[Callable[[], object], ...] = (
    lambda: answer(load("bad")),
    lambda: answer(load("bad", keys=["optimizer"])),
    lambda: [find(name) for find in (find_run, find_sweep) for name in ("last", "bad", "0a", "0b", "badsingle")],
    lambda: find_model("bad"),
    lambda: wanted_of_sweep(SWEEPS / "bad", read_sweep(SWEEPS / "bad"), is_new=True),
)


def of_one_trial(folder: Path) -> None:
    record = read_record(folder)
    if record:
        wanted_of_trial(folder, record, whole=True)
    _tracking_of_trial(folder)


def tolerated(work: Callable[[], object]) -> None:
    try:
        work()
    except ConvgridError as error:
        said = str(error)
    else:
        return
    assert len(said.splitlines()) == 1


def test_a_damaged_file_of_a_run_ends_no_command_for_the_others(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = of_all()
    shutil.copytree(whole, whole.with_name("copy"))
    files = [path for path in sorted(whole.rglob("*bad*/*")) if path.is_file() and path.name != "lock"]

    def case(draw: random.Random) -> None:
        file = draw.choice(files)
        way = mutate(file, draw)
        try:
            assert of_all() == expected
            for work in OF_ONE:
                tolerated(work)
            if "runs" in file.parts:
                tolerated(lambda: of_one_trial(Path("runs", file.parent.name)))
        except Exception as error:
            error.add_note(f"{file.relative_to(whole)}, {way}")
            raise
        shutil.rmtree(whole / "runs")
        shutil.rmtree(whole / "sweeps")
        shutil.copytree(whole.with_name("copy"), whole, dirs_exist_ok=True)
        assert "Traceback" not in capsys.readouterr().err

    fuzz(case, share=3 / 4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "runs/bad0/run.json cannot be read: it is empty."),
        (b'{"status": "fini', "runs/bad0/run.json cannot be read: Unterminated string"),
        (b"\xff\xfe", "runs/bad0/run.json cannot be read: 'utf-8' codec can't decode"),
        (b"[1]", "runs/bad0/run.json cannot be used: it holds no names with values."),
        (b'{"status": "finished"}', "runs/bad0/run.json cannot be used: metrics is missing."),
        (b'{"status": "running", "started": "now"}', "runs/bad0/run.json cannot be used: started is not a time in mil"),
        (b'{"status": "running", "name": "\\ud800"}', "runs/bad0/run.json cannot be read: 'utf-8' codec can't encode"),
        (b"[" * 100_000, "runs/bad0/run.json cannot be read: maximum recursion depth"),
    ],
)
@pytest.mark.usefixtures("whole")
def test_what_is_left_aside_is_named_with_its_cause_once(
    content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (RUNS / "bad0" / "run.json").write_bytes(content)
    assert "bad0" not in load("bad").frame.index
    show_sweeps(Console(file=io.StringIO()))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"left aside: {said}")

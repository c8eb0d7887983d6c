"""A run goes on with what it was started with: other data and other code are refused, naming what differs."""

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from conftest import compose_settings
from convgrid.config import Settings
from convgrid.errors import DataError, Interrupted, TrainingError
from convgrid.runs.find import find_to_resume
from convgrid.runs.trial import EpochLog, read_record
from convgrid.sweep import worker
from convgrid.training import trial
from convgrid.training.own_code import own_code

SILENT = Console(file=io.StringIO())
SMALL = ("trainer.max_epochs=2", "arch.filters=2", "arch.hidden=4", "arch.m=1", "tracking=none", "trainer=cpu")
OWN = "import torch\nfrom own_factor import FACTOR\n\n\ndef scaled(x):\n    return torch.relu(FACTOR * x)\n"
FACTOR = "FACTOR = 2\n"


def stopped_after_an_epoch(settings: Settings, patch: pytest.MonkeyPatch) -> Path:
    append = EpochLog.append

    def stop(log: EpochLog, history: list[dict[str, float]]) -> None:
        append(log, history)
        raise KeyboardInterrupt

    with patch.context() as here:
        here.setattr(EpochLog, "append", stop)
        with pytest.raises(Interrupted):
            trial.run(settings, SILENT)
    return next(Path("runs").iterdir())


def go_on(settings: Settings) -> Path:
    return trial.run(settings, SILENT, find_to_resume("last"))


@pytest.fixture
def photos(in_tmp: Path) -> Path:
    draws = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (in_tmp / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(in_tmp / "photos" / name / f"{number}.png")
    return in_tmp / "photos"


def an_image_more(photos: Path) -> None:
    shutil.copyfile(photos / "cat" / "0.png", photos / "dog" / "new.png")


def images_less(photos: Path) -> None:
    for number in range(4):
        (photos / "cat" / f"{number}.png").unlink()


def a_class_renamed(photos: Path) -> None:
    (photos / "dog").rename(photos / "animal")


def an_image_painted_over(photos: Path) -> None:
    Image.new("RGB", (8, 8)).save(photos / "cat" / "3.png")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (an_image_more, "training images (they were"),
        (images_less, "training images (they were"),
        (a_class_renamed, "new are animal; gone are dog"),
        (an_image_painted_over, "other images, targets or files"),
    ],
)
def test_a_run_does_not_go_on_with_other_data(
    photos: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], said: str
) -> None:
    settings = compose_settings(*SMALL, "data=image_folder", f"data.root={photos}", "data.shape=[3,8,8]", "resume=last")
    folder = stopped_after_an_epoch(settings, monkeypatch)
    known = (folder / "data.json").read_text()
    change(photos)
    with pytest.raises(DataError) as refused:
        go_on(settings)
    assert said in str(refused.value)
    assert str(refused.value).endswith("Put it back as it was, or start a new run.")
    assert (folder / "data.json").read_text() == known
    assert read_record(folder)["status"] == "killed"


def test_a_run_goes_on_with_the_same_data_elsewhere(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = (*SMALL, "data=image_folder", "data.shape=[3,8,8]")
    stopped_after_an_epoch(compose_settings(*chosen, f"data.root={photos}"), monkeypatch)
    moved = shutil.move(photos, photos.with_name("moved"))
    assert read_record(go_on(compose_settings(*chosen, f"data.root={moved}")))["status"] == "finished"


@pytest.fixture
def own(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A run with an activation of the user's own, which uses another module."""
    (in_tmp / "own_scaled.py").write_text(OWN)
    (in_tmp / "own_factor.py").write_text(FACTOR)
    monkeypatch.syspath_prepend(in_tmp)
    settings = compose_settings(*SMALL, "data.limit=64", "resume=last")
    values = json.loads(json.dumps(settings.values))
    values["activation"] = {"_target_": "own_scaled.scaled"}
    yield Settings(values, {**settings.choices, "activation": "scaled"}, settings.folders)
    for name in ("own_scaled", "own_factor"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("file", "text", "changed"),
    [
        ("own_scaled.py", OWN.replace("FACTOR *", "-FACTOR *"), "own_scaled"),
        ("own_factor.py", "FACTOR = 3\n", "own_factor"),
    ],
)
def test_a_run_does_not_go_on_with_other_code(
    own: Settings, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, changed: str
) -> None:
    stopped_after_an_epoch(own, monkeypatch)
    (in_tmp / file).write_text(text)
    with pytest.raises(TrainingError, match=f"own components has changed since .* was started: {changed}. Put it"):
        go_on(own)


def test_a_comment_is_no_other_code(own: Settings, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped_after_an_epoch(own, monkeypatch)
    assert {*read_record(folder)["code"]} == {"own_scaled", "own_factor"}
    (in_tmp / "own_factor.py").write_text(f"# The one.\n\n{FACTOR}")
    assert read_record(go_on(own))["status"] == "finished"


def test_a_trial_of_a_sweep_starts_over_with_other_code(
    own: Settings, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_after_an_epoch(own, monkeypatch)
    folder = find_to_resume("last")
    job = worker.Job(trial=None, sweep="s")  # pyright: ignore[reportArgumentType]  (what is looked at is whether it is to be trained again)
    code = folder.record["code"]
    assert worker._make_way(job, folder, code) == []
    assert (folder.path / "last.ckpt").exists()
    told = worker._make_way(job, folder, {**code, "own_factor": "other"})
    assert not (folder.path / "last.ckpt").exists()
    assert told == ["The code of own_factor has changed: trials that had begun start over."]


def test_convgrids_and_installed_code_is_not_the_users_own() -> None:
    from convgrid.training.setup import prepare, read

    settings = compose_settings(*SMALL, "data.limit=64")
    _, planned = prepare(settings, read(settings))
    assert own_code(settings, planned) == {}

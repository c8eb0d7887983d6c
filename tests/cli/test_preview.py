"""The sheet of `convgrid preview`: which images and views it shows, where it is written, what is refused."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from convgrid.augment import Augment
from convgrid.augment.sheet import IMAGE_GAP, augmentation_sheet
from convgrid.cli.main import main
from convgrid.cli.preview import _caption, draw
from convgrid.config import Settings
from convgrid.training.trial import run

SettingsMaker = Callable[..., Settings]
SMALL = ("data=random", "data.shape=[3,8,8]", "data.size=60", "data.batch_size=20", "arch=linear")
EVERYTHING = (
    "augment=cifar", "augment.rotation_range=30", "augment.hue=0.3", "augment.mixup=1", "augment.cutmix=1",
    "imbalance.sampling=balanced",
)  # fmt: skip


def taken_in_training(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[tuple[Tensor, Tensor]]:
    """Each batch's images before and after augmentation."""
    seen: list[tuple[Tensor, Tensor]] = []
    change = Augment.__call__

    def spy(self: Augment, images: Tensor, targets: Tensor | None, generator: torch.Generator) -> object:
        changed = change(self, images, targets, generator)
        seen.append((images, changed[0]))
        return changed

    with monkeypatch.context() as patched:
        patched.setattr(Augment, "__call__", spy)
        run(settings, Console(quiet=True))
    return seen


def test_the_sheet_shows_what_the_training_takes(
    settings: SettingsMaker, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(*SMALL, *EVERYTHING, "seed=3", "trainer=cpu", "trainer.max_epochs=1", "tracking=none")
    before, after = next(
        pair for pair in taken_in_training(monkeypatch, chosen) if len(pair[0]) > 2
    )  # those tried first
    assert len(before) == 20
    expected = np.asarray(augmentation_sheet(before[:8], [after[:8]]))[:, IMAGE_GAP:-IMAGE_GAP]
    drawn = np.asarray(draw(chosen))
    left = drawn.shape[1] - augmentation_sheet(before[:8], [after[:8]] * 7).width + IMAGE_GAP
    np.testing.assert_array_equal(drawn[:, left : left + expected.shape[1]], expected)


def test_every_epoch_and_every_seed_has_views_of_its_own(settings: SettingsMaker) -> None:
    drawn = np.asarray(draw(settings(*SMALL, "augment=custom", "augment.brightness=0.5")))
    columns = [drawn[:100, right - 100 : right] for right in range(drawn.shape[1], drawn.shape[1] - 700, -100)]
    assert len({column.tobytes() for column in columns}) == 7
    others = draw(settings(*SMALL, "augment=custom", "augment.brightness=0.5", "seed=1"))
    assert not np.array_equal(drawn, np.asarray(others))


@pytest.mark.parametrize("data", [["data=digits"], ["data=digits_angle", "loss=logcosh"]])
def test_the_target_stands_left_of_each_image(settings: SettingsMaker, data: list[str]) -> None:
    drawn = np.asarray(draw(settings(*data)).convert("L"))
    rows = np.split(drawn[4:], 8)
    width = drawn.shape[1] - (96 + 4 + 3 * 4)  # without an augment, one column of images
    assert 8 <= width < 80
    for row in rows:
        caption = row[:, :width]
        assert caption.min() < 100
        assert (caption[:20] == 255).all()


@pytest.mark.parametrize(
    ("target", "names", "caption"),
    [
        (torch.tensor(1), ("cats", "dogs"), "dogs"),
        (torch.tensor([1.0, 0.0, 1.0]), ("red", "blue", "green"), "red, green"),
        (torch.tensor([1595000.0, 0.1]), (), "1595000, 0.1"),
    ],
)
def test_a_caption_is_a_class_labels_or_numbers(target: Tensor, names: tuple[str, ...], caption: str) -> None:
    assert _caption(target, names) == caption


def test_the_path_is_printed_and_holds_a_png(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", *SMALL, "augment=keras_blog"]) == 0
    assert main(["preview", *SMALL, "augment=cifar", "out=other.PNG"]) == 0
    assert capsys.readouterr().out == "preview.png\nother.PNG\n"
    assert {path.name for path in in_tmp.iterdir()} == {"preview.png", "other.PNG"}
    for name in ("preview.png", "other.PNG"):
        with Image.open(name) as picture:
            assert picture.format == "PNG"
            assert picture.height == 8 * 100 + 4


def test_a_folder_of_photos_too_large_for_memory_is_shown_too(settings: SettingsMaker, tmp_path: Path) -> None:
    for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("RGB", (20, 20), colour).save(tmp_path / name / f"{number}.png")
    folder = ("data=image_folder", f"data.root={tmp_path}", "data.shape=[3,16,16]", "data.num_classes=2")
    streamed = draw(settings(*folder, "data.memory_gib=0", "data.workers=1", "augment=cifar"))
    assert np.array_equal(np.asarray(streamed), np.asarray(draw(settings(*folder, "augment=cifar"))))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["data=cifar11", "out=sheet.jpg"],
            "ConfigError: data=cifar11 is not an option of data. Did you mean cifar10?",
        ),
        (["data=digits", "out=sheet.jpg"], "ConfigError: out=sheet.jpg must end in .png, which the sheet is.\n"),
        (["out=no/sheet.png"], "ConfigError: out=no/sheet.png: no is not a folder.\n"),
        (["augment=custom", "augment.hue=0.6"], "ConfigError: augment.hue=0.6 must be in [0, 0.5]: it is turns of the"),
        (["-m", "seed=1,2"], "ConfigError: preview shows the images of one run. Leave out -m, "),
        (["resume=1a"], "ConfigError: resume=1a: preview does not look at runs. Leave it out.\n"),
        (["data=image_folder", "data.root=nowhere"], "DataError: data.root=nowhere"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(
    in_tmp: Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert main(["preview", *argv]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(message)
    assert len(told.err.splitlines()) == (2 if "out=sheet.jpg" in argv and "data=cifar11" in argv else 1)
    assert list(in_tmp.iterdir()) == []


def test_a_sheet_that_cannot_be_written_is_told(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (in_tmp / "taken.png").mkdir()
    assert main(["preview", *SMALL, "out=taken.png"]) == 1
    assert capsys.readouterr().err == "ConfigError: out=taken.png cannot be written: Is a directory.\n"


def test_help_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: convgrid preview [group=option | key=value ...] [out=FILE.png]\n")


def test_a_mistake_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from convgrid.cli.main import main; status = main(['preview', 'augmnet=cifar']); "
        "print(status, 'torch' in sys.modules, 'PIL' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "1 False False\n"
    assert done.stderr == "ConfigError: augmnet is not a key. Did you mean augment?\n"

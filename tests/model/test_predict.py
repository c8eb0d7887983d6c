"""What `convgrid predict` says of image files."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import compose_settings
from convgrid.cli.main import main
from convgrid.model.export import write
from convgrid.model.trained_model import load
from convgrid.training.setup import read
from trained_models import PHOTOS, SMALL, train, write_arrays

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run a command line in an empty folder: exit status, stdout, stderr."""

    def type_(*argv: object) -> tuple[int, str, str]:
        status = main(["predict", *map(str, argv)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return type_


@pytest.fixture
def digits(in_tmp: Path) -> list[int]:
    """Test images as files of 0 to 255, and their classes."""
    test = read(compose_settings(*SMALL)).test
    assert test is not None
    assert isinstance(test.images, torch.Tensor)
    (in_tmp / "digits").mkdir()
    for number, image in enumerate(test.images[:100]):
        pixels = (image[0].float() * 255 / 16).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(in_tmp / "digits" / f"{number:03}.png")
    return test.targets[:100].tolist()


def test_files_get_the_classes_that_the_same_images_got_in_the_test(
    trained_digits: Path, typed: Typed, digits: list[int]
) -> None:
    test = read(compose_settings(*SMALL)).test
    assert test is not None
    assert isinstance(test.images, torch.Tensor)
    expected = load(trained_digits).predictor(test.images[:100])
    status, out, err = typed(trained_digits, "digits", "--json")
    assert status == 0
    assert err == "Black and white of a file, 0 and 255, are taken for 0 and 16, as in the training.\n"
    rows = json.loads(out)
    assert [row["file"] for row in rows] == [f"digits/{number:03}.png" for number in range(100)]
    assert [row["class"] for row in rows] == [str(best) for best in expected.argmax(1).tolist()]
    np.testing.assert_allclose([[*row["probability"].values()] for row in rows], expected, atol=1e-5)
    hits = sum(row["class"] == str(target) for row, target in zip(rows, digits, strict=True))
    assert hits > 60
    table = list(csv.DictReader(io.StringIO(typed(trained_digits, "digits", "--csv")[1])))
    assert [row["class"] for row in table] == [row["class"] for row in rows]
    assert float(table[7]["probability_3"]) == rows[7]["probability"]["3"]
    shown = typed(trained_digits, "digits/000.png")[1]
    best = sorted(rows[0]["probability"].items(), key=lambda pair: -pair[1])[:3]
    assert shown == "  ".join(["digits/000.png", *(f"{name} {value:.3f}" for name, value in best)]) + "\n"


def test_wrong_files_are_named_and_the_others_predicted(
    trained_digits: Path, typed: Typed, in_tmp: Path, digits: list[int]
) -> None:
    (in_tmp / "broken.png").write_bytes(b"no picture")
    status, out, err = typed(trained_digits, "missing.png", "digits/000.png", "broken.png", "digits/001.png")
    assert status == 1
    assert [line.partition(" ")[0] for line in out.splitlines()] == ["digits/000.png", "digits/001.png"]
    assert [line.partition(":")[0] for line in err.splitlines()[1:]] == ["missing.png", "broken.png"]
    assert "No such file" in err
    status, out, _ = typed(trained_digits, "missing.png", "--json")
    assert (status, json.loads(out)) == (1, [])


def test_photos_are_turned_upright_and_made_as_large_and_grey_as_the_trainings(in_tmp: Path, typed: Typed) -> None:
    """A half-bright image: upright, the upper half is bright."""
    upper = np.zeros((60, 12, 12), np.uint8)
    targets = np.arange(60) % 2
    upper[targets == 1, :6] = 255
    upper[targets == 0, 6:] = 255
    folder = train(
        in_tmp, *write_arrays(in_tmp / "own.npz", targets, upper[:, None]), "data.limit=0", "trainer.max_epochs=12"
    )
    large = Image.fromarray(np.repeat(np.repeat(upper[1], 10, 0), 10, 1))
    turned = large.convert("RGB").rotate(90)  # counter-clockwise; orientation 6 turns it back
    exif = Image.Exif()
    exif[0x0112] = 6
    large.save(in_tmp / "upright.png")
    turned.save(in_tmp / "turned.jpg", exif=exif)
    status, out, err = typed(folder, "upright.png", "turned.jpg", "--json")
    assert (status, err) == (0, "")
    assert [row["class"] for row in json.loads(out)] == ["1", "1"]


def test_labels_and_numbers_are_shown(in_tmp: Path, typed: Typed) -> None:
    Image.new("RGB", PHOTOS[1:], "white").save(in_tmp / "white.png")
    labels = np.arange(120).reshape(60, 2) % 3 % 2
    numbers = np.arange(60.0)
    own = ["data.limit=0", "data.task=multilabel", "loss=binary_crossentropy"]
    folder = train(in_tmp, *write_arrays(in_tmp / "labels.npz", labels), *own)
    (row,) = json.loads(typed(folder, "white.png", "--json")[1])
    assert row["labels"] == [name for name, value in row["probability"].items() if value > 0.5]
    assert typed(folder, "white.png")[1].split("  ")[1] == (", ".join(row["labels"]) or "none")
    own = ["data.limit=0", "data.task=regression", "loss=mean_absolute_error"]
    folder = train(in_tmp, *write_arrays(in_tmp / "numbers.npz", numbers), *own)
    ((value,),) = load(folder).predictor(torch.full((1, *PHOTOS), 255, dtype=torch.uint8)).tolist()
    assert typed(folder, "white.png")[1] == f"white.png  target {value:.4g}\n"
    assert typed(folder, "white.png", "--csv")[1] == f"file,target\nwhite.png,{value}\n"


def test_an_exported_file_answers_as_its_run(
    trained_digits: Path, typed: Typed, in_tmp: Path, digits: list[int]
) -> None:
    model = load(trained_digits)
    write(model, "safetensors", in_tmp / "model.safetensors", model.images)
    assert typed("model.safetensors", "digits") == typed(trained_digits, "digits")


def test_an_export_is_held_against_the_images_given(
    trained_digits: Path, in_tmp: Path, digits: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(trained_digits)
    assert main(["export", run, "--format", "safetensors", "--images", "digits/000.png", "missing.png"]) == 1
    assert capsys.readouterr().err == "ModelError: --images: missing.png: No such file or directory.\n"
    assert not [*in_tmp.glob("*.safetensors*")]
    assert main(["export", run, "--format", "safetensors", "--images", "digits"]) == 0
    assert ", the same answer to 100 of 100, on 100 given images\n" in capsys.readouterr().out


def test_what_cannot_be_asked_is_named(in_tmp: Path, typed: Typed, trained_digits: Path) -> None:
    (in_tmp / "empty").mkdir()
    assert typed(trained_digits, "empty")[::2] == (
        1, "ModelError: empty holds no images (.jpg, .jpeg, .jpe, .jfif, .png, .bmp, .webp, .gif, .tif, .tiff).\n",
    )  # fmt: skip
    assert typed("nothing", "x.png")[2].startswith("ConfigError: nothing is not a run or sweep known in")
    four = write_arrays(in_tmp / "four.npz", np.arange(60) % 2, np.zeros((60, 4, 8, 8), np.uint8))
    Image.new("L", (8, 8)).save(in_tmp / "x.png")
    status, _, err = typed(train(in_tmp, *four, "data.limit=0"), "x.png")
    assert status == 1
    assert err.startswith("ModelError: The model takes images of 4 channels, and files have 1 (grey) or 3 (RGB).")

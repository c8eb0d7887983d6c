"""Tables as people have them: semicolons, paths of Windows, True and False, classes; and odd arrays beside them."""

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convgrid.data import ImageData, arrays, table_images
from convgrid.errors import ConvgridError

IMAGES = ("a/1.png", "a/2.png", "a/3.png", "a/4.png")


def read(folder: Path, *lines: str, images: tuple[str, ...] = IMAGES, **options: Any) -> ImageData:
    for number, name in enumerate(images):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(folder / name)
    (folder / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    shape = {"shape": [1, 4, 4], "split": [0.5, 0.5], "targets": ["target"]}
    return table_images(table=str(folder / "t.csv"), **{**shape, **options})


def targets_of(data: ImageData) -> list[Any]:
    """In the order of the images, which their grey levels tell."""
    pairs = [
        (image.flatten()[0].item(), target.tolist())
        for part in (data.train, data.validation)
        for image, target in zip(part.images, part.targets, strict=True)  # pyright: ignore[reportArgumentType]
    ]
    return [target for _, target in sorted(pairs)]


def test_semicolons_windows_paths_and_decimal_commas_are_read(tmp_path: Path) -> None:
    data = read(tmp_path, "file;target", "a\\1.png;1,5", "a\\2.png;2", "a/3.png;-0,25", "a/4.png;4")
    assert targets_of(data) == [[1.5], [2], [-0.25], [4]]


def test_names_in_another_normal_form_are_found(tmp_path: Path) -> None:
    names = [unicodedata.normalize("NFD", f"é{number}.png") for number in range(4)]
    lines = [f"{unicodedata.normalize('NFC', name)},{number}" for number, name in enumerate(names)]
    assert targets_of(read(tmp_path, "file,target", *lines, images=tuple(names))) == [[0], [1], [2], [3]]


def test_true_and_false_are_labels(tmp_path: Path) -> None:
    lines = ["a/1.png,True,FALSE", "a/2.png,false,true", "a/3.png,True,True", "a/4.png,0,1"]
    data = read(tmp_path, "file,cat,dog", *lines, targets=["cat", "dog"], task="multilabel")
    assert targets_of(data) == [[1, 0], [0, 1], [1, 1], [0, 1]]


@pytest.mark.parametrize("names", [("cat", "dog"), ("2", "10"), ("False", "True")])
def test_a_column_of_classes_keeps_their_names(tmp_path: Path, names: tuple[str, str]) -> None:
    lines = ["file,target", *(f"a/{number}.png,{names[number % 2]}" for number in range(1, 5))]
    data = read(tmp_path, *lines, task="classification")
    assert (data.class_names, data.task, targets_of(data)) == (names, "classification", [1, 0, 1, 0])
    with pytest.raises(ConvgridError, match=r"data\.num_classes=3 does not fit: column target of .* has 2 classes"):
        read(tmp_path, *lines, task="classification", num_classes=3)


def test_numbers_that_are_no_classes_lead_to_regression(tmp_path: Path) -> None:
    lines = ["file,target", "a/1.png,0.5", "a/2.png,1", "a/3.png,1", "a/4.png,2"]
    with pytest.raises(ConvgridError, match=r"holds 0\.5, which is not a class\. Use data\.task=regression"):
        read(tmp_path, *lines, task="classification")


# --- arrays

NINE = np.arange(9 * 16, dtype=np.uint8).reshape(9, 4, 4)


def npz(folder: Path, options: dict[str, Any] | None = None, **content: Any) -> ImageData:
    np.savez(folder / "a.npz", **content)
    return arrays(path=str(folder / "a.npz"), **{"shape": [1, 4, 4], "split": [0.5, 0.5], **(options or {})})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"targets": np.array([0] * 8 + [3 * 10**8])}, r"up to 300000000, but no image of class 1\. Number .*gaps\.$"),
        ({"targets": np.array([0] * 8 + [10**12])}, r"up to 1000000000000, but no image of class 1\."),
        ({"targets": np.array([0] * 8 + [2**63], np.uint64)}, r"holds 9223372036854775808, which is not a class"),
        ({"targets": np.array(3)}, r"targets is a single number\. Give one for each image\."),
        ({"targets": np.zeros((9, 0)), "options": {"task": "regression"}}, r"it is \[9, 0\]"),
        ({"targets": np.zeros((9, 0), int)}, r"it is \[9, 0\]"),
        ({"images": NINE[:0], "targets": np.arange(0)}, r"images holds no images\. Leave it out, or fill it\."),
        ({"targets": np.arange(9) % 2, "weights": np.array(1.0)}, r"weights must be one number for each of 9 images"),
        ({"targets": np.arange(9) % 2, "options": {"num_classes": 3 * 10**8}}, r"must be from 1 to 1048576\.$"),
    ],
)
def test_odd_targets_are_refused_at_once(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConvgridError, match=message):
        npz(tmp_path, **{"images": NINE, **content})


def test_parts_that_differ_in_sign_are_floats_alike(tmp_path: Path) -> None:
    deep, classes = NINE.astype(np.int16), np.arange(9) % 2
    data = npz(tmp_path, x_train=deep, y_train=classes, x_val=deep - 200, y_val=classes)
    assert [part.images.dtype for part in (data.train, data.validation)] == [data.train.images.dtype] * 2  # pyright: ignore
    assert data.validation.images.min() == -200  # pyright: ignore


def test_one_hot_rows_are_classes(tmp_path: Path) -> None:
    data = npz(tmp_path, images=NINE, targets=np.eye(3)[np.arange(9) % 3])
    assert (data.class_names, data.train.targets.dim()) == (("0", "1", "2"), 1)

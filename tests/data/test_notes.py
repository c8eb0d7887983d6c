"""What the user is told of a data set: copies, parts without a class; and that names and digests stay."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convgrid.data import (
    Pool,
    arrays,
    check_data,
    digits,
    digits_angle,
    divide,
    image_folder,
    notes_on,
    random,
    table_images,
)
from convgrid.data.origins import Origins
from convgrid.errors import DataError

SHAPE = [3, 8, 8]


def photo(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, 0, 0)).save(path)


def own(classes: Sequence[int], validation: Sequence[int]) -> tuple[str, ...]:
    """Notes on data of three classes with a validation part of its own."""
    pools = [(np.zeros((len(each), 1, 2, 2), np.uint8), np.array(each)) for each in (classes, validation)]
    options: dict[str, Any] = {"digest": "", "split": [0.5, 0.5], "split_seed": 0, "limit": 0}
    return notes_on(divide(pools[0], validation=pools[1], class_names=("cat", "dog", "emu"), **options))


def test_parts_without_a_class_are_told_in_one_note() -> None:
    assert own([0, 1, 2, 0], [0, 1, 2]) == ()
    assert own([0, 1, 0], [1, 2]) == (
        "Parts lack classes: the training part has none of emu; the validation part has none of cat. How well those "
        "are predicted is not known. Add images of them, or divide otherwise (data.split, data.split_seed).",
    )


def test_a_class_of_one_image_among_a_thousand_is_told() -> None:
    pool = (np.zeros((1001, 1, 2, 2), np.uint8), np.array([0] * 1000 + [1]))
    data = divide(pool, class_names=("a", "b"), digest="", split=[0.8, 0.2], split_seed=0, limit=0)
    (note,) = notes_on(data)
    assert "the validation part has none of b" in note


@pytest.mark.parametrize("options", [{}, {"memory_gib": 0.0}])
def test_copies_in_two_parts_or_under_two_classes_are_told_with_examples(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    for number in range(4):
        for place, name in enumerate(("train/cat", "train/dog", "val/cat", "val/dog")):
            photo(tmp_path / name / f"{number}.png", 10 * number + place)
    assert notes_on(image_folder(root=str(tmp_path), shape=SHAPE, **options)) == ()
    (tmp_path / "val/cat/copy.png").write_bytes((tmp_path / "train/cat/1.png").read_bytes())
    (tmp_path / "train/dog/copy.png").write_bytes((tmp_path / "train/cat/2.png").read_bytes())
    assert notes_on(image_folder(root=str(tmp_path), shape=SHAPE, **options)) == (
        "Copies of images are in several parts: 1 image (train/cat/1.png = val/cat/copy.png). Results on them look "
        "better than they are. Remove them, or keep them together with data.group.",
        "Copies of images are under several classes: 1 image (train/cat/2.png = train/dog/copy.png). Keep one of each.",
    )


def test_copies_in_an_npz_are_told() -> None:
    names, contents = [f"images[{place}]" for place in range(12)], [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]
    pool = Pool(np.zeros((6, 1, 2, 2), np.uint8), np.arange(6) % 2, None, Origins.of(names[:6], contents[:6]))
    other = Pool(np.zeros((6, 1, 2, 2), np.uint8), np.arange(6) % 2, None, Origins.of(names[6:], contents[6:]))
    options: dict[str, Any] = {"digest": "", "split": [0.5, 0.5], "split_seed": 0, "limit": 0}
    (note,) = notes_on(divide(pool, validation=other, class_names=("a", "b"), **options))
    assert note.startswith(
        "Copies of images are in several parts: 6 images (images[0] = images[6], images[1] = images[7], "
        "images[2] = images[8] and 3 more). "
    )


def test_digests_are_those_of_before(tmp_path: Path) -> None:
    """Of the readers at commit 4107e80, before hidden files, groups and float64: identities of trials hang on them."""
    pixels = (np.arange(6 * 9 * 12 * 3) * 7 % 251).astype(np.uint8).reshape(6, 9, 12, 3)
    for part in ("train", "val"):
        for place, label in enumerate(("cat", "dog")):
            (tmp_path / "photos" / part / label).mkdir(parents=True)
            for number in range(3):
                image = Image.fromarray(pixels[number + 3 * place])
                image.save(tmp_path / "photos" / part / label / f"{number}.bmp")
    rows = [
        f"photos/train/{label}/{number}.bmp,{number * 0.37 + place},{number * 1000.5},{number + 1},{number % 2},1"
        for place, label in enumerate(("cat", "dog"))
        for number in range(3)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["file,price,big,w,cat,dog", *rows]))
    root, table = str(tmp_path / "photos"), {"table": str(tmp_path / "t.csv"), "shape": SHAPE, "split": [0.5, 0.5]}
    assert image_folder(root=root, shape=SHAPE).digest == "f7e791e84897c2c8"
    assert image_folder(root=root, shape=SHAPE, memory_gib=0.0).digest == "3d0f6cc03e849e65"
    several: dict[str, Any] = {**table, "targets": ["price", "big"], "weight": "w"}
    assert table_images(**{**table, "targets": ["price"]}).digest == "5f16bbf503d4ccfb"  # pyright: ignore
    assert table_images(**several).digest == "52b866ad0617d4a9"
    labels: dict[str, Any] = {**table, "targets": ["cat", "dog"], "task": "multilabel"}
    assert table_images(**labels).digest == "2e4d8b316ff103c0"
    assert digits().digest == "98822cb3c2966b90"
    assert digits_angle().digest == "008a38670db2b17a"
    assert random().digest == "428a9d22cea656f1"


def test_one_class_is_refused_whatever_read_it() -> None:
    pool = (np.zeros((10, 1, 2, 2), np.uint8), np.zeros(10, int))
    data = divide(pool, class_names=("cat",), digest="", split=[0.8, 0.2], split_seed=0, limit=0)
    with pytest.raises(DataError, match=r"^data=own has one class, cat: nothing can be told apart\."):
        check_data(data, (1, 2, 2), None, "data=own")


SQUARES = (np.arange(12 * 16) * 7 % 251).astype(np.uint8).reshape(12, 4, 4)


@pytest.mark.parametrize(
    ("content", "task", "digest"),
    [
        ({"images": SQUARES, "targets": np.arange(12) % 3}, "classification", "42454c325c6e93b3"),
        (
            {"images": SQUARES, "targets": np.linspace(0, 1, 12), "weights": np.ones(12)},
            "regression",
            "855d2323f6d8698a",
        ),
        ({"images": SQUARES / 3, "targets": np.arange(24).reshape(12, 2) % 2}, "multilabel", "63d31b3109fea026"),
        (
            {"x_train": SQUARES, "y_train": np.arange(12) % 2, "x_val": SQUARES[:4], "y_val": np.arange(4) % 2},
            "classification",
            "76456a0b92b22219",
        ),
        ({"images": SQUARES, "targets": np.arange(12)}, "regression", "064720735ed27f26"),
    ],
)
def test_digests_of_arrays_are_those_of_before(tmp_path: Path, content: dict[str, Any], task: str, digest: str) -> None:
    np.savez(tmp_path / "a.npz", **content)
    options: dict[str, Any] = {"shape": [1, 4, 4], "split": [0.5, 0.5], "task": task}
    assert arrays(path=str(tmp_path / "a.npz"), **options).digest == digest

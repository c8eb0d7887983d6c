"""What a plan needs to know of the data: counted as the reader does, without torch."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convgrid import data
from convgrid.data.counting import Counted, count
from convgrid.errors import DataError

OF_CLASSES = "data.task=classification"
TABLE = "file,age,kind\n0.png,3,cat\n1.png,4,dog\n2.png,5,cat\n"


def folder(root: Path) -> dict[str, Any]:
    for part, images in (("train", 3), ("val", 1)):
        for name in ("cat", "dog", "eel"):
            (root / part / name).mkdir(parents=True)
            for number in range(images):
                Image.new("RGB", (4, 4), (number, 0, 0)).save(root / part / name / f"{number}.png")
    return {"root": str(root)}


def table(root: Path) -> dict[str, Any]:
    (root / "t.csv").write_text(TABLE, encoding="utf-8")
    for number in range(3):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(root / f"{number}.png")
    return {"table": str(root / "t.csv")}


def npz(root: Path, targets: Any) -> dict[str, Any]:
    np.savez(root / "a.npz", images=np.arange(60, dtype=np.uint8).reshape(6, 1, 2, 5), targets=np.array(targets))
    return {"path": str(root / "a.npz"), "shape": [1, 2, 5]}


CASES: dict[str, tuple[Callable[..., data.ImageData], Callable[[Path], dict[str, Any]], dict[str, Any], str, int]] = {
    "folders": (data.image_folder, folder, {}, "classification", 3),
    "classes of a table": (data.table_images, table, {"targets": ["kind"]}, "classification", 2),
    "numbers of a table": (data.table_images, table, {"targets": ["age"]}, "regression", 1),
    "classes of an npz": (data.arrays, lambda root: npz(root, [0, 1, 2, 3, 2, 1]), {}, "classification", 4),
    "one-hot rows": (data.arrays, lambda root: npz(root, np.eye(3)[[0, 1, 2, 0, 1, 2]]), {}, "classification", 3),
    "labels": (data.arrays, lambda root: npz(root, [[0, 1, 1]] * 6), {}, "multilabel", 3),
    "numbers": (data.arrays, lambda root: npz(root, np.arange(12.0).reshape(6, 2)), {}, "regression", 2),
}


@pytest.mark.parametrize("case", CASES)
def test_a_plan_counts_what_the_reader_finds(tmp_path: Path, case: str) -> None:
    reader, write, more, task, number = CASES[case]
    options = {**write(tmp_path), **more}
    found = count(f"convgrid.data.{reader.__name__}", options, task)
    assert found is not None
    stated = {} if reader is data.image_folder else {"task": task}
    assert found.number == number == reader(**{"shape": [3, 4, 4], **options, **stated}).num_classes


def test_what_was_counted_is_said(tmp_path: Path) -> None:
    found = count("convgrid.data.image_folder", folder(tmp_path), "classification")
    assert found == Counted(3, f"class folders of {tmp_path}, images: 9 train, 3 validation")


def test_what_a_run_refuses_a_plan_refuses_in_the_same_words(tmp_path: Path) -> None:
    root = folder(tmp_path)["root"] + "/train/cat"
    with pytest.raises(DataError) as of_plan:
        count("convgrid.data.image_folder", {"root": root}, "classification")
    with pytest.raises(DataError) as of_run:
        data.image_folder(root=root)
    assert str(of_plan.value) == str(of_run.value) == f"{root} holds no class folders. Use data.root={tmp_path}."


def test_readers_of_the_users_own_are_not_asked() -> None:
    assert count("mine.reader", {"root": "x"}, "classification") is None


def test_every_name_of_the_room_can_be_imported() -> None:
    assert "image_folder" in dir(data)
    assert [name for name in dir(data) if not hasattr(data, name)] == []
    with pytest.raises(AttributeError, match=r"module 'convgrid\.data' has no attribute 'imagenet'"):
        data.imagenet  # noqa: B018  # pyright: ignore


def test_a_dry_run_counts_without_torch_and_says_so(tmp_path: Path) -> None:
    lines = [
        ["data=image_folder", f"data.root={folder(tmp_path)['root']}"],
        [
            "data=table_images",
            f"data.table={table(tmp_path)['table']}",
            "data.targets=[kind]",
            "data.task=classification",
        ],
        ["data=arrays", f"data.path={npz(tmp_path, [0, 1] * 3)['path']}", "data.shape=[1,2,5]", "arch=linear"],
        ["-m", "data=image_folder", f"data.root={tmp_path}", "arch.n=1,2"],
    ]
    code = (
        "import sys; from convgrid.cli.main import main\n"
        f"for line in {lines}: assert main(['run', 'dry_run=true', *line]) == 0\n"
        "print({'torch', 'PIL'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    told = [line for line in done.stdout.splitlines() if line.startswith("data.num_classes=")]
    assert told == [
        f"data.num_classes=3, counted: class folders of {tmp_path}, images: 9 train, 3 validation",
        f"data.num_classes=2, counted: classes in column kind of {tmp_path}/t.csv",
        f"data.num_classes=2, counted: classes in {tmp_path}/a.npz",
    ]
    assert done.stdout.splitlines()[-1] == "set()"

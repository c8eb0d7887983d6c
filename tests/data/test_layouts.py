"""Folders as people have them: parts by any name, roots a level off, hidden files, links, names of other alphabets."""

import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convgrid.data import ImageData, image_folder, notes_on
from convgrid.data.files import readable, walk
from convgrid.errors import DataError

COUNT = iter(range(10**6))


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    value = next(COUNT)
    Image.new("RGB", (8, 8), (value % 256, value // 256, 7)).save(path)


def photos(*folders: Path, count: int = 3) -> None:
    for folder in folders:
        for number in range(count):
            photo(folder / f"{number}.png")


def read(root: Path, **options: Any) -> ImageData:
    return image_folder(root=str(root), **{"shape": [3, 8, 8], "split": [0.5, 0.5], **options})


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(root)
    return str(caught.value)


@pytest.mark.parametrize("train", ["train", "Training", "TRAIN"])
@pytest.mark.parametrize("validation", ["val", "Valid", "validation", "dev"])
@pytest.mark.parametrize("test", ["test", "Testing"])
def test_parts_have_their_usual_names_in_any_case(tmp_path: Path, train: str, validation: str, test: str) -> None:
    for part, count in ((train, 4), (validation, 3), (test, 2)):
        photos(tmp_path / part / "cat", tmp_path / part / "dog", count=count)
    data = read(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert [len(part) for part in (data.train, data.validation, data.test) if part is not None] == [8, 6, 4]


def test_two_folders_of_one_part_are_refused(tmp_path: Path) -> None:
    photos(*(tmp_path / part / label for part in ("train", "val", "valid") for label in ("cat", "dog")))
    assert (
        refusal(tmp_path) == f"data.root={tmp_path} holds several folders of validation images: val, valid. Keep one."
    )


def test_what_stands_beside_the_parts_is_told(tmp_path: Path) -> None:
    photos(*(tmp_path / part / label for part in ("train", "old") for label in ("cat", "dog")), tmp_path / "test")
    assert read(tmp_path).notes == ("Left out, since outside of the parts' folders: 2 (old, test).",)


def test_folders_of_the_same_names_are_no_classes(tmp_path: Path) -> None:
    photos(*(tmp_path / part / label for part in ("lot1", "lot2") for label in ("cat", "dog")))
    assert refusal(tmp_path) == (
        f"{tmp_path}: its folders lot1, lot2 are not classes: they hold only folders of the same names (cat, dog). "
        f"Use the one whose folders are classes, such as data.root={tmp_path}/lot1, "
        "or name them train, validation and test."
    )


def test_parts_without_class_folders_are_no_classes(tmp_path: Path) -> None:
    photos(tmp_path / "train", tmp_path / "test")
    assert refusal(tmp_path).startswith(f"{tmp_path} holds test, train, which are parts, not classes")


def test_a_root_a_level_too_high_is_told_with_the_one_meant(tmp_path: Path) -> None:
    photos(*(tmp_path / "pets" / part / label for part in ("train", "val") for label in ("cat", "dog")))
    assert refusal(tmp_path) == (
        f"{tmp_path} holds a single class folder, pets, and a network needs two or more. Use data.root={tmp_path}/pets."
    )
    photos(tmp_path / "notes")
    assert refusal(tmp_path) == f"{tmp_path}/pets holds parts, so it is not a class. Use data.root={tmp_path}/pets."


def test_a_root_a_level_too_low_is_told_with_the_one_meant(tmp_path: Path) -> None:
    photos(*(tmp_path / "pets" / part / label for part in ("train", "val") for label in ("cat", "dog")))
    photos(tmp_path / "plain/cat", tmp_path / "plain/dog")
    assert refusal(tmp_path / "pets/train/cat").endswith(f"holds no class folders. Use data.root={tmp_path}/pets.")
    assert refusal(tmp_path / "plain/dog").endswith(f"holds no class folders. Use data.root={tmp_path}/plain.")


def test_hidden_and_system_files_are_left_out_wherever_they_are_and_counted(tmp_path: Path) -> None:
    photos(tmp_path / "cat", tmp_path / "dog")
    plain = read(tmp_path)
    assert plain.notes == ()
    hidden = ["cat/.ipynb_checkpoints/0.png", "cat/._0.png", "dog/deep/__MACOSX/1.png", "@eaDir/2.png", ".git/3.png"]
    for name in hidden:
        photo(tmp_path / name)
    (tmp_path / "cat/.DS_Store").write_bytes(b"")
    (tmp_path / "dog/Thumbs.db").write_bytes(b"")
    data = read(tmp_path)
    assert data.digest == plain.digest
    (note,) = data.notes
    assert note.startswith("Left out as hidden or made by the system: 7 files or folders (")


def test_linked_folders_are_read_once_and_loops_end(tmp_path: Path) -> None:
    photos(tmp_path / "elsewhere", tmp_path / "photos/cat", tmp_path / "photos/dog")
    (tmp_path / "photos/cat/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/cat/again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/dog/up").symlink_to(tmp_path / "photos/dog")
    (tmp_path / "photos/dog/itself").symlink_to("itself")
    (tmp_path / "photos/emu").symlink_to(tmp_path / "elsewhere")
    data = read(tmp_path / "photos")
    counts = (data.train.targets.bincount() + data.validation.targets.bincount()).tolist()
    assert counts == [6, 3, 3]


def test_class_names_in_another_normal_form_are_the_same_class(tmp_path: Path) -> None:
    names = ("eclair", "éclair", "zebra")
    composed, apart = ([unicodedata.normalize(form, name) for name in names] for form in ("NFC", "NFD"))
    photos(*(tmp_path / "train" / name for name in composed), count=2)
    for number, name in enumerate(apart):
        photos(tmp_path / "val" / name, count=number + 1)
    data = read(tmp_path)
    validating = {data.class_names[place]: count for place, count in enumerate(data.validation.targets.bincount())}
    assert validating == {"eclair": 1, "éclair": 2, "zebra": 3}
    photos(tmp_path / "train" / apart[1])
    assert "class folders whose names look alike" in refusal(tmp_path)


def test_names_that_are_not_utf_8_become_names_that_can_be_written(tmp_path: Path) -> None:
    photos(tmp_path / os.fsdecode(b"caf\xe9"), tmp_path / "dog")
    data = read(tmp_path)
    assert data.class_names == ("caf\\xe9", "dog")
    assert all(name.encode() for name in data.class_names)
    assert readable("plain") == "plain"


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=f"^{tmp_path} cannot be listed \\(Permission denied\\)"):
        walk(tmp_path)


@pytest.mark.parametrize("extension", ["jfif", "jpe", "gif", "tif", "tiff", "JPG"])
def test_every_extension_that_can_be_decoded_is_read(tmp_path: Path, extension: str) -> None:
    for label in ("cat", "dog"):
        for number in range(2):
            (tmp_path / label).mkdir(exist_ok=True)
            kind = {"gif": "GIF", "tif": "TIFF", "tiff": "TIFF"}.get(extension, "JPEG")
            Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / label / f"{number}.{extension}", kind)
    assert len(read(tmp_path).train) == 2
    assert np.array_equal(read(tmp_path).train.targets, [0, 1])


def test_notes_on_copies_can_be_written_whatever_files_are_called(tmp_path: Path) -> None:
    for name in (b"gr\xfcn", b"rot"):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        for number in range(5):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / os.fsdecode(b"\xe9%d.png" % number))
    told = notes_on(image_folder(root=str(tmp_path), shape=[3, 8, 8], group="([^/]*)[.]png"))
    assert r"gr\xfcn/\xe9" in " ".join(told)
    assert " ".join(told).encode("utf-8")

import multiprocessing
import shutil
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convgrid.data import Files, ImageData, Split, batches, image_folder, statistics
from convgrid.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
STREAMED = {"memory_gib": 0.0, "workers": 2}
SHAPE = [3, 8, 8]


def photo(path: Path, size: tuple[int, int] = (12, 9), mode: str = "RGB", **options: Any) -> np.ndarray:
    """Write smooth noise, width x height, that survives JPEG; returns its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    image = small.resize(size, Image.Resampling.BICUBIC).convert(mode)
    image.save(path, **options)
    return np.asarray(image)


def folder_of(root: Path, parts: Sequence[str] = ("train", "validation"), num_images: int = 4) -> Path:
    for part in parts:
        for label in ("cat", "dog"):
            for number in range(num_images):
                photo(root / part / label / f"{number}.jpg", (10 + number, 15 - number))
    return root


def read(root: Path, **options: Any) -> ImageData:
    return image_folder(root=str(root), **{"shape": SHAPE, **options})


def pixels_of(split: Split | None) -> np.ndarray:
    assert split is not None
    assert isinstance(split.images, torch.Tensor)
    return split.images.numpy()


# --- layouts


def test_train_validation_and_test_folders_are_used_as_they_are(tmp_path: Path) -> None:
    for name in ("validation", "val"):
        root = folder_of(tmp_path / name, ("train", name, "test"))
        data = read(root)
        assert [len(data.train), len(data.validation), len(data.test or [])] == [8, 8, 8]
        assert data.class_names == ("cat", "dog")
        assert data.train.targets.tolist() == [0] * 4 + [1] * 4
        assert pixels_of(data.train).shape == (8, 3, 8, 8)


def test_a_folder_without_validation_is_divided(tmp_path: Path) -> None:
    plain = read(folder_of(tmp_path / "plain", ("",)), split=[0.5, 0.25, 0.25])
    assert [len(plain.train), len(plain.validation), len(plain.test or [])] == [4, 2, 2]
    assert plain.validation.targets.tolist() == [0, 1]
    tested = read(folder_of(tmp_path / "tested", ("train", "test")), split=[0.75, 0.25])
    assert [len(tested.train), len(tested.validation), len(tested.test or [])] == [6, 2, 8]


def test_a_class_named_train_is_a_class(tmp_path: Path) -> None:
    for label in ("bus", "train"):
        for number in range(4):
            photo(tmp_path / label / f"{number}.png")
    assert read(tmp_path, split=[0.5, 0.5]).class_names == ("bus", "train")


def test_all_extensions_in_any_case_and_below_subfolders_are_images(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JPEG", "c.png", "d.bmp", "deeper/e.WebP", "f.JPG"):
        photo(tmp_path / "cat" / name)
    photo(tmp_path / "dog" / "a.png")
    photo(tmp_path / "dog" / "b.png")
    data = read(tmp_path, split=[0.5, 0.5])
    assert len(data.train) + len(data.validation) == 8


def test_limit_and_seed_work_on_folders(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    data = read(root, limit=4)
    assert data.train.targets.tolist() == [0, 0, 1, 1]
    assert len(data.validation) == 8


# --- pixels


@pytest.mark.reference("data", "image_folder")
def test_an_image_of_the_right_size_keeps_its_pixels(tmp_path: Path) -> None:
    expected = [photo(tmp_path / label / f"{number}.png", (8, 8)) for label in "ab" for number in (0, 1)]
    data = read(tmp_path, split=[0.5, 0.5])
    found = np.concatenate([pixels_of(data.train), pixels_of(data.validation)]).transpose(0, 2, 3, 1)
    assert sorted(image.tobytes() for image in found) == sorted(image.tobytes() for image in expected)


def test_the_shorter_side_is_resized_and_the_centre_cropped(tmp_path: Path) -> None:
    """A 32x16 image of four 8-pixel columns: the middle two remain, at half the size."""
    stripes = np.repeat(np.array([10, 60, 160, 250], np.uint8), 8)
    for label in "ab":
        for name in "12":
            (tmp_path / label).mkdir(exist_ok=True)
            Image.fromarray(np.tile(stripes, (16, 1))).save(tmp_path / label / f"{name}.png")
    image = pixels_of(read(tmp_path, shape=[1, 8, 8], split=[0.5, 0.5]).train)[0, 0]
    assert (image[:, 1:3] == 60).all()
    assert (image[:, 5:7] == 160).all()


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    for label in "ab":
        for name in "12":
            (tmp_path / label).mkdir(exist_ok=True)
            Image.fromarray(checks).save(tmp_path / label / f"{name}.png")
    image = pixels_of(read(tmp_path, shape=[1, 8, 8], split=[0.5, 0.5]).train)
    assert np.abs(image.astype(int) - 127).max() < 8


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate 270 degrees counter-clockwise to see it upright
    stored = [photo(tmp_path / label / f"{name}.png", (8, 8), exif=exif) for label in "ab" for name in "12"]
    data = read(tmp_path, split=[0.5, 0.5])
    images = np.concatenate([pixels_of(data.train), pixels_of(data.validation)]).transpose(0, 2, 3, 1)
    upright = [np.rot90(image, 3).tobytes() for image in stored]
    assert sorted(image.tobytes() for image in images) == sorted(upright)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "LA", "CMYK"])
def test_every_colour_mode_becomes_what_the_shape_says(tmp_path: Path, mode: str) -> None:
    extension = "jpg" if mode == "CMYK" else "png"
    for label in "ab":
        for name in "12":
            photo(tmp_path / label / f"{name}.{extension}", mode=mode)
    for channels in (1, 3):
        assert pixels_of(read(tmp_path, shape=[channels, 8, 8], split=[0.5, 0.5]).train).shape == (2, channels, 8, 8)


def test_16_bit_images_are_scaled_not_cut(tmp_path: Path) -> None:
    deep = np.full((8, 8), 0x8040, np.uint16)
    for label in "ab":
        for name in "12":
            (tmp_path / label).mkdir(exist_ok=True)
            Image.fromarray(deep).save(tmp_path / label / f"{name}.png")
    assert (pixels_of(read(tmp_path, shape=[1, 8, 8], split=[0.5, 0.5]).train) == 0x80).all()


def test_pillows_warnings_stay_inside(tmp_path: Path) -> None:
    palette = Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).convert("P")
    for label in "ab":
        for name in "12":
            (tmp_path / label).mkdir(exist_ok=True)
            palette.save(tmp_path / label / f"{name}.png", transparency=bytes(range(100)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Image.open(tmp_path / "a" / "1.png") as image:
            image.convert("RGB")
        assert "Transparency" in str(caught.pop().message)  # Pillow does warn of it
        read(tmp_path, split=[0.5, 0.5])
    assert caught == []


# --- digests


def test_the_digest_counts_names_and_contents(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "one")
    shutil.copytree(root, tmp_path / "two")
    first, second = read(root), read(tmp_path / "two")
    assert first.digest == second.digest
    streamed = read(root, **STREAMED)
    assert streamed.digest == read(tmp_path / "two", **STREAMED).digest
    (root / "train/cat/0.jpg").rename(root / "train/cat/9.jpg")
    assert read(root).digest != first.digest
    assert read(root, **STREAMED).digest != streamed.digest
    photo(tmp_path / "two/train/cat/0.jpg", (10, 15))
    assert read(tmp_path / "two").digest != second.digest


# --- mistakes


def bomb(side: int) -> bytes:
    """A tiny PNG that says it is large; Pillow refuses one of 20,000 x 20,000, and warns of 10,000 x 10,000."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def test_every_corrupt_image_is_named_at_load(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    whole = (root / "train/cat/0.jpg").read_bytes()
    (root / "train/cat/0.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "train/cat/1.jpg").write_bytes(b"")
    (root / "train/dog/2.jpg").write_bytes(b"<html>")
    (root / "validation/dog/3.jpg").write_bytes(bomb(20_000))
    with pytest.raises(DataError) as caught:
        read(root)
    first, second = str(caught.value).splitlines()
    assert first == f"data.root={root}: 4 of 16 images cannot be read. Repair or remove them:"
    named = ["train/cat/0.jpg (", "train/cat/1.jpg (", "train/dog/2.jpg (", "validation/dog/3.jpg ("]
    assert [name in second for name in named] == [True] * 4
    assert second.count(".jpg") == 4


def test_a_bomb_that_pillow_only_warns_of_is_corrupt(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    (root / "train/cat/bomb.png").write_bytes(bomb(10_000))
    for options in ({}, STREAMED):
        with pytest.raises(DataError, match=r"bomb\.png.*\(10000x10000 pixels in 74 bytes: no photo"):
            statistics(read(root, **options).train)


def test_more_than_five_corrupt_images_are_counted(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    for path in (root / "train").glob("*/*.jpg"):
        path.write_bytes(b"no")
    with pytest.raises(DataError) as caught:
        read(root)
    told, _, name = str(caught.value).partition(" and 3 more, all listed in ")
    listed = Path(name).read_text(encoding="utf-8").splitlines()
    Path(name).unlink()
    assert told.count(".jpg") == 5
    every = [f"train/{label}/{number}.jpg" for label in ("cat", "dog") for number in range(4)]
    assert listed == [f"{name} (not a readable image)" for name in every]


def test_a_corrupt_streamed_image_is_named_when_met_without_a_traceback(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    broken = root / "train/dog/1.jpg"
    broken.write_bytes(b"no image")
    chunks = iter(batches(read(root, **STREAMED).train, batch_size=4, device="cpu"))
    assert [len(images) for images, _, _ in next(chunks)] == [4]
    with pytest.raises(DataError) as caught:
        list(next(chunks))
    assert str(caught.value).startswith(f"{broken} cannot be read as an image (not a readable image)")
    assert "\n" not in str(caught.value)


def test_stray_files_are_told_and_left_out(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    (root / "train/labels.csv").write_text("")
    (root / "train/cat/notes.txt").write_text("")
    (root / "train/cat/.hidden").write_text("")
    (root / "train/cat/Thumbs.db").write_text("")
    data = read(root)
    assert len(data.train) == 8
    assert data.notes == (
        "Left out as hidden or made by the system: 2 files or folders (train/cat/.hidden, train/cat/Thumbs.db).",
        "Left out, since not images of a class (.jpg, .jpeg, .jpe, .jfif, .png, .bmp, .webp, .gif, .tif, .tiff): 2 "
        "(train/labels.csv, train/cat/notes.txt).",
    )


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    (root / "train/emu").mkdir()
    with pytest.raises(DataError, match=f"Class folder {root}/train/emu holds no images"):
        read(root)


def test_class_folders_that_differ_between_parts_are_named(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    photo(root / "validation/emu/1.jpg")
    with pytest.raises(DataError, match="the class folders of the training and validation images differ in emu"):
        read(root)


def test_a_folder_without_class_folders_is_told(tmp_path: Path) -> None:
    photo(tmp_path / "1.jpg")
    with pytest.raises(DataError, match=f"{tmp_path} holds no class folders"):
        read(tmp_path)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root=.*absent is not a folder"):
        read(tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"data\.root must be given with data=image_folder"):
        image_folder()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": [2, 8, 8]}, r"data\.shape=\[2, 8, 8\] must be 3 \(RGB\) or 1 \(grey\)"),
        ({"shape": [3, 8]}, r"data\.shape=\[3, 8\]"),
        ({"shape": [3, 0, 8]}, r"data\.shape=\[3, 0, 8\]"),
        ({"workers": 0}, r"data\.workers=0 must be 1 or more"),
        ({"num_classes": 3}, r"data\.num_classes=3 does not fit: .* has 2 classes"),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        read(folder_of(tmp_path), **wrong)


# --- streaming


def test_streaming_equals_memory_bit_for_bit(tmp_path: Path) -> None:
    root = folder_of(tmp_path, num_images=9)
    whole, streamed = read(root), read(root, **STREAMED)
    assert isinstance(streamed.train.images, Files)
    assert statistics(whole.train) == statistics(streamed.train)
    for seed, balanced in ((None, False), (3, False), (3, True)):
        epochs = []
        for data in (whole, streamed):
            order = None if seed is None else lambda seed=seed: seed
            part = data.train.to("cpu")
            chunks = batches(
                part, batch_size=4, device="cpu", seed=order, steps_per_chunk=3, balanced=balanced, prepare=torch.sqrt
            )
            epochs.append([[(images, targets) for images, targets, _ in chunk] for chunk in chunks])
        assert [len(chunk) for chunk in epochs[0]] == [3, 2]
        for chunk, other in zip(*epochs, strict=True):
            for (images, targets), (other_images, other_targets) in zip(chunk, other, strict=True):
                assert images.equal(other_images)
                assert targets.equal(other_targets)
                assert images.stride() == other_images.stride()


def test_streaming_draws_nothing_from_the_global_generator(tmp_path: Path) -> None:
    data = read(folder_of(tmp_path), **STREAMED)
    before = torch.get_rng_state()
    list(batches(data.train, batch_size=4, device="cpu"))
    statistics(data.train)
    assert torch.get_rng_state().equal(before)


def living_workers() -> int:
    return len(multiprocessing.active_children())


def test_workers_are_gone_after_the_epoch_and_when_the_iterator_is_dropped(tmp_path: Path) -> None:
    data = read(folder_of(tmp_path), **STREAMED)
    part = batches(data.train, batch_size=1, device="cpu")
    assert [(len(list(chunk)), living_workers()) for chunk in part] == [(1, 2)] * 8
    assert living_workers() == 0
    chunks = iter(part)
    list(next(chunks))
    assert living_workers() == 2
    del chunks
    assert living_workers() == 0

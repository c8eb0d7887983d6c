import io
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from scipy import ndimage

from convgrid.config import Settings
from convgrid.data import (
    Files,
    ImageData,
    Split,
    batches,
    digits,
    digits_angle,
    image_folder,
    statistics,
    table_images,
)
from convgrid.data.angles import turn
from convgrid.data.embedded import read_digits
from convgrid.errors import ConfigError, DataError
from convgrid.training.trial import run

RNG = np.random.default_rng(0)
STREAMED = {"memory_gib": 0.0, "workers": 2}
HOUSES = [("a.png", 100.0, 1), ("b.png", 250.5, 2), ("c.png", -3.25, 3), ("d.png", 7e5, 4), ("e.png", 0.0, 5)]


def pixels_of(split: Split | None) -> np.ndarray:
    assert split is not None
    assert isinstance(split.images, torch.Tensor)
    return split.images.numpy()


def parts_of(data: ImageData) -> list[Split]:
    return [data.train, data.validation, *([data.test] if data.test else [])]


def everything(data: ImageData) -> tuple[np.ndarray, np.ndarray]:
    parts = parts_of(data)
    return np.concatenate([pixels_of(part) for part in parts]), np.concatenate([part.targets for part in parts])


# --- digits_angle: the turn


def picture(side: int = 8) -> np.ndarray:
    """Lopsided, so that no turn or flip leaves it as it is."""
    image = RNG.uniform(0, 60, (side, side)).astype(np.float32)
    image[:2, :3] = 255
    return image


def turned(image: np.ndarray, angle: float, size: tuple[int, int]) -> np.ndarray:
    return turn(torch.from_numpy(image)[None, None], torch.tensor([angle]), size)[0, 0].numpy()


def by_scipy(image: np.ndarray, angle: float, size: tuple[int, int]) -> np.ndarray:
    """In rows and columns: source = matrix @ target + offset, zeros beyond the image."""
    radians, zoom = np.deg2rad(angle), np.sqrt(2) * len(image) / min(size)
    matrix = zoom * np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - matrix @ ((np.array(size) - 1) / 2)
    return ndimage.affine_transform(image, matrix, offset, size, order=1, mode="grid-constant")


@pytest.mark.reference("data", "digits_angle")
@pytest.mark.parametrize("size", [(16, 16), (12, 12), (19, 19), (14, 20), (23, 12)])
@pytest.mark.parametrize("angle", [0.0, 17.0, -45.0, 90.0, 133.3, -180.0])
def test_a_turn_equals_scipys_bilinear_sampling(size: tuple[int, int], angle: float) -> None:
    image = picture()
    np.testing.assert_allclose(turned(image, angle, size), by_scipy(image, angle, size), atol=2e-3)


def test_angles_above_0_turn_counter_clockwise() -> None:
    image = picture()
    upright = turned(image, 0.0, (16, 16))
    np.testing.assert_allclose(turned(image, 90.0, (16, 16)), np.rot90(upright), atol=2e-3)
    assert np.abs(turned(image, -90.0, (16, 16)) - np.rot90(upright)).max() > 100


@pytest.mark.parametrize("angle", [30.0, -20.0])
def test_a_turn_looks_like_pillows_and_scipys_rotation_of_the_upright_picture(angle: float) -> None:
    """Those sample a second time, which blurs a little; turned the other way, they are far off."""
    image = ndimage.gaussian_filter(picture(), 1)
    upright = turned(image, 0.0, (64, 64))
    found = turned(image, angle, (64, 64))
    for rotated, opposite in (
        [ndimage.rotate(upright, way * angle, reshape=False, order=1) for way in (1, -1)],
        [np.asarray(Image.fromarray(upright).rotate(way * angle, Image.Resampling.BILINEAR)) for way in (1, -1)],
    ):
        inner = (slice(4, -4), slice(4, -4))  # the edges of the upright picture are blurred
        assert np.abs(found - rotated)[inner].mean() < 1.5
        assert np.abs(found - opposite)[inner].mean() > 15


def test_no_angle_cuts_a_corner_off() -> None:
    """The sum over the canvas is the image's, times the area that a pixel is enlarged to."""
    sums = [turned(np.ones((8, 8), np.float32), angle, (32, 32)).sum() for angle in range(-180, 181, 15)]
    np.testing.assert_allclose(sums, 64 * (32 / 8) ** 2 / 2, rtol=0.01)


# --- digits_angle: the data


def test_every_digit_is_turned_by_the_angle_that_is_its_target() -> None:
    data = digits_angle(split_seed=3)
    sources = {}
    for image in read_digits()[0][:, 0]:
        sources[image.tobytes()] = image * np.float32(255 / 16)
    assert len(sources) == 1797
    pixels, angles = pixels_of(data.train)[:40, 0], data.train.targets[:40, 0].tolist()
    for drawn, angle in zip(pixels, angles, strict=True):
        apart = min(
            np.abs(by_scipy(source, angle, (16, 16)) - drawn).max() for source in closest(drawn, angle, sources)
        )
        assert apart <= 0.501  # rounded to whole numbers


def closest(drawn: np.ndarray, angle: float, sources: dict[bytes, np.ndarray]) -> list[np.ndarray]:
    """The few digits that look most like the picture turned back."""
    back = ndimage.rotate(drawn.astype(np.float32), -angle, reshape=False, order=1)
    images = np.stack(list(sources.values()))
    upright = ndimage.zoom(back, 12 / 16, order=1, grid_mode=True, mode="nearest")[2:10, 2:10]
    nearest = np.abs(images - upright).mean((1, 2)).argsort()[:20]
    return [images[place] for place in nearest]


def test_angles_are_uniform_and_all_digits_take_part() -> None:
    data = digits_angle(max_angle=30.0)
    pixels, angles = everything(data)
    assert pixels.shape == (1797, 1, 16, 16)
    assert pixels.dtype == np.uint8
    assert pixels.max() == 255
    assert angles.shape == (1797, 1)
    assert angles.dtype == np.float32
    assert [len(part) for part in parts_of(data)] == [1258, 270, 269]
    assert data.class_names == ()
    counts, _ = np.histogram(angles, 6, (-30, 30))
    assert counts.sum() == 1797
    assert np.abs(counts - 299.5).max() < 4 * np.sqrt(299.5 * 5 / 6)


def test_angles_may_start_at_0() -> None:
    _, angles = everything(digits_angle(min_angle=0.0, max_angle=90.0))
    assert 0 <= angles.min() < 1
    assert 89 < angles.max() <= 90
    assert np.array_equal(everything(digits_angle(min_angle=-45.0))[1], everything(digits_angle())[1])


def test_the_seed_alone_decides_angles_and_division() -> None:
    first, second, other = digits_angle(), digits_angle(), digits_angle(split_seed=1)
    for part, same in zip(parts_of(first), parts_of(second), strict=True):
        assert np.array_equal(pixels_of(part), pixels_of(same))
        assert part.targets.equal(same.targets)
    assert first.digest == second.digest
    assert first.digest != other.digest
    assert not np.isin(first.train.targets, other.train.targets).any()
    everyones, halves = (np.sort(everything(data)[1], axis=0) for data in (first, digits_angle(split=[0.5, 0.5])))
    assert np.array_equal(everyones, halves)


def test_no_global_generator_is_drawn_from() -> None:
    before, before_numpy = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002
    digits_angle()
    assert torch.get_rng_state().equal(before)
    assert repr(np.random.get_state()) == before_numpy  # noqa: NPY002


def test_shape_and_largest_angle_count_in_the_digest_and_larger_angles_stretch() -> None:
    data, wide, large = digits_angle(), digits_angle(max_angle=90.0), digits_angle(shape=[1, 24, 20])
    assert len({data.digest, wide.digest, large.digest}) == 3
    assert torch.allclose(wide.train.targets, 2 * data.train.targets)
    assert pixels_of(large.train).shape == (1258, 1, 24, 20)


def test_limit_keeps_some_training_images_with_their_angles() -> None:
    whole, some = digits_angle(), digits_angle(limit=100)
    assert len(some.train) == 100
    assert np.isin(some.train.targets, whole.train.targets).all()
    assert some.validation.targets.equal(whole.validation.targets)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"shape": [1, 8, 8]},
            "data.shape=[1, 8, 8] must be 1, height and width, with sides of 12 pixels or more: "
            "a digit of 8x8 pixels has to fit at any angle.",
        ),
        (
            {"shape": [3, 16, 16]},
            "data.shape=[3, 16, 16] must be 1, height and width, with sides of 12 pixels or more: "
            "a digit of 8x8 pixels has to fit at any angle.",
        ),
        ({"max_angle": 0.0}, "data.max_angle=0 must be above 0 and at most 180 degrees."),
        ({"max_angle": 181.0}, "data.max_angle=181 must be above 0 and at most 180 degrees."),
        ({"min_angle": 45.0}, "data.min_angle=45 must be -180 degrees or more, and below data.max_angle=45."),
        (
            {"task": "classification"},
            "data.task=classification: data=digits_angle has numbers to predict, not classes. "
            "Use data.task=regression.",
        ),
        (
            {"num_classes": 10},
            "data.num_classes=10 does not fit: data=digits_angle has 1 number to predict an image. "
            "Use data.num_classes=1.",
        ),
    ],
)
def test_values_that_digits_angle_cannot_take_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        digits_angle(**wrong)
    assert str(caught.value) == message


def test_missing_digits_are_told_alike_for_both_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convgrid.data.embedded.find_spec", lambda name: None)
    for reader in (digits, digits_angle):
        with pytest.raises(DataError) as caught:
            reader()
        expected = "the digits are scikit-learn's own file, which is not installed: pip install scikit-learn"
        assert str(caught.value) == expected


# --- table_images: what is read


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def photo(path: Path, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def houses(root: Path) -> tuple[Path, dict[float, np.ndarray]]:
    """A table of five photos, and each photo's pixels by its price."""
    pixels = {price: photo(root / "images" / name) for name, price, _ in HOUSES}
    lines = [f"images/{name},{rooms},{price}" for name, price, rooms in HOUSES]
    return write(root / "labels.csv", "file,rooms,price", *lines), pixels


def read(table: Path, targets: Sequence[str] = ("price",), **options: Any) -> ImageData:
    return table_images(table=str(table), targets=targets, **{"shape": [3, 8, 8], "split": [0.6, 0.4], **options})


@pytest.mark.reference("data", "table_images")
def test_every_image_has_the_numbers_of_its_row(tmp_path: Path) -> None:
    table, expected = houses(tmp_path)
    data = read(table, ["price", "rooms"])
    images, targets = everything(data)
    assert targets.dtype == np.float32
    assert data.class_names == ()
    assert [len(part) for part in parts_of(data)] == [3, 2]
    assert sorted(map(tuple, targets.tolist())) == sorted((price, rooms) for _, price, rooms in HOUSES)
    for image, (price, _) in zip(images, targets.tolist(), strict=True):
        assert np.array_equal(image.transpose(1, 2, 0), expected[price])


def test_the_order_of_targets_is_that_of_the_config(tmp_path: Path) -> None:
    table, _ = houses(tmp_path)
    assert read(table, ["rooms", "price"]).train.targets.equal(read(table, ["price", "rooms"]).train.targets.flip(1))


def animals(root: Path, *cells: str) -> Path:
    lines = [f"{number}.png,{has}" for number, has in enumerate(cells)]
    for number in range(len(cells)):
        photo(root / f"{number}.png")
    return write(root / "animals.csv", "file,cat,dog", *lines)


def test_columns_of_0_and_1_are_labels_named_by_the_columns(tmp_path: Path) -> None:
    table = animals(tmp_path, "0,1", "1,0", "1,1", "0,0", "0.0,1e0")
    data = read(table, ["dog", "cat"], task="multilabel")
    assert data.class_names == ("dog", "cat")
    assert (data.task, data.num_classes) == ("multilabel", 2)
    _, targets = everything(data)
    assert targets.dtype == np.uint8
    assert sorted(targets.tolist()) == [[0, 0], [0, 1], [1, 0], [1, 0], [1, 1]]
    assert read(table, ["dog", "cat"]).digest != data.digest  # as numbers, they are other targets


def test_labels_that_are_not_0_or_1_are_told_with_their_rows(tmp_path: Path) -> None:
    table = animals(tmp_path, "0,1", "2,0", "1,-1", "0,0.5")
    with pytest.raises(DataError) as caught:
        read(table, ["cat", "dog"], task="multilabel")
    assert str(caught.value) == (
        f"data.table={table}: 3 of 8 labels are not 0 or 1. Mend them, or use data.task=regression:\n"
        "row 3: cat=2, row 4: dog=-1, row 5: dog=0.5"
    )


def test_images_are_fitted_as_those_of_image_folder(tmp_path: Path) -> None:
    names = [f"{label}/{number}.png" for label in "ab" for number in range(4)]
    for place, name in enumerate(names):
        photo(tmp_path / name, (20 + place, 11))
    table = write(tmp_path / "labels.csv", "file,price", *(f"{name},{place}" for place, name in enumerate(names)))
    options = {"shape": [1, 6, 7], "split": [0.5, 0.5]}
    both = (read(table, **options), image_folder(root=str(tmp_path), **options))
    ours, theirs = (everything(data)[0] for data in both)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, theirs))


def test_a_table_as_spreadsheets_write_it_is_read(tmp_path: Path) -> None:
    """A mark at the start, CRLF, quotes, spaces, empty rows, columns of texts, absolute paths, another name."""
    photo(tmp_path / "a, b.png")
    photo(tmp_path / "c.png")
    text = (
        f'\ufeffnote,photo , "the price"\r\n"two\nlines","a, b.png", 1e3\r\n,,\r\n\r\nö,{tmp_path}/c.png,-.5\r\n,,\r\n'
    )
    (tmp_path / "t.csv").write_bytes(text.encode())
    data = read(tmp_path / "t.csv", ["the price"], image="photo", split=[0.5, 0.5])
    assert sorted(everything(data)[1][:, 0].tolist()) == [-0.5, 1000.0]


def test_an_image_may_stand_in_several_rows(tmp_path: Path) -> None:
    pixels = photo(tmp_path / "a.png")
    table = write(tmp_path / "t.csv", "file,price", "a.png,1", "a.png,2", "./a.png,3")
    for options in ({}, STREAMED):
        data = read(table, split=[0.67, 0.33], **options)
        assert sorted(np.concatenate([part.targets for part in parts_of(data)])[:, 0].tolist()) == [1, 2, 3]
    for image in everything(read(table, split=[0.67, 0.33]))[0]:
        assert np.array_equal(image.transpose(1, 2, 0), pixels)


def test_streaming_equals_memory_bit_for_bit_with_its_numbers(tmp_path: Path) -> None:
    table, _ = houses(tmp_path)
    whole, streamed = read(table, weight="rooms"), read(table, weight="rooms", **STREAMED)
    assert isinstance(streamed.train.images, Files)
    assert statistics(whole.train) == statistics(streamed.train)
    both = [
        list(next(iter(batches(data.train.to("cpu"), batch_size=3, device="cpu", seed=lambda: 4))))
        for data in (whole, streamed)
    ]
    ((images, targets, weights),), ((other_images, other_targets, other_weights),) = both
    assert images.equal(other_images)
    assert targets.equal(other_targets)
    assert weights is not None
    assert other_weights is not None
    assert weights.equal(other_weights)
    price_of_rooms = {rooms: price for _, price, rooms in HOUSES}
    assert [price_of_rooms[weight] for weight in weights.tolist()] == targets[:, 0].tolist()


def test_the_division_depends_on_its_seed_and_limit_keeps_so_many(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    table = write(tmp_path / "t.csv", "file,price", *(f"a.png,{number}" for number in range(50)))
    first, same, other, few = read(table), read(table), read(table, split_seed=1), read(table, limit=7)
    assert first.train.targets.equal(same.train.targets)
    assert not first.train.targets.equal(other.train.targets)
    assert sorted(everything(first)[1][:, 0].tolist()) == list(range(50))
    assert len(few.train) == 7
    assert len(read(table, split=[0.5, 0.3, 0.2]).test or []) == 10


def test_the_digest_counts_names_targets_and_contents(tmp_path: Path) -> None:
    table, _ = houses(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    first, streamed = read(table).digest, read(table, **STREAMED).digest
    assert read(tmp_path / "two/labels.csv").digest == first
    assert read(tmp_path / "two/labels.csv", **STREAMED).digest == streamed
    assert len({first, read(table, ["rooms"]).digest, read(table, weight="rooms").digest}) == 3
    text = table.read_text()
    found = {first, streamed}
    for old, new in (("images/a.png,1,100.0", "images/a.png,1,100.5"), ("images/a.png", "./images/a.png")):
        table.write_text(text.replace(old, new))
        found |= {read(table).digest, read(table, **STREAMED).digest}
    table.write_text(text)
    photo(tmp_path / "one/images/a.png")
    assert len(found | {read(table).digest}) == 7


# --- table_images: mistakes


def refusal(table: Path, *targets: str, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(table, targets or ["price"], **options)
    return str(caught.value)


def test_missing_columns_are_named_with_those_that_are_there(tmp_path: Path) -> None:
    table, _ = houses(tmp_path)
    assert refusal(table, "cost", "rooms", "Price", image="photo") == (
        f"data.table={table} has no column cost (data.targets), Price (data.targets), photo (data.image). "
        "Its columns are file, rooms, price."
    )


def test_weights_that_cannot_be_are_named_by_row(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    table = write(tmp_path / "t.csv", "file,price,w,zero", "a.png,1,2,0", "a.png,1,-0.5,0", "a.png,1,,0")
    assert refusal(table, weight="w") == (
        f"data.table={table}: 2 of 3 weights are not finite numbers of 0 or above. Mend them or remove their rows:\n"
        "row 3: w=-0.5, row 4: w=(empty)"
    )
    assert refusal(table, weight="zero").startswith(f"data.table={table}: the weights in column zero are all 0: ")
    assert refusal(table, weight="v") == (
        f"data.table={table} has no column v (data.weight). Its columns are file, price, w, zero."
    )


def test_columns_of_one_name_are_refused_where_they_are_used(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    table = write(tmp_path / "t.csv", "file,price,price,x,x", "a.png,1,2,3,4")
    assert refusal(table) == f"data.table={table} has several columns price. Rename all but one."


def test_values_that_are_no_finite_numbers_are_named_by_row_and_column(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    table = write(
        tmp_path / "t.csv",
        "file,price,area",
        "a.png,1,2",
        "a.png,,n/a",
        "",
        "a.png,nan,3",
        "a.png,inf,1",
        "a.png,1e39,1",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refusal(table, "price", "area") == (
            f"data.table={table}: 5 of 10 targets are not finite numbers. Mend them or remove their rows:\n"
            "row 3: price=(empty), row 3: area=n/a, row 5: price=nan, row 6: price=inf, row 7: price=1e39"
        )
    assert refusal(table, "file") == (
        f"data.table={table}: 5 of 5 targets are not finite numbers. "
        "Mend them or remove their rows, or use data.task=classification:\n"
        "row 2: file=a.png, row 3: file=a.png, row 5: file=a.png, row 6: file=a.png, row 7: file=a.png"
    )


@pytest.mark.parametrize("options", [{}, STREAMED])
def test_missing_images_are_named_by_row(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "folder").mkdir()
    photo(tmp_path / "a.png")
    names = ["a.png", "b.png", "", "folder", *(f"{number}.png" for number in range(4))]
    table = write(tmp_path / "t.csv", "file,price", *(f"{name},1" for name in names))
    assert refusal(table, **options) == (
        f"data.table={table}: 7 of 8 images are missing. Relative paths start from {tmp_path}:\n"
        "row 3: b.png, row 4: (empty), row 5: folder, row 6: 0.png, row 7: 1.png and 2 more"
    )


def test_corrupt_images_are_all_named_once(tmp_path: Path) -> None:
    table, _ = houses(tmp_path)
    for name in ("a.png", "c.png"):
        whole = (tmp_path / "images" / name).read_bytes()
        (tmp_path / "images" / name).write_bytes(whole[:60])
    with table.open("a") as file:
        file.write("images/a.png,3,4\n")
    first, second = refusal(table).splitlines()
    assert first == f"data.table={table}: 2 of 5 images cannot be read. Repair or remove them:"
    assert [second.count(f"images/{name}.png (") for name in "abcde"] == [1, 0, 1, 0, 0]


def test_a_corrupt_streamed_image_of_a_table_is_named_when_met(tmp_path: Path) -> None:
    table, _ = houses(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"no image")
    chunks = iter(batches(read(table, **STREAMED).train, batch_size=4, device="cpu"))
    with pytest.raises(DataError, match=f"^{tmp_path}/images/..png cannot be read as an image"):
        list(next(chunks))


def test_rows_with_more_or_fewer_cells_than_the_header_are_named(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    table = write(tmp_path / "t.csv", "file,price", "a.png,1", "a.png", "a.png,1,200", "a.png,2")
    assert refusal(table) == (
        f"data.table={table}: 2 of 4 rows do not have the header's 2 cells. Mend or remove them:\nrow 3: 1, row 4: 3"
    )


@pytest.mark.parametrize("content", ["", "file,price\n", "file,price\n\n,,\n"])
def test_a_table_without_rows_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    expected = f"data.table={tmp_path}/t.csv has no rows below a header. It must have one an image."
    assert refusal(tmp_path / "t.csv") == expected


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    start = f"data.table={tmp_path}/a.png cannot be read as a CSV file in UTF-8 ('utf-8' codec can't decode"
    assert refusal(tmp_path / "a.png").startswith(start)
    assert refusal(tmp_path / "absent.csv") == (
        f"data.table={tmp_path}/absent.csv is not a file. It must be a CSV file with a row an image."
    )
    quoted = tmp_path / "quoted.csv"
    quoted.write_text('file,"' + "x" * 2**18)
    assert refusal(quoted).startswith(f"data.table={quoted} cannot be read as a CSV file in UTF-8 (field larger than")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"targets": []}, "data.targets=[] must name one column or more, each once."),
        ({"targets": ["price", "price"]}, "data.targets=[price,price] must name one column or more, each once."),
        (
            {"num_classes": 1, "targets": ["price", "rooms"]},
            "data.num_classes=1 does not fit: data.targets=[price,rooms] has 2 numbers to predict an image. "
            "Use data.num_classes=2.",
        ),
        (
            {"task": "cluster"},
            "data.task=cluster: data.targets=[price] has numbers to predict, not classes. "
            "Use data.task=regression or data.task=multilabel or data.task=classification.",
        ),
        (
            {"task": "classification", "targets": ["price", "rooms"]},
            "data.targets=[price,rooms]: classes stand in one column. "
            "Name that, or use data.task=multilabel for columns of 0 and 1.",
        ),
        (
            {"num_classes": 3, "targets": ["price", "rooms"], "task": "multilabel"},
            "data.num_classes=3 does not fit: data.targets=[price,rooms] has 2 labels to predict an image. "
            "Use data.num_classes=2.",
        ),
        ({"shape": [2, 8, 8]}, "data.shape=[2, 8, 8] must be 3 (RGB) or 1 (grey), height and width."),
        ({"workers": 0}, "data.workers=0 must be 1 or more, or null for one a core."),
    ],
)
def test_values_that_a_table_cannot_take_are_refused(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    table, _ = houses(tmp_path)
    with pytest.raises(ConfigError) as caught:
        read(table, **wrong)
    assert str(caught.value) == message


def test_the_table_must_be_given() -> None:
    with pytest.raises(ConfigError) as caught:
        table_images()
    expected = "data.table must be given with data=table_images: a CSV file with a row an image."
    assert str(caught.value) == expected


# --- both, through the pipeline


def test_a_small_network_learns_the_angle(settings: Callable[..., Settings], in_tmp: Path) -> None:
    """Always to say 0 degrees is 22.5 degrees off on average."""
    overrides = ["data=digits_angle", "loss=mean_squared_error", "tracking=none", "trainer.max_epochs=2"]
    run(settings(*overrides, "arch.filters=8", "arch.m=2", "optimizer.lr=0.003"), Console(file=io.StringIO()))
    (folder,) = Path("runs").iterdir()
    history = torch.load(folder / "last.ckpt", weights_only=True)["history"]
    assert history[-1]["val/mae"] < 8

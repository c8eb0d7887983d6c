"""Groups stay whole in every division: no image of a patient is on both sides."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from convgrid.data import ImageData, Pool, arrays, divide, image_folder, notes_on, refold, table_images
from convgrid.data.origins import Origins
from convgrid.errors import ConfigError, DataError


def data_of(groups: list[int], classes: list[int], split: list[float]) -> ImageData:
    """Images whose pixel is their own number."""
    count = len(groups)
    images = np.arange(count, dtype=np.float32).reshape(count, 1, 1, 1)
    origins = Origins.of(list(map(str, range(count))), range(count), list(map(str, groups)))
    pool = Pool(images, np.array(classes), None, origins)
    return divide(pool, class_names=("a", "b", "c"), digest="", split=split, split_seed=3, limit=0)


def groups_in(data: ImageData) -> list[set[str]]:
    parts = [part for part in (data.train, data.validation, data.test) if part is not None]
    return [set(part.origins.groups) for part in parts if part.origins is not None and part.origins.groups is not None]


def images_in(data: ImageData) -> list[float]:
    parts = [part for part in (data.train, data.validation, data.test) if part is not None]
    return sorted(pixel for part in parts for pixel in part.images.flatten().tolist())  # pyright: ignore


POOLS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=3, max_size=80)


@settings(deadline=None)
@given(pool=POOLS, split=st.sampled_from([[0.8, 0.2], [0.6, 0.2, 0.2], [0.05, 0.95]]), folds=st.integers(2, 4))
def test_no_group_is_ever_in_two_parts_or_folds_and_no_image_is_lost(
    pool: list[tuple[int, int]], split: list[float], folds: int
) -> None:
    groups, classes = (list(column) for column in zip(*pool, strict=True))
    assume(len(set(groups)) >= max(len(split), folds))
    data = data_of(groups, classes, split)
    parts = groups_in(data)
    assert len(parts) == len(split)
    assert sum(map(len, parts)) == len(set(groups))  # each in one part
    assert images_in(data) == list(range(len(groups)))
    whole = data_of(groups, classes, [0.5, 0.5])
    validated: list[float] = []
    for number in range(1, folds + 1):
        folded = refold(whole, [number, folds], split_seed=3, limit=0)
        training, validating = groups_in(folded)
        assert not training & validating
        assert images_in(folded) == list(range(len(groups)))
        validated += folded.validation.images.flatten().tolist()  # pyright: ignore
    assert sorted(validated) == list(range(len(groups)))


def test_classes_keep_their_proportions_as_far_as_groups_allow() -> None:
    """As scikit-learn's StratifiedGroupKFold does: 60 groups of 1 to 7 images, mostly of one class each."""
    rng = np.random.default_rng(0)
    kinds, sizes = rng.choice(3, 60, p=[0.6, 0.3, 0.1]), rng.integers(1, 8, 60)
    groups = np.repeat(np.arange(60), sizes).tolist()
    classes = np.repeat(kinds, sizes).tolist()
    data = data_of(groups, classes, [0.6, 0.2, 0.2])
    total = np.bincount(classes)
    for part, fraction in zip((data.train, data.validation, data.test), (0.6, 0.2, 0.2), strict=True):
        assert part is not None
        np.testing.assert_allclose(part.targets.bincount(minlength=3).numpy() / total, fraction, atol=0.07)


def test_the_draw_depends_on_the_seed_alone() -> None:
    groups, classes = [number // 3 for number in range(90)], [number % 2 for number in range(90)]
    first, same = (data_of(groups, classes, [0.7, 0.3]) for _ in range(2))
    assert groups_in(first) == groups_in(same)


def test_fewer_groups_than_parts_or_folds_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        data_of([1, 1, 2, 2], [0, 1, 0, 1], [0.6, 0.2, 0.2])
    assert str(caught.value) == (
        "data.split=[0.6, 0.2, 0.2] asks for 3 parts, and data.group makes 2 groups of the images, each of which stays "
        "whole. Use fewer parts, or another data.group."
    )
    two = data_of([1, 1, 2, 2], [0, 1, 0, 1], [0.5, 0.5])
    with pytest.raises(DataError, match=r"^fold=\[1, 3\] asks for 3 parts, and data\.group makes 2 groups"):
        refold(two, [1, 3], split_seed=0, limit=0)


def test_groups_and_sizes_that_they_do_not_allow_are_told() -> None:
    data = data_of([1] * 6 + [2] * 4, [0, 1] * 5, [0.9, 0.1])
    assert notes_on(data) == (
        "data.group: groups of 4 to 6 images, 1 in training, 1 in validation.",
        "data.split=[0.9, 0.1] is not possible with whole groups; the nearest found is [0.6, 0.4]. "
        "Smaller groups, or other fractions, come closer.",
    )


# --- the three readers


def photo(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, value, value)).save(path)


@pytest.mark.parametrize("options", [{}, {"memory_gib": 0.0}])
def test_a_pattern_finds_the_groups_of_a_folder_across_classes(tmp_path: Path, options: dict[str, Any]) -> None:
    for number in range(40):
        photo(tmp_path / "cd"[number % 2] / f"film{number // 4}_frame{number}.png", number)
    data = image_folder(root=str(tmp_path), shape=[3, 8, 8], group="(.+)_frame", split=[0.5, 0.5], **options)
    training, validating = groups_in(data)
    assert training | validating == {f"film{number}" for number in range(10)}
    assert not training & validating
    with pytest.raises(DataError) as caught:
        image_folder(root=str(tmp_path), shape=[3, 8, 8], group="film([1-9])")
    assert str(caught.value) == (
        "data.group=film([1-9]) matches nothing in the paths of 4 of 40 images (film0_frame0.png, film0_frame2.png, "
        "film0_frame1.png, film0_frame3.png). Give a pattern that finds the group in every path."
    )
    with pytest.raises(ConfigError, match=r"^data\.group=\(\.\+ is not a regular expression \("):
        image_folder(root=str(tmp_path), shape=[3, 8, 8], group="(.+")


def test_a_column_holds_the_groups_of_a_table(tmp_path: Path) -> None:
    lines = ["file,price,patient"]
    for number in range(20):
        photo(tmp_path / f"{number}.png", number)
        lines.append(f"{number}.png,{number},eve{number // 5}")
    table = tmp_path / "t.csv"
    table.write_text("\n".join(lines))
    options: dict[str, Any] = {"table": str(table), "targets": ["price"], "shape": [3, 8, 8], "split": [0.5, 0.5]}
    grouped = table_images(**options, group="patient")
    training, validating = groups_in(grouped)
    assert (len(training), len(validating)) == (2, 2)
    assert not training & validating
    assert grouped.digest != table_images(**options).digest  # other groups are another division
    table.write_text("\n".join([*lines, "0.png,1,"]))
    with pytest.raises(DataError, match=r"1 of 21 images have no group in column patient\. Fill it in:\nrow 22$"):
        table_images(**options, group="patient")


def test_an_array_holds_the_groups_of_an_npz(tmp_path: Path) -> None:
    images, classes = np.arange(24 * 16, dtype=np.int16).reshape(24, 4, 4), np.arange(24) % 2
    path = str(tmp_path / "a.npz")
    np.savez(path, images=images, targets=classes, patient=np.arange(24) // 4)
    data = arrays(path=path, shape=[1, 4, 4], group="patient", split=[0.5, 0.5])
    training, validating = groups_in(data)
    assert (len(training | validating), len(training & validating)) == (6, 0)
    with pytest.raises(DataError, match=r"^data\.group=eye: .* holds no such array; it holds images, targets, patient"):
        arrays(path=path, shape=[1, 4, 4], group="eye")
    np.savez(path, images=images, targets=classes, patient=np.zeros(23))
    with pytest.raises(DataError, match=r"patient must be a text or a whole number for each of 24 images"):
        arrays(path=path, shape=[1, 4, 4], group="patient")


def test_groups_that_come_divided_over_two_parts_are_told(tmp_path: Path) -> None:
    images = np.arange(24 * 16, dtype=np.int16).reshape(24, 4, 4)
    half = {"x_train": images[:12], "y_train": np.arange(12) % 2, "x_val": images[12:], "y_val": np.arange(12) % 2}
    own = {"patient_train": np.arange(12), "patient_val": np.arange(12) + 10}
    np.savez(tmp_path / "a.npz", **half, **own)  # pyright: ignore[reportArgumentType]
    notes = notes_on(arrays(path=str(tmp_path / "a.npz"), shape=[1, 4, 4], group="patient"))
    assert notes[1] == (
        "Groups are in several parts, as the data comes divided: 2 (10, 11). Images of the training "
        "make a test look better than it is. "
        "Put each into one part."
    )

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convgrid.data import Files, ImageData, Split, limit_evaluation, refold
from convgrid.data.splits import divide
from convgrid.errors import ConfigError, DataError


def pool_of(classes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Images whose two pixels are the number of the image, so that each can be recognised."""
    numbers = np.arange(len(classes), dtype=np.float32)
    return np.stack([numbers, numbers], 1).reshape(-1, 1, 1, 2), np.array(classes, np.int64)


def divided(
    classes: Sequence[int], split: Sequence[float] = (0.7, 0.15, 0.15), split_seed: int = 0, limit: int = 0
) -> ImageData:
    return divide(pool_of(classes), class_names=("a",), digest="d", split=split, split_seed=split_seed, limit=limit)


def numbers_of(split: Split | None) -> list[int]:
    assert split is not None
    assert isinstance(split.images, torch.Tensor)
    return [int(number) for number in split.images[:, 0, 0, 0]]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=3, max_size=12),
    split=st.sampled_from([(0.7, 0.15, 0.15), (0.9, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.5, 0.25, 0.25)]),
    seed=st.integers(0, 5),
)
def test_each_class_is_divided_exactly_to_less_than_one_image(
    sizes: list[int], split: tuple[float, ...], seed: int
) -> None:
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    assume(sum(sizes) * min(split) >= 2)  # fewer images cannot fill every part
    data = divided(classes.tolist(), split, seed)
    parts = [data.train, data.validation, *([data.test] if data.test else [])]
    everything = [number for part in parts for number in numbers_of(part)]
    assert sorted(everything) == list(range(len(classes)))
    for part, fraction in zip(parts, split, strict=True):
        counts = np.bincount(part.targets.numpy(), minlength=len(sizes))
        assert np.all(np.abs(counts - fraction * np.array(sizes)) < 1)
        assert part.targets.tolist() == classes[numbers_of(part)].tolist()


def test_a_thousand_classes_of_one_image_fill_every_part() -> None:
    data = divided(range(1000))
    assert [len(data.train), len(data.validation), len(data.test or [])] == [700, 150, 150]


def test_a_part_keeps_the_order_of_the_source() -> None:
    numbers = numbers_of(divided([0, 1] * 50).train)
    assert numbers == sorted(numbers)


def test_the_seed_alone_decides_the_division() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    first = divided([0, 1, 2] * 30, split_seed=3)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    again = divided([0, 1, 2] * 30, split_seed=3)
    other = divided([0, 1, 2] * 30, split_seed=4)
    assert numbers_of(first.validation) == numbers_of(again.validation)
    assert numbers_of(first.validation) != numbers_of(other.validation)


def test_two_fractions_leave_no_test_part() -> None:
    assert divided([0, 1] * 10, (0.8, 0.2)).test is None


@settings(deadline=None)
@given(sizes=st.lists(st.integers(2, 15), min_size=2, max_size=8), share=st.floats(0.01, 0.99), seed=st.integers(0, 3))
def test_limit_keeps_exactly_so_many_training_images_in_proportion(sizes: list[int], share: float, seed: int) -> None:
    classes = np.repeat(np.arange(len(sizes)), [10 * size for size in sizes]).tolist()
    whole = divided(classes, (0.5, 0.5), seed)
    limit = max(1, int(share * len(whole.train)))
    data = divided(classes, (0.5, 0.5), seed, limit)
    assert len(data.train) == limit
    assert set(numbers_of(data.train)) <= set(numbers_of(whole.train))
    assert numbers_of(data.validation) == numbers_of(whole.validation)
    exact = np.bincount(whole.train.targets.numpy()) * limit / len(whole.train)
    assert np.all(np.abs(np.bincount(data.train.targets.numpy(), minlength=len(sizes)) - exact) < 1)


def test_a_limit_above_the_training_images_keeps_all() -> None:
    assert len(divided([0, 1] * 10, (0.5, 0.5), limit=99).train) == 10


def test_regression_is_divided_without_strata() -> None:
    targets = np.arange(20, dtype=np.float32).reshape(10, 2)
    images = np.zeros((10, 1, 2, 2), np.uint8)
    data = divide((images, targets), class_names=(), digest="", split=(0.8, 0.2), split_seed=0, limit=0)
    assert (len(data.train), len(data.validation)) == (8, 2)
    assert data.train.targets.dtype == torch.float32
    rows = torch.cat([data.train.targets, data.validation.targets])[:, 0].sort().values
    assert rows.tolist() == targets[:, 0].tolist()


def test_the_sources_own_parts_are_left_as_they_are() -> None:
    own = pool_of([1, 0, 1])
    data = divide(
        pool_of([0, 1]),
        class_names=("a", "b"),
        digest="",
        split=(0.8, 0.2),
        split_seed=0,
        limit=0,
        validation=own,
        test=own,
    )
    assert len(data.train) == 2
    assert data.validation.targets.tolist() == [1, 0, 1]
    assert numbers_of(data.test) == [0, 1, 2]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ([0.7, 0.2], "data.split=[0.7, 0.2] must sum to 1, but sums to 0.9."),
        ([1.0], "data.split=[1.0] must be two or three fractions: train, validation and, if wanted, test."),
        (
            [0.8, 0.2, 0.0],
            "data.split=[0.8, 0.2, 0.0] must hold fractions above 0. For no test part, give two of them.",
        ),
        ([1.2, -0.2], "data.split=[1.2, -0.2] must hold fractions above 0. For no test part, give two of them."),
    ],
)
def test_fractions_that_do_not_divide_are_refused(split: list[float], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        divided([0, 1] * 10, split)
    assert str(caught.value) == message


def test_a_third_fraction_is_refused_where_the_data_has_its_own_test_images() -> None:
    with pytest.raises(
        ConfigError, match=r"data\.split=\[0\.8, 0\.1, 0\.1\] must be two fractions, train and validation"
    ):
        divide(
            pool_of([0] * 9),
            class_names=("a",),
            digest="",
            split=[0.8, 0.1, 0.1],
            split_seed=0,
            limit=0,
            test=pool_of([0]),
        )


def test_a_part_that_would_be_empty_is_named() -> None:
    with pytest.raises(DataError, match=r"data\.split=\[0\.9, 0\.1\] of 2 images leaves the validation part empty"):
        divided([0, 0], [0.9, 0.1])


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.limit=-1 must be 0"):
        divided([0, 1] * 10, limit=-1)


def test_a_data_set_without_images_is_named() -> None:
    nothing = (np.zeros((0, 1, 2, 2), np.uint8), np.zeros(0, np.int64))
    with pytest.raises(DataError, match="the data set holds no image to train on"):
        divide(nothing, class_names=("a",), digest="", split=[0.8, 0.2], split_seed=0, limit=0)


# --- folds


@pytest.mark.parametrize(("folds", "seed"), [(2, 0), (5, 1), (7, 2)])
def test_every_image_validates_in_exactly_one_fold_and_trains_in_the_others(folds: int, seed: int) -> None:
    classes = np.random.default_rng(seed).integers(0, 3, 100)
    data = divided(classes.tolist(), (0.7, 0.15, 0.15))
    pool = sorted(numbers_of(data.train) + numbers_of(data.validation))
    folded = [refold(data, [number, folds], split_seed=seed, limit=0) for number in range(1, folds + 1)]
    assert sorted(number for part in folded for number in numbers_of(part.validation)) == pool
    for part in folded:
        assert sorted(numbers_of(part.train) + numbers_of(part.validation)) == pool
        assert numbers_of(part.test) == numbers_of(data.test)
        assert part.train.targets.tolist() == classes[numbers_of(part.train)].tolist()
        counts = np.bincount(part.validation.targets.numpy(), minlength=3)
        assert np.all(np.abs(counts - np.bincount(classes[pool], minlength=3) / folds) < 1)


def test_folds_depend_on_the_split_seed_only() -> None:
    data = divided([0, 1] * 50)
    assert numbers_of(refold(data, [1, 5], split_seed=3, limit=0).train) == numbers_of(
        refold(data, [1, 5], split_seed=3, limit=0).train
    )
    assert numbers_of(refold(data, [1, 5], split_seed=3, limit=0).validation) != numbers_of(
        refold(data, [1, 5], split_seed=4, limit=0).validation
    )


def test_a_fold_keeps_the_limit_of_training_images_stratified() -> None:
    folded = refold(divided([0, 0, 1] * 40), [2, 5], split_seed=0, limit=30)
    assert np.bincount(folded.train.targets.numpy()).tolist() == [20, 10]
    assert len(folded.validation) in (20, 21)  # a fifth of the 102 that are not tested


def test_numbers_to_predict_are_folded_without_strata() -> None:
    images, targets = np.zeros((10, 1, 1, 2), np.float32), np.arange(10, dtype=np.float32).reshape(-1, 1)
    data = divide((images, targets), class_names=(), digest="", split=[0.8, 0.2], split_seed=0, limit=0)
    folded = [refold(data, [number, 3], split_seed=0, limit=0) for number in (1, 2, 3)]
    assert sorted(len(part.validation) for part in folded) == [3, 3, 4]
    assert sorted(value for part in folded for value in part.validation.targets[:, 0].tolist()) == list(range(10))


def test_streamed_files_are_folded_with_their_targets() -> None:
    files = Files(tuple(f"{number}.png" for number in range(10)), (3, 8, 8), 2)
    data = divide(
        (files, np.arange(10) % 2), class_names=("a", "b"), digest="", split=[0.8, 0.2], split_seed=0, limit=0
    )
    folded = refold(data, [1, 2], split_seed=0, limit=0)
    assert isinstance(folded.validation.images, Files)
    assert folded.validation.images.workers == 2
    numbers = [int(path.removesuffix(".png")) for path in folded.validation.images.paths]
    assert [number % 2 for number in numbers] == folded.validation.targets.tolist()


def test_more_folds_than_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"^fold=\[1, 9\]: 6 images do not fill 9 folds\.$"):
        refold(divided([0] * 6, (0.5, 0.5)), [1, 9], split_seed=0, limit=0)


def test_fewer_images_validate_and_test_stratified_whatever_the_seed() -> None:
    images = np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1)
    classes = np.arange(200) % 4
    names = ("a", "b", "c", "d")
    data = divide((images, classes), class_names=names, digest="", split=[0.5, 0.3, 0.2], split_seed=0, limit=0)
    fewer = limit_evaluation(data, 12, split_seed=0)
    assert fewer.train is data.train
    assert data.test is not None
    assert fewer.test is not None
    for part, whole in ((fewer.validation, data.validation), (fewer.test, data.test)):
        assert torch.bincount(part.targets).tolist() == [3, 3, 3, 3]
        assert isinstance(part.images, torch.Tensor)
        assert isinstance(whole.images, torch.Tensor)
        assert {*part.images.flatten().tolist()} < {*whole.images.flatten().tolist()}
    again = limit_evaluation(data, 12, split_seed=0)
    assert again.validation.targets.equal(fewer.validation.targets)
    assert limit_evaluation(data, 0, split_seed=0) is data
    assert len(limit_evaluation(data, 1000, split_seed=0).validation) == len(data.validation)

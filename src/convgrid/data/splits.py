"""Seeded, stratified division of a pool of images: into training, validation and test, or into folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from convgrid.data.dataset import Files, ImageData, Split
from convgrid.data.groups import check_enough, deal_groups
from convgrid.data.origins import Origins
from convgrid.data.precision import as_numbers
from convgrid.errors import ConfigError, DataError
from convgrid.system.seeding import derive


@dataclass(frozen=True, eq=False)
class Pool:
    """Images with their targets before they are divided.

    Args:
        images: Shape (B, C, H, W), or their files.
        targets: Shape (B,) for classes, (B, L) for labels, (B, T) for numbers.
        weights: How much each counts, shape (B,); None for all alike.
        origins: Where they come from; None where nothing is known.
    """

    images: np.ndarray | Files
    targets: np.ndarray
    weights: np.ndarray | None = None
    origins: Origins | None = None

    @classmethod
    def of(cls, labelled: Labelled) -> Pool:
        """Take images, targets and perhaps weights, too."""
        if isinstance(labelled, Pool):
            return labelled
        images, targets, weights = labelled if len(labelled) == 3 else (*labelled, None)
        return cls(images, targets, weights)


Labelled = Pool | tuple[np.ndarray | Files, np.ndarray] | tuple[np.ndarray | Files, np.ndarray, np.ndarray | None]


def divide(
    pool: Labelled,
    *,
    class_names: tuple[str, ...],
    digest: str,
    split: Sequence[float],
    split_seed: int,
    limit: int,
    validation: Labelled | None = None,
    test: Labelled | None = None,
    notes: tuple[str, ...] = (),
) -> ImageData:
    """Divide a pool by `data.split`, beside the validation and test parts that the source brings itself.

    Class proportions are kept in every part, as far as whole images allow; of labels and numbers, the draw is plain. It
    depends on the seed only. Groups stay whole, where the pool's origins have them. Pixels other than uint8 become
    float32, classes int64, labels uint8, numbers float32, or float64 where float32 would round away how they differ.

    Args:
        pool: Images, shape (B, C, H, W), targets, shape (B,) for classes or (B, T) else, and weights, (B,), to divide.
        class_names: A name for each class or label; () for regression.
        digest: Digest of what was read.
        split: Fractions for train and validation, and for test where the source has none; unused with `validation`.
        split_seed: Seed of the division.
        limit: How many training images to keep, stratified; 0 for all.
        validation: The source's own validation part.
        test: The source's own test part.
        notes: What the user is told of the data.

    Returns:
        The data set; within each part the images keep the source's order.

    Raises:
        ConfigError: If the fractions or the limit are out of range.
        DataError: If a part would be empty.

    Example:
        >>> images, classes = np.zeros((10, 1, 2, 2), np.uint8), np.arange(10) % 2
        >>> data = divide((images, classes), class_names=("a", "b"), digest="", split=[0.8, 0.2], split_seed=0, limit=0)
        >>> len(data.train), sorted(data.validation.targets.tolist()), data.test
        (8, [0, 1], None)
    """
    pools = [Pool.of(each) for each in (pool, validation, test) if each is not None]
    whole, *own = _whole(pools, class_names)
    if not len(whole.targets):
        raise DataError("the data set holds no image to train on.")
    if limit < 0:
        raise ConfigError(f"data.limit={limit} must be 0 (all training images) or more.")
    generator = np.random.default_rng(split_seed)
    strata = _strata(whole.targets, class_names)
    rows, wanted = [np.arange(len(whole.targets))], ()
    if validation is None:
        check_fractions(split, own_test=test is not None)
        rows = _divided(strata, whole.origins, split, generator, f"data.split={list(split)}")
        wanted = tuple(split) if whole.origins is not None and whole.origins.groups is not None else ()
    rows[0] = _keep(rows[0], strata, limit, generator)
    parts = [*(_take(part, whole) for part in rows), *map(_as_split, own)]
    for name, part in zip(("training", "validation", "test"), parts, strict=False):
        if not len(part):
            raise DataError(f"data.split={list(split)} of {len(whole.targets)} images leaves the {name} part empty.")
    last = parts[2] if len(parts) > 2 else None
    return ImageData(parts[0], parts[1], last, class_names, digest, notes, () if limit else wanted)


def refold(data: ImageData, fold: Sequence[int], *, split_seed: int, limit: int) -> ImageData:
    """Divide training and validation images anew for cross-validation; the test part stays.

    Every image validates in exactly one of the folds. Class proportions are kept in each, and groups stay whole.

    Args:
        data: As `divide` made it.
        fold: Which part validates, counted from 1, and of how many.
        split_seed: Seed of the division, the same for all folds.
        limit: How many training images to keep, stratified; 0 for all.

    Returns:
        The data set with other training and validation parts.

    Raises:
        DataError: If there are fewer images, or groups, than folds.

    Example:
        >>> images, classes = np.zeros((10, 1, 2, 2), np.uint8), np.arange(10) % 2
        >>> data = divide((images, classes), class_names=("a", "b"), digest="", split=[0.8, 0.2], split_seed=0, limit=0)
        >>> folded = refold(data, [1, 5], split_seed=0, limit=0)
        >>> len(folded.train), sorted(folded.validation.targets.tolist())
        (8, [0, 1])
    """
    number, folds = fold
    pool = _join(data.train, data.validation)
    targets = pool.targets
    if len(targets) < folds:
        raise DataError(f"fold={list(fold)}: {len(targets)} images do not fill {folds} folds.")
    strata = _strata(targets.numpy(), data.class_names)
    generator = np.random.default_rng(derive(split_seed, "folds"))
    parts = _divided(strata, pool.origins, [1 / folds] * folds, generator, f"fold={list(fold)}")
    validating = parts.pop(number - 1)
    training = _keep(np.sort(np.concatenate(parts)), strata, limit, generator)
    return replace(data, train=_pick(training, pool), validation=_pick(validating, pool), wanted=())


def limit_evaluation(data: ImageData, limit: int, *, split_seed: int) -> ImageData:
    """Keep fewer images to validate and to test on, stratified.

    Args:
        limit: How many of each part; 0 for all.
        split_seed: Seed of the choice: trials with other seeds of their own share it.

    Returns:
        The data set with smaller parts; their order stays.

    Example:
        >>> images, classes = np.zeros((40, 1, 2, 2), np.uint8), np.arange(40) % 2
        >>> data = divide((images, classes), class_names=("a", "b"), digest="", split=[0.5, 0.5], split_seed=0, limit=0)
        >>> limit_evaluation(data, 4, split_seed=0).validation.targets.sort().values.tolist()
        [0, 0, 1, 1]
    """
    if not limit:
        return data
    generator = np.random.default_rng(derive(split_seed, "evaluation"))

    def kept(part: Split) -> Split:
        strata = _strata(part.targets.numpy(), data.class_names)
        return _pick(np.sort(_keep(np.arange(len(part)), strata, limit, generator)), part)

    return replace(data, validation=kept(data.validation), test=data.test and kept(data.test))


def check_fractions(split: Sequence[float], *, own_test: bool) -> None:
    """Refuse fractions that do not divide a pool.

    Args:
        split: Fractions of the pool for train, validation and, where wanted, test.
        own_test: Whether the source has a test part already, which leaves two fractions.

    Raises:
        ConfigError: If they are too few or too many, not positive, or do not sum to 1.

    Example:
        >>> check_fractions([0.9, 0.1], own_test=True)
    """
    shown = f"data.split={list(split)}"
    if own_test and len(split) != 2:
        raise ConfigError(f"{shown} must be two fractions, train and validation: this data has its own test images.")
    if len(split) not in (2, 3):
        raise ConfigError(f"{shown} must be two or three fractions: train, validation and, if wanted, test.")
    if min(split) <= 0:
        raise ConfigError(f"{shown} must hold fractions above 0. For no test part, give two of them.")
    if abs(sum(split) - 1) > 1e-6:
        raise ConfigError(f"{shown} must sum to 1, but sums to {sum(split):g}.")


def _strata(targets: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    return targets if class_names and targets.ndim == 1 else np.zeros(len(targets), np.int64)


def _divided(
    strata: np.ndarray,
    origins: Origins | None,
    fractions: Sequence[float],
    generator: np.random.Generator,
    asked: str,
) -> list[np.ndarray]:
    if origins is None or origins.groups is None:
        return _deal(strata, fractions, generator)
    check_enough(origins.groups, len(fractions), asked)
    return deal_groups(strata, origins.groups, fractions, generator)


def _deal(strata: np.ndarray, fractions: Sequence[float], generator: np.random.Generator) -> list[np.ndarray]:
    """Sorted rows for each fraction; in each stratum the count is exact to less than one."""
    shuffled = generator.permutation(len(strata))
    shuffled = shuffled[np.argsort(strata[shuffled], kind="stable")]
    sizes = np.unique(strata, return_counts=True)[1]
    counts = _apportion(sizes, fractions)
    bounds = np.cumsum(counts.reshape(-1))[:-1]
    dealt = np.split(shuffled, bounds)
    return [np.sort(np.concatenate(dealt[part :: len(fractions)])) for part in range(len(fractions))]


def _apportion(sizes: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Whole counts, strata x parts, each the exact share rounded down or up."""
    exact = np.round(np.outer(sizes, fractions), 9)
    counts = np.floor(exact).astype(np.int64)
    owed = np.zeros(len(fractions))
    for stratum, size in enumerate(sizes):
        # What is left of a stratum goes to the parts that all strata so far owe most:
        # a thousand classes of one image each fill every part, not only the largest.
        remainder = exact[stratum] - counts[stratum]
        owed += remainder
        ranked = np.argsort(np.where(remainder > 0, -owed, np.inf), kind="stable")
        gaining = ranked[: size - counts[stratum].sum()]
        counts[stratum, gaining] += 1
        owed[gaining] -= 1
    return counts


def _whole(pools: Sequence[Pool], class_names: tuple[str, ...]) -> list[Pool]:
    """The pools with targets as they are trained on, of one type in all."""
    for pool in pools:
        if len(pool.images) != len(pool.targets):
            raise DataError(f"the data set holds {len(pool.images)} images, but {len(pool.targets)} targets.")
    typed = _typed([pool.targets for pool in pools], class_names)
    return [replace(pool, targets=targets) for pool, targets in zip(pools, typed, strict=True)]


def _typed(targets: Sequence[np.ndarray], class_names: tuple[str, ...]) -> list[np.ndarray]:
    """Classes, labels or numbers as they are trained on; what is none of them is left for `check_data` to tell."""
    if not class_names:
        return as_numbers([part.reshape(len(part), -1) for part in targets])
    return [
        part if part.dtype.kind not in "bui" else part.astype(np.int64 if part.ndim == 1 else np.uint8, copy=False)
        for part in targets
    ]


def _keep(rows: np.ndarray, strata: np.ndarray, limit: int, generator: np.random.Generator) -> np.ndarray:
    """So many of the rows, stratified; all where the limit is 0."""
    if not 0 < limit < len(rows):
        return rows
    kept, _ = _deal(strata[rows], [limit / len(rows), 1 - limit / len(rows)], generator)
    return rows[kept]


def _join(first: Split, second: Split) -> Split:
    targets = torch.cat([first.targets, second.targets])
    weights = origins = None
    if first.weights is not None or second.weights is not None:  # an image without a weight counts once
        weights = torch.cat(
            [torch.ones(len(part)) if part.weights is None else part.weights for part in (first, second)]
        )
    if first.origins is not None and second.origins is not None:
        origins = first.origins.join(second.origins)
    if isinstance(first.images, Files) and isinstance(second.images, Files):
        files = replace(first.images, paths=first.images.paths + second.images.paths)
        return Split(files, targets, weights, origins)
    assert isinstance(first.images, Tensor)
    assert isinstance(second.images, Tensor)
    return Split(torch.cat([first.images, second.images]), targets, weights, origins)


def _pick(rows: np.ndarray, part: Split) -> Split:
    chosen, images = torch.from_numpy(rows), part.images
    weights = None if part.weights is None else part.weights[chosen]
    origins = part.origins and part.origins.take(rows)
    if isinstance(images, Files):
        picked = replace(images, paths=tuple(images.paths[row] for row in rows))
        return Split(picked, part.targets[chosen], weights, origins)
    return Split(images[chosen], part.targets[chosen], weights, origins)


def _take(rows: np.ndarray, pool: Pool) -> Split:
    if isinstance(pool.images, Files):
        some = replace(pool.images, paths=tuple(pool.images.paths[row] for row in rows))
    else:
        some = pool.images[rows]
    weights = None if pool.weights is None else pool.weights[rows]
    return _as_split(Pool(some, pool.targets[rows], weights, pool.origins and pool.origins.take(rows)))


def _as_split(pool: Pool) -> Split:
    images, weights = pool.images, pool.weights
    if not isinstance(images, Files):
        images = torch.from_numpy(np.ascontiguousarray(images, None if images.dtype == np.uint8 else np.float32))
    return Split(
        images, torch.from_numpy(pool.targets), None if weights is None else torch.from_numpy(weights), pool.origins
    )

"""Seeded, stratified division of a pool of images: into training, validation and test, or into folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from convgrid.data.dataset import Files, ImageData, Split
from convgrid.errors import ConfigError, DataError
from convgrid.system.seeding import derive

# Images and targets, and a weight for each where some count more than others.
Labelled = tuple[np.ndarray | Files, np.ndarray] | tuple[np.ndarray | Files, np.ndarray, np.ndarray | None]


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
) -> ImageData:
    """Divide a pool by `data.split`, beside the validation and test parts that the source brings itself.

    Class proportions are kept in every part, as far as whole images allow; of labels and numbers, the draw is plain. It
    depends on the seed only. Pixels other than uint8 become float32, classes int64, labels uint8, numbers float32.

    Args:
        pool: Images, shape (B, C, H, W), targets, shape (B,) for classes or (B, T) else, and weights, (B,), to divide.
        class_names: A name for each class or label; () for regression.
        digest: Digest of what was read.
        split: Fractions for train and validation, and for test where the source has none; unused with `validation`.
        split_seed: Seed of the division.
        limit: How many training images to keep, stratified; 0 for all.
        validation: The source's own validation part.
        test: The source's own test part.

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
    targets = pool[1]
    if not len(targets):
        raise DataError("the data set holds no image to train on.")
    generator = np.random.default_rng(split_seed)
    strata = targets if class_names and targets.ndim == 1 else np.zeros(len(targets), np.int64)
    rows = [np.arange(len(targets))]
    if validation is None:
        check_fractions(split, own_test=test is not None)
        rows = _deal(strata, split, generator)
    if limit < 0:
        raise ConfigError(f"data.limit={limit} must be 0 (all training images) or more.")
    rows[0] = _keep(rows[0], strata, limit, generator)
    parts = [_take(part, *_whole(pool, class_names)) for part in rows]
    parts += [_as_split(*_whole(own, class_names)) for own in (validation, test) if own is not None]
    for name, part in zip(("training", "validation", "test"), parts, strict=False):
        if not len(part):
            raise DataError(f"data.split={list(split)} of {len(targets)} images leaves the {name} part empty.")
    return ImageData(parts[0], parts[1], parts[2] if len(parts) > 2 else None, class_names, digest)


def refold(data: ImageData, fold: Sequence[int], *, split_seed: int, limit: int) -> ImageData:
    """Divide training and validation images anew for cross-validation; the test part stays.

    Every image validates in exactly one of the folds. Class proportions are kept in each.

    Args:
        data: As `divide` made it.
        fold: Which part validates, counted from 1, and of how many.
        split_seed: Seed of the division, the same for all folds.
        limit: How many training images to keep, stratified; 0 for all.

    Returns:
        The data set with other training and validation parts.

    Raises:
        DataError: If there are fewer images than folds.

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
    strata = targets.numpy() if data.class_names and targets.dim() == 1 else np.zeros(len(targets), np.int64)
    generator = np.random.default_rng(derive(split_seed, "folds"))
    parts = _deal(strata, [1 / folds] * folds, generator)
    validating = parts.pop(number - 1)
    training = _keep(np.sort(np.concatenate(parts)), strata, limit, generator)
    return replace(data, train=_pick(training, pool), validation=_pick(validating, pool))


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


def _whole(part: Labelled, class_names: tuple[str, ...]) -> tuple[np.ndarray | Files, np.ndarray, np.ndarray | None]:
    images, targets, weights = part if len(part) == 3 else (*part, None)
    if len(images) != len(targets):
        raise DataError(f"the data set holds {len(images)} images, but {len(targets)} targets.")
    return images, _typed(targets, class_names), weights


def _typed(targets: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    """Classes, labels or numbers as they are trained on; what is none of them is left for `check_data` to tell."""
    if not class_names:
        return targets.reshape(len(targets), -1).astype(np.float32, copy=False)
    if targets.dtype.kind not in "bui":
        return targets
    return targets.astype(np.int64 if targets.ndim == 1 else np.uint8, copy=False)


def _keep(rows: np.ndarray, strata: np.ndarray, limit: int, generator: np.random.Generator) -> np.ndarray:
    """So many of the rows, stratified; all where the limit is 0."""
    if not 0 < limit < len(rows):
        return rows
    kept, _ = _deal(strata[rows], [limit / len(rows), 1 - limit / len(rows)], generator)
    return rows[kept]


def _join(first: Split, second: Split) -> Split:
    targets = torch.cat([first.targets, second.targets])
    weights = None
    if first.weights is not None or second.weights is not None:  # an image without a weight counts once
        weights = torch.cat(
            [torch.ones(len(part)) if part.weights is None else part.weights for part in (first, second)]
        )
    if isinstance(first.images, Files) and isinstance(second.images, Files):
        return Split(replace(first.images, paths=first.images.paths + second.images.paths), targets, weights)
    assert isinstance(first.images, Tensor)
    assert isinstance(second.images, Tensor)
    return Split(torch.cat([first.images, second.images]), targets, weights)


def _pick(rows: np.ndarray, part: Split) -> Split:
    chosen, images = torch.from_numpy(rows), part.images
    weights = None if part.weights is None else part.weights[chosen]
    if isinstance(images, Files):
        picked = replace(images, paths=tuple(images.paths[row] for row in rows))
        return Split(picked, part.targets[chosen], weights)
    return Split(images[chosen], part.targets[chosen], weights)


def _take(rows: np.ndarray, images: np.ndarray | Files, targets: np.ndarray, weights: np.ndarray | None) -> Split:
    if isinstance(images, Files):
        some = Files(tuple(images.paths[row] for row in rows), images.shape, images.workers)
    else:
        some = images[rows]
    return _as_split(some, targets[rows], None if weights is None else weights[rows])


def _as_split(images: np.ndarray | Files, targets: np.ndarray, weights: np.ndarray | None) -> Split:
    if isinstance(images, Files):
        pixels = images
    else:
        pixels = torch.from_numpy(np.ascontiguousarray(images, None if images.dtype == np.uint8 else np.float32))
    return Split(pixels, torch.from_numpy(targets), None if weights is None else torch.from_numpy(weights))

"""Data that needs no download: scikit-learn's digits, and seeded noise of any shape."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from convgrid.data.counts import check_class_count, check_classes
from convgrid.data.dataset import Arrays, ImageData, check_shape, fingerprint
from convgrid.data.splits import divide
from convgrid.errors import ConfigError, DataError


def digits(
    *,
    shape: Sequence[int] = (1, 8, 8),
    num_classes: int = 10,
    split: Sequence[float] = (0.7, 0.15, 0.15),
    split_seed: int = 0,
    limit: int = 0,
) -> ImageData:
    """1,797 handwritten digits of 8x8 pixels in 0..16, which come with scikit-learn.

    Args:
        shape: Channels, height, width: [1, 8, 8].
        num_classes: 10.
        split: Fractions for train, validation and, if wanted, test.
        split_seed: Seed of the division.
        limit: How many training images to keep, stratified; 0 for all.

    Returns:
        The data set.

    Raises:
        ConfigError: If the fractions or the limit are out of range.
        DataError: If scikit-learn's file is missing or not as expected, or shape or num_classes differ from it.

    Example:
        >>> data = digits()
        >>> len(data.train), data.train.images.shape[1:], data.digest
        (1258, torch.Size([1, 8, 8]), '98822cb3c2966b90')

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).
    """
    images, targets = read_digits()
    check_shape(images.shape[1:], shape, "digits")
    check_classes(10, num_classes, "digits")
    names = tuple(str(digit) for digit in range(10))
    digest = fingerprint(images, targets, names)
    pool = (images, targets)
    return divide(pool, class_names=names, digest=digest, split=split, split_seed=split_seed, limit=limit)


def random(
    *,
    shape: Sequence[int] = (3, 32, 32),
    num_classes: int = 10,
    size: int = 512,
    split: Sequence[float] = (0.7, 0.15, 0.15),
    split_seed: int = 0,
    limit: int = 0,
) -> ImageData:
    """Seeded noise of any shape, for plans and benchmarks: pixels uniform in 0..255, classes uniform.

    Args:
        shape: Channels, height, width.
        num_classes: Number of classes.
        size: Number of images in all parts together.
        split: Fractions for train, validation and, if wanted, test.
        split_seed: Seed of the noise and of the division.
        limit: How many training images to keep, stratified; 0 for all.

    Returns:
        The data set.

    Raises:
        ConfigError: If a size, the fractions or the limit are out of range.

    Example:
        >>> random(shape=[1, 4, 6], num_classes=3, size=20).train.images.shape
        torch.Size([14, 1, 4, 6])
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ConfigError(f"data.shape={list(shape)} must be channels, height and width, each 1 or more.")
    for key, value in (("num_classes", num_classes), ("size", size)):
        if value < 1:
            raise ConfigError(f"data.{key}={value} must be 1 or more.")
    check_class_count(num_classes)
    generator = np.random.default_rng(split_seed)
    images = np.frombuffer(bytearray(generator.bytes(size * int(np.prod(shape)))), np.uint8).reshape(size, *shape)
    targets = generator.integers(num_classes, size=size)
    names = tuple(str(index) for index in range(num_classes))
    digest = fingerprint(images, targets, names)
    pool = (images, targets)
    return divide(pool, class_names=names, digest=digest, split=split, split_seed=split_seed, limit=limit)


def read_digits() -> Arrays:
    """Read scikit-learn's digits.

    Returns:
        Images, shape (1797, 1, 8, 8), uint8 in 0..16, and the digits, shape (1797,), int64.

    Raises:
        DataError: If the file is missing or not as expected.
    """
    path = _digits_file()
    try:
        with gzip.open(path) as file:
            rows = np.loadtxt(file, delimiter=",", dtype=np.uint8, ndmin=2)
        images, targets = rows[:, :64].reshape(-1, 1, 8, 8), rows[:, 64].astype(np.int64)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"{path} is not scikit-learn's digits file ({error}). Reinstall scikit-learn.") from error
    return images, targets


def _digits_file() -> Path:
    # Importing sklearn.datasets takes seconds; finding the package's folder takes microseconds.
    spec = find_spec("sklearn")
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz" if spec and spec.origin else None
    if path is None or not path.exists():
        raise DataError("the digits are scikit-learn's own file, which is not installed: pip install scikit-learn")
    return path

"""CIFAR-10 and CIFAR-100: Python pickles of arrays, read without running what a pickle may hold."""

from __future__ import annotations

import os
import pickle
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convgrid.data.counts import check_classes
from convgrid.data.dataset import Arrays, ImageData, check_shape, fingerprint
from convgrid.data.fetch import data_folder, fetch
from convgrid.data.splits import divide
from convgrid.errors import DataError

URL = "https://www.cs.toronto.edu/~kriz/"
CIFAR_SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class CifarFiles:
    """Where a CIFAR set keeps what."""

    archive: str
    checksum: str
    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels: bytes
    names: bytes


CIFAR10 = CifarFiles(
    archive="cifar-10-python.tar.gz",
    checksum="md5:c58f30108f718f92721af3b95e74349a",
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    labels=b"labels",
    names=b"label_names",
)
CIFAR100 = CifarFiles(
    archive="cifar-100-python.tar.gz",
    checksum="md5:eb9058c3a382ffc7106e4002c42a8d85",
    folder="cifar-100-python",
    train=("train",),
    test="test",
    meta="meta",
    labels=b"fine_labels",
    names=b"fine_label_names",
)


def cifar10(
    *,
    root: str | None = None,
    shape: Sequence[int] = CIFAR_SHAPE,
    num_classes: int = 10,
    split: Sequence[float] = (0.9, 0.1),
    split_seed: int = 0,
    limit: int = 0,
) -> ImageData:
    """50,000 colour photos of 32x32 in 10 classes, and 10,000 for the test, from `cifar-10-batches-py/`.

    Args:
        root: The data root; None for the per-user cache folder. A missing set is fetched.
        shape: Channels, height, width: [3, 32, 32].
        num_classes: 10.
        split: Fractions of the training files for train and validation.
        split_seed: Seed of the division.
        limit: How many training images to keep, stratified; 0 for all.

    Returns:
        The data set.

    Raises:
        ConfigError: If the fractions or the limit are out of range.
        DataError: If files are missing and cannot be fetched, or corrupt, or differ from shape or num_classes.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    pool, test, names = _read(data_folder(root), CIFAR10, shape, num_classes)
    division = {"split": split, "split_seed": split_seed, "limit": limit}
    return divide(pool, test=test, class_names=names, digest=fingerprint(*pool, *test, names), **division)


def cifar100(
    *,
    root: str | None = None,
    shape: Sequence[int] = CIFAR_SHAPE,
    num_classes: int = 100,
    split: Sequence[float] = (0.9, 0.1),
    split_seed: int = 0,
    limit: int = 0,
) -> ImageData:
    """50,000 colour photos of 32x32 in 100 (fine) classes, and 10,000 for the test, from `cifar-100-python/`.

    Args:
        root: The data root; None for the per-user cache folder. A missing set is fetched.
        shape: Channels, height, width: [3, 32, 32].
        num_classes: 100.
        split: Fractions of the training files for train and validation.
        split_seed: Seed of the division.
        limit: How many training images to keep, stratified; 0 for all.

    Returns:
        The data set.

    Raises:
        ConfigError: If the fractions or the limit are out of range.
        DataError: If files are missing and cannot be fetched, or corrupt, or differ from shape or num_classes.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    pool, test, names = _read(data_folder(root), CIFAR100, shape, num_classes)
    division = {"split": split, "split_seed": split_seed, "limit": limit}
    return divide(pool, test=test, class_names=names, digest=fingerprint(*pool, *test, names), **division)


def _read(
    root: Path, layout: CifarFiles, shape: Sequence[int], num_classes: int
) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    """Pool, test and class names."""
    check_shape(CIFAR_SHAPE, shape, layout.folder)
    folder = root / layout.folder
    _provide(root, layout)
    names = _read_names(folder / layout.meta, layout.names)
    check_classes(len(names), num_classes, layout.folder)
    batches = [_read_batch(folder / name, layout.labels, len(names)) for name in layout.train]
    pool = (np.concatenate([images for images, _ in batches]), np.concatenate([labels for _, labels in batches]))
    return pool, _read_batch(folder / layout.test, layout.labels, len(names)), names


def _provide(root: Path, layout: CifarFiles) -> None:
    """Unpack the files that are missing from the archive, fetched if it is missing, too."""
    folder = root / layout.folder
    missing = [name for name in (*layout.train, layout.test, layout.meta) if not (folder / name).is_file()]
    if not missing:
        return
    put = (
        f"Put it there, or {', '.join(missing)} into {folder},\n"
        f"or point data.root (or CONVGRID_DATA) at the folder that holds {layout.folder}/."
    )
    fetch(root, URL, {layout.archive: layout.checksum}, put=put)
    folder.mkdir(exist_ok=True)
    with tarfile.open(root / layout.archive) as archive:
        for name in missing:
            member = archive.extractfile(f"{layout.folder}/{name}")
            assert member is not None, "the checksum vouches for the archive's members"
            # A file takes its name when it is whole: another process may be reading.
            partial = folder / f"{name}.{os.getpid()}.partial"
            partial.write_bytes(member.read())
            partial.replace(folder / name)


def _read_batch(path: Path, labels_key: bytes, num_classes: int) -> Arrays:
    content = _unpickle(path)
    try:
        images = np.asarray(content[b"data"]).reshape(-1, *CIFAR_SHAPE)
        labels = np.asarray(content[labels_key], np.int64)
        if images.dtype != np.uint8 or labels.shape != (len(images),):
            raise ValueError(f"{images.dtype} images {images.shape} with labels {labels.shape}")
        if labels.min() < 0 or labels.max() >= num_classes:
            raise ValueError(f"labels outside 0..{num_classes - 1}")
    except (KeyError, TypeError, ValueError) as error:
        raise _corrupt(path, error) from error
    return images, labels


def _read_names(path: Path, names_key: bytes) -> tuple[str, ...]:
    content = _unpickle(path)
    try:
        return tuple(name.decode("ascii") for name in content[names_key])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _corrupt(path, error) from error


def _unpickle(path: Path) -> dict[bytes, Any]:
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="bytes").load()
    except Exception as error:  # a broken pickle may raise anything
        raise _corrupt(path, error) from error
    if not isinstance(content, dict):
        raise _corrupt(path, TypeError(f"holds a {type(content).__name__}"))
    return content


def _corrupt(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is not a sound CIFAR file ({type(error).__name__}: {error}). Delete it to fetch it again."
    )


class _ArrayUnpickler(pickle.Unpickler):
    """Makes plain values and NumPy arrays only: a pickle could otherwise run any code."""

    ALLOWED = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return self.ALLOWED[module_name, global_name]

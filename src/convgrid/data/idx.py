"""MNIST and Fashion-MNIST: four IDX files each."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from convgrid.data.counts import check_classes
from convgrid.data.dataset import Arrays, ImageData, check_shape, fingerprint
from convgrid.data.fetch import data_folder, fetch
from convgrid.data.splits import divide
from convgrid.errors import DataError

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"  # has no https; the checksums vouch
FASHION_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
MNIST_CLASSES = tuple("0123456789")
FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def mnist(
    *,
    root: str | None = None,
    shape: Sequence[int] = (1, 28, 28),
    num_classes: int = 10,
    split: Sequence[float] = (0.9, 0.1),
    split_seed: int = 0,
    limit: int = 0,
) -> ImageData:
    """60,000 handwritten digits, and 10,000 for the test, from `mnist/` below the data root.

    Args:
        root: The data root; None for the per-user cache folder. Missing files are fetched.
        shape: Channels, height, width: [1, 28, 28].
        num_classes: 10.
        split: Fractions of the training files for train and validation.
        split_seed: Seed of the division.
        limit: How many training images to keep, stratified; 0 for all.

    Returns:
        The data set.

    Raises:
        ConfigError: If the fractions or the limit are out of range.
        DataError: If files are missing and cannot be fetched, or corrupt, or differ from shape or num_classes.

    Source: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist; files from PyTorch's mirror.
    """
    folder = data_folder(root) / "mnist"
    pool, test = _read(folder, MNIST_URL, MNIST_SHA256, shape, num_classes)
    names = MNIST_CLASSES
    digest = fingerprint(*pool, *test, names)
    division = {"split": split, "split_seed": split_seed, "limit": limit}
    return divide(pool, test=test, class_names=names, digest=digest, **division)


def fashion_mnist(
    *,
    root: str | None = None,
    shape: Sequence[int] = (1, 28, 28),
    num_classes: int = 10,
    split: Sequence[float] = (0.9, 0.1),
    split_seed: int = 0,
    limit: int = 0,
) -> ImageData:
    """60,000 pictures of clothes, and 10,000 for the test, from `fashion-mnist/` below the data root.

    Args:
        root: The data root; None for the per-user cache folder. Missing files are fetched.
        shape: Channels, height, width: [1, 28, 28].
        num_classes: 10.
        split: Fractions of the training files for train and validation.
        split_seed: Seed of the division.
        limit: How many training images to keep, stratified; 0 for all.

    Returns:
        The data set.

    Raises:
        ConfigError: If the fractions or the limit are out of range.
        DataError: If files are missing and cannot be fetched, or corrupt, or differ from shape or num_classes.

    Source: Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017.
    """
    folder = data_folder(root) / "fashion-mnist"
    pool, test = _read(folder, FASHION_URL, FASHION_SHA256, shape, num_classes)
    names = FASHION_CLASSES
    digest = fingerprint(*pool, *test, names)
    division = {"split": split, "split_seed": split_seed, "limit": limit}
    return divide(pool, test=test, class_names=names, digest=digest, **division)


def _read(
    folder: Path, url: str, checksums: Mapping[str, str], shape: Sequence[int], num_classes: int
) -> tuple[Arrays, Arrays]:
    """Pool and test, of the four files in the folder."""
    missing = {name: checksum for name, checksum in checksums.items() if _present(folder, name) is None}
    if missing:
        put = f"Put them there, or point data.root (or CONVGRID_DATA) at the folder that holds {folder.name}/."
        fetch(folder, url, missing, put=put)
    train_images, train_labels, test_images, test_labels = (_read_idx(folder, name) for name in checksums)
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise DataError(f"{folder}: images {images.shape} and labels {labels.shape} do not belong together.")
        check_shape((1, *images.shape[1:]), shape, folder.name)
        check_classes(max(10, 1 + int(labels.max(initial=0))), num_classes, folder.name)
    pool = (train_images[:, None], train_labels.astype(np.int64))
    return pool, (test_images[:, None], test_labels.astype(np.int64))


def _present(folder: Path, name: str) -> Path | None:
    """Find the file as distributed, or unpacked."""
    return next((path for path in (folder / name, folder / name.removesuffix(".gz")) if path.is_file()), None)


def _read_idx(folder: Path, name: str) -> np.ndarray:
    """Read an array of bytes: two zeros, type 8, number of dimensions, big-endian sizes, content."""
    path = _present(folder, name)
    assert path is not None
    try:
        content = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        if content[:3] != b"\0\0\x08":
            raise ValueError("no IDX header of bytes")
        sizes = np.frombuffer(content, ">u4", count=content[3], offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * len(sizes)).reshape(sizes)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(f"{path} is not a whole IDX file ({error}). Delete it, and it is fetched again.") from error

"""What stands in an .npz besides images: its arrays' names, and the classes, labels or numbers to predict."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Container, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from convgrid.data.counts import MAX_FLOAT32, MOST_CLASSES, check_class_count, check_classes
from convgrid.data.files import some
from convgrid.errors import ConfigError, DataError

KEYS = {"train": ("x_train", "y_train"), "validation": ("x_val", "y_val"), "test": ("x_test", "y_test")}
PLAIN = ("images", "targets")
PART_SUFFIXES = {"x_train": "train", "x_val": "val", "x_test": "test"}
WEIGHT_ARRAYS = {"x_train": "w_train", "x_val": "w_val", "x_test": "w_test", "images": "weights"}
IMAGE_ARRAYS = tuple(WEIGHT_ARRAYS)


def load_arrays(path: str | None, group: str | None, without: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Read the arrays that have a meaning, and see that none is missing.

    Args:
        path: What `data.path` says.
        group: What `data.group` says.
        without: Names of arrays that are not read, such as images where only targets are wanted.

    Returns:
        By name.

    Raises:
        ConfigError: If no file is given.
        DataError: If it cannot be read, or lacks an array.
    """
    file = existing_file(path)
    try:
        if not zipfile.is_zipfile(file):  # NumPy would take it for a pickle, and say how to load that unsafely
            raise ValueError("it is damaged, or was not written by numpy.savez")
        with file.open("rb") as stream:
            content = np.load(stream, allow_pickle=False)
            names = list(content)
            used = {*chain(*KEYS.values(), PLAIN, WEIGHT_ARRAYS.values(), _names_of_groups(group))} & {*names}
            found = {name: content[name] for name in names if name in used and name not in without}
        if not all(isinstance(array, np.ndarray) for array in found.values()):
            raise ValueError("it holds something else")
    except Exception as error:  # NumPy, zipfile and zlib raise about anything on a corrupt file
        raise DataError(
            f"data.path={path} is not an .npz of plain arrays ({error}). Write it anew with numpy.savez."
        ) from error
    _check_names(names, str(path), group)
    return found


def existing_file(path: str | None) -> Path:
    """Find the file that `data.path` names.

    Raises:
        ConfigError: If none is given.
        DataError: If there is none.
    """
    if path is None:
        raise ConfigError("data.path must be given with data=arrays: an .npz file.")
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"data.path={path} is not a file.")
    return file


def _check_names(names: Sequence[str], path: str, group: str | None) -> None:
    if group is not None and not any(name in names for name in _names_of_groups(group)):
        raise DataError(f"data.group={group}: data.path={path} holds no such array; it holds {some(names)}.")
    for images, targets in (*KEYS.values(), PLAIN):
        if (images in names) != (targets in names):
            raise DataError(f"data.path={path} has only one of {images} and {targets}.")
    if "x_train" not in names and "images" not in names:
        raise DataError(f"data.path={path} must hold x_train and y_train, or images and targets, but holds {names}.")
    for images, weights in WEIGHT_ARRAYS.items():
        if weights in names and images not in names:
            raise DataError(f"data.path={path} has {weights}, but no {images} that they could weigh.")


def arrays_of_parts(names: Container[str]) -> dict[str, tuple[str, str]]:
    """Name the images and targets of each part that a file has."""
    pairs = {part: pair for part, pair in KEYS.items() if pair[1] in names}
    return pairs if "train" in pairs else {**pairs, "train": PLAIN}


def count_outputs(path: str | None, task: str, group: str | None) -> int:
    """Count the classes, labels or numbers of an image, without reading an image.

    Args:
        path: What `data.path` says, as the others say what their keys do.

    Raises:
        ConvgridError: If the file or its targets cannot be used.
    """
    content = load_arrays(path, group, without=IMAGE_ARRAYS)
    pairs = arrays_of_parts(content).items()
    targets = {part: targets_of(content[name], f"data.path={path}: {name}", task) for part, (_, name) in pairs}
    names = outputs_of(targets, None, task, path or "")
    return len(names) or targets["train"].shape[1]


def targets_of(array: np.ndarray, source: str, task: str) -> np.ndarray:
    """Take an array as what the task predicts.

    Args:
        source: Name of it, for the message.

    Returns:
        Classes (B,), labels (B, L) or numbers (B, T).

    Raises:
        DataError: If it cannot be that.
    """
    if array.dtype.kind not in "buif":
        raise DataError(f"{source} holds {array.dtype}, not numbers.")
    if array.ndim == 0:
        raise DataError(f"{source} is a single number. Give one for each image.")
    if task == "regression":
        if array.ndim not in (1, 2) or 0 in array.shape[1:] or not (np.abs(array.astype(float)) <= MAX_FLOAT32).all():
            raise DataError(f"{source} must be finite numbers, one row an image; it is {list(array.shape)}.")
        return array.reshape(len(array), -1)
    if task == "multilabel":
        return _labels(array, source)
    return _classes(array, source)


def _classes(array: np.ndarray, source: str) -> np.ndarray:
    """Shape (B,), int64, of whole numbers or of one-hot rows."""
    if _is_one_hot(array):
        return array.argmax(1).astype(np.int64)
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and not (array % 1).any()):
        raise DataError(f"{source} holds {array.dtype}, not classes. Use data.task=regression.")
    if array.size != len(array) or (array.size and array.min() < 0):
        least = f", the least {array.min()}" if array.size else ""
        several = " For several labels an image, use data.task=multilabel." if array.size != len(array) else ""
        raise DataError(f"{source} must be one class index from 0 an image; it is {list(array.shape)}{least}.{several}")
    if array.size and array.max() >= 2**63:
        raise DataError(f"{source} holds {array.max()}, which is not a class. Number the classes from 0 without gaps.")
    return array.reshape(-1).astype(np.int64)


def _is_one_hot(array: np.ndarray) -> bool:
    wide = array.ndim == 2 and array.shape[1] > 1
    return bool(wide and ((array == 0) | (array == 1)).all() and (array.sum(1) == 1).all())


def notes_on_reading(array: np.ndarray, name: str, task: str) -> tuple[str, ...]:
    """Say how targets were read that could be read in another way.

    Args:
        array: As it stands in the file, and can be read.
        name: Of it.

    Returns:
        One line, or none.

    Example:
        >>> notes_on_reading(np.array([0.0, 2.0, 1.0]), "y_train", "classification")
        ('y_train: whole numbers in float64, read as classes. To predict numbers, use data.task=regression.',)
    """
    one_hot = _is_one_hot(array)
    if task == "classification" and one_hot:
        return (f"{name}: one-hot rows, read as classes. If several may apply to an image, use data.task=multilabel.",)
    if task == "classification" and array.dtype.kind == "f":
        return (
            f"{name}: whole numbers in {array.dtype}, read as classes. To predict numbers, use data.task=regression.",
        )
    if task != "classification" and one_hot:
        read = "labels" if task == "multilabel" else "numbers to predict"
        return (f"{name}: a single 1 in every row, read as {read}. If they are classes, use data.task=classification.",)
    return ()


def _labels(array: np.ndarray, source: str) -> np.ndarray:
    wrong = array[(array != 0) & (array != 1)]
    if array.ndim != 2 or not array.shape[1] or wrong.size:
        found = f", with {wrong[0]}" if wrong.size else ""
        raise DataError(f"{source} must be 0 or 1 for each label, a row an image; it is {list(array.shape)}{found}.")
    return array.astype(np.uint8)


def outputs_of(parts: Mapping[str, np.ndarray], num_classes: int | None, task: str, path: str) -> tuple[str, ...]:
    """Name the classes or labels of all parts' targets.

    Args:
        parts: As `targets_of` makes them.
        num_classes: What `data.num_classes` says; None for as many as there are.

    Returns:
        The names; none of numbers.

    Raises:
        ConvgridError: If there are not so many.
    """
    if task != "classification":
        widths = {targets.shape[1] for targets in parts.values()}
        if len(widths) > 1 or (num_classes is not None and widths != {num_classes}):
            what = "labels" if task == "multilabel" else "numbers to predict"
            raise DataError(f"data.num_classes={num_classes}, but the images have {sorted(widths)} {what}.")
        return tuple(map(str, range(*widths))) if task == "multilabel" else ()
    present = np.unique(np.concatenate(list(parts.values())))
    found = 1 + int(present.max(initial=0))
    if num_classes is None:
        _check_gaps(present, path)
    else:
        check_class_count(num_classes)
        if found > num_classes:
            check_classes(found, num_classes, path)
    return tuple(str(index) for index in range(num_classes or found))


def _check_gaps(present: np.ndarray, path: str) -> None:
    """Classes counted from 1, or coded as 0 and 255, would make output units that mean nothing."""
    missing = np.flatnonzero(present != np.arange(len(present)))
    if len(missing):
        most = present[-1]
        allowed = f", or set data.num_classes={most + 1}" if most < MOST_CLASSES else ""
        raise DataError(
            f"data.path={path} has classes up to {most}, but no image of class {missing[0]}. "
            f"Number the classes from 0 without gaps{allowed}."
        )


def _names_of_groups(group: str | None) -> tuple[str, ...]:
    return () if group is None else (group, *(f"{group}_{suffix}" for suffix in PART_SUFFIXES.values()))

"""Images and targets of one's own, in an .npz file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convgrid.data.dataset import (
    MOST_CLASSES,
    Arrays,
    ImageData,
    check_class_count,
    check_classes,
    check_weights,
    fingerprint,
)
from convgrid.data.files import some
from convgrid.data.origins import Origins
from convgrid.data.precision import as_numbers, check_distinct, exact
from convgrid.data.splits import Pool, divide
from convgrid.errors import ConfigError, DataError
from convgrid.objective.fit import NOUNS

KEYS = {"train": ("x_train", "y_train"), "validation": ("x_val", "y_val"), "test": ("x_test", "y_test")}
PLAIN = ("images", "targets")
SUFFIXES = {"x_train": "train", "x_val": "val", "x_test": "test"}
LARGEST = float(np.finfo(np.float32).max)
WEIGHTS = {"x_train": "w_train", "x_val": "w_val", "x_test": "w_test", "images": "weights"}


def arrays(
    *,
    path: str | None = None,
    shape: Sequence[int] = (1, 28, 28),
    num_classes: int | None = None,
    task: str = "classification",
    group: str | None = None,
    split: Sequence[float] = (0.9, 0.1),
    split_seed: int = 0,
    limit: int = 0,
) -> ImageData:
    """Images and targets from an .npz: `x_train`, `y_train` (and `_val`, `_test`), or `images`, `targets`.

    Images are (N, H, W), (N, C, H, W) or (N, H, W, C), whichever makes `data.shape`. Integers from 0 to 255 are kept as
    bytes, everything else as float32. Beside them may stand how much each image counts in the loss: `w_train`, `w_val`,
    `w_test`, or `weights`, 0 or above.

    Args:
        path: The file.
        shape: Channels, height, width.
        num_classes: Number of classes or labels, or of numbers an image; None for as many as the file holds.
        task: classification (targets are integers from 0, or one-hot rows), multilabel (0 and 1, (N, L)) or regression
            (numbers, (N,) or (N, T)).
        group: Name of the array that says which images belong together, such as the patient of each, (N,): each group
            comes into one part. Of `x_train`, `x_val` and `x_test` it is NAME_train, NAME_val and NAME_test, or NAME
            for `x_train`. None for none.
        split: Fractions for train, validation and, if wanted and the file has none, test; unused with `x_val`.
        split_seed: Seed of the division.
        limit: How many training images to keep, of classes stratified; 0 for all.

    Returns:
        The data set.

    Raises:
        ConfigError: If the task, the fractions or the limit are out of range, or path is missing.
        DataError: If the file is missing or corrupt, or its arrays are not as described.
    """
    if task not in NOUNS:
        raise ConfigError(f"data.task={task} must be one of {', '.join(NOUNS)}.")
    content = _load(path, group)
    pairs = {part: names for part, names in KEYS.items() if names[0] in content}
    if "train" not in pairs:
        pairs["train"] = PLAIN
    parts = {part: _pair(content, names, shape, task, path or "") for part, names in pairs.items()}
    parts = _alike(parts, task, f"data.path={path}")
    class_names = _outputs(parts, num_classes, task, path or "")
    grouped = {part: _groups(content, names[0], group) for part, names in pairs.items()}
    pools = {
        part: Pool(
            *parts[part],
            _weights(content, pairs[part][0]),
            Origins.of(
                [f"{pairs[part][0]}[{row}]" for row in range(len(parts[part][0]))],
                [row.tobytes() for row in parts[part][0]],
                grouped[part],
            ),
        )
        for part in sorted(parts)
    }
    digested = [
        each
        for part, pool in pools.items()
        for each in (parts[part][0], exact(pool.targets), pool.weights, grouped[part])
        if each is not None
    ]
    return divide(
        pools["train"],
        class_names=class_names,
        digest=fingerprint(*digested),
        split=split,
        split_seed=split_seed,
        limit=limit,
        validation=pools.get("validation"),
        test=pools.get("test"),
    )


def _load(path: str | None, group: str | None) -> dict[str, np.ndarray]:
    if path is None:
        raise ConfigError("data.path must be given with data=arrays: an .npz file.")
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"data.path={path} is not a file.")
    try:
        if not zipfile.is_zipfile(file):  # NumPy would take it for a pickle, and say how to load that unsafely
            raise ValueError("it is damaged, or was not written by numpy.savez")
        with file.open("rb") as stream:
            content = np.load(stream, allow_pickle=False)
            names = list(content)
            used = (*KEYS.values(), PLAIN, WEIGHTS.values(), _names_of_groups(group))
            found = {name: content[name] for group in used for name in group if name in names}
        if not all(isinstance(array, np.ndarray) for array in found.values()):
            raise ValueError("it holds something else")
    except Exception as error:  # NumPy, zipfile and zlib raise about anything on a corrupt file
        raise DataError(
            f"data.path={path} is not an .npz of plain arrays ({error}). Write it anew with numpy.savez."
        ) from error
    if group is not None and not any(name in found for name in _names_of_groups(group)):
        raise DataError(f"data.group={group}: data.path={path} holds no such array; it holds {some(names)}.")
    for images, targets in (*KEYS.values(), PLAIN):
        if (images in found) != (targets in found):
            raise DataError(f"data.path={path} has only one of {images} and {targets}.")
    if "x_train" not in found and "images" not in found:
        raise DataError(f"data.path={path} must hold x_train and y_train, or images and targets, but holds {names}.")
    for images, weights in WEIGHTS.items():
        if weights in found and images not in found:
            raise DataError(f"data.path={path} has {weights}, but no {images} that they could weigh.")
    return found


def _pair(content: dict[str, np.ndarray], names: tuple[str, str], shape: Sequence[int], task: str, path: str) -> Arrays:
    images = _images(content[names[0]], names[0], shape)
    targets = _targets(content[names[1]], f"data.path={path}: {names[1]}", task)
    if not len(images):
        raise DataError(f"data.path={path}: {names[0]} holds no images. Leave it out, or fill it.")
    if len(images) != len(targets):
        raise DataError(f"data.path: {names[0]} holds {len(images)} images, but {names[1]} {len(targets)} targets.")
    return images, targets


def _weights(content: dict[str, np.ndarray], images: str) -> np.ndarray | None:
    name = WEIGHTS[images]
    return check_weights(content[name], len(content[images]), f"data.path: {name}") if name in content else None


def _images(array: np.ndarray, name: str, shape: Sequence[int]) -> np.ndarray:
    channels_first = {3: lambda: array[:, None], 4: lambda: array}.get(array.ndim)
    channels_last = {4: lambda: array.transpose(0, 3, 1, 2)}.get(array.ndim)
    for arrange in (channels_first, channels_last):
        if arrange is not None and arrange().shape[1:] == tuple(shape):
            return _finite(arrange(), name)
    raise DataError(
        f"data.shape={list(shape)} does not fit: {name} is {list(array.shape)}. It may be images x height x width, "
        "images x channels x height x width, or images x height x width x channels."
    )


def _finite(images: np.ndarray, name: str) -> np.ndarray:
    if images.dtype.kind not in "buif":
        raise DataError(f"data.path: {name} holds {images.dtype}, not numbers.")
    if images.dtype.kind == "f" and not (np.abs(images) <= LARGEST).all():
        raise DataError(f"data.path: {name} holds NaN or infinity, or numbers that float32 cannot hold.")
    return images


def _alike(parts: dict[str, Arrays], task: str, source: str) -> dict[str, Arrays]:
    """The parts with pixels of one type, bytes where all are whole numbers from 0 to 255, and numbers of one type."""
    every = [images for images, _ in parts.values()]
    is_bytes = all(
        images.dtype.kind != "f" and images.min(initial=0) >= 0 and images.max(initial=0) <= 255 for images in every
    )
    pixels = [np.ascontiguousarray(images, np.uint8 if is_bytes else np.float32) for images in every]
    targets = [numbers for _, numbers in parts.values()]
    if task == "regression":
        for numbers in targets:
            check_distinct(numbers, source)
        targets = as_numbers(targets)
    return dict(zip(parts, zip(pixels, targets, strict=True), strict=True))


def _names_of_groups(group: str | None) -> tuple[str, ...]:
    return () if group is None else (group, *(f"{group}_{suffix}" for suffix in SUFFIXES.values()))


def _groups(content: dict[str, np.ndarray], images: str, group: str | None) -> list[str] | None:
    """A text for each image."""
    if group is None:
        return None
    names = [f"{group}_{SUFFIXES[images]}"] if images in SUFFIXES else []
    names += [group] if images in ("x_train", "images") else []
    name = next((name for name in names if name in content), None)
    if name is None:
        return None
    array, count = content[name], len(content[images])
    if array.dtype.kind not in "buiUS" or array.shape not in ((count,), (count, 1)):
        raise DataError(
            f"data.group={group}: {name} must be a text or a whole number for each of {count} images; "
            f"it is {array.dtype} {list(array.shape)}."
        )
    return [str(each) for each in array.reshape(-1).tolist()]


def _targets(array: np.ndarray, source: str, task: str) -> np.ndarray:
    if array.dtype.kind not in "buif":
        raise DataError(f"{source} holds {array.dtype}, not numbers.")
    if array.ndim == 0:
        raise DataError(f"{source} is a single number. Give one for each image.")
    if task == "regression":
        if array.ndim not in (1, 2) or 0 in array.shape[1:] or not (np.abs(array.astype(float)) <= LARGEST).all():
            raise DataError(f"{source} must be finite numbers, one row an image; it is {list(array.shape)}.")
        return array.reshape(len(array), -1)
    if task == "multilabel":
        return _labels(array, source)
    return _classes(array, source)


def _classes(array: np.ndarray, source: str) -> np.ndarray:
    """Shape (B,), int64, of whole numbers or of one-hot rows."""
    if array.ndim == 2 and array.shape[1] > 1 and ((array == 0) | (array == 1)).all() and (array.sum(1) == 1).all():
        return array.argmax(1).astype(np.int64)
    if array.dtype.kind == "f":
        whole = np.isfinite(array).all() and not (array % 1).any()
        or_cast = ", or save whole numbers, such as y.astype(int), if they are classes" if whole else ""
        raise DataError(f"{source} holds {array.dtype}, not classes. Use data.task=regression{or_cast}.")
    if array.size != len(array) or (array.size and array.min() < 0):
        least = f", the least {array.min()}" if array.size else ""
        several = " For several labels an image, use data.task=multilabel." if array.size != len(array) else ""
        raise DataError(f"{source} must be one class index from 0 an image; it is {list(array.shape)}{least}.{several}")
    if array.size and array.max() > np.iinfo(np.int64).max:
        raise DataError(f"{source} holds {array.max()}, which is not a class. Number the classes from 0 without gaps.")
    return array.reshape(-1).astype(np.int64)


def _labels(array: np.ndarray, source: str) -> np.ndarray:
    wrong = array[(array != 0) & (array != 1)]
    if array.ndim != 2 or not array.shape[1] or wrong.size:
        found = f", with {wrong[0]}" if wrong.size else ""
        raise DataError(f"{source} must be 0 or 1 for each label, a row an image; it is {list(array.shape)}{found}.")
    return array.astype(np.uint8)


def _outputs(parts: dict[str, Arrays], num_classes: int | None, task: str, path: str) -> tuple[str, ...]:
    """Names of the classes or labels; () for regression. All are held against num_classes."""
    if task != "classification":
        widths = {targets.shape[1] for _, targets in parts.values()}
        if len(widths) > 1 or (num_classes is not None and widths != {num_classes}):
            what = "labels" if task == "multilabel" else "numbers to predict"
            raise DataError(f"data.num_classes={num_classes}, but the images have {sorted(widths)} {what}.")
        return tuple(map(str, range(*widths))) if task == "multilabel" else ()
    present = np.unique(np.concatenate([targets for _, targets in parts.values()]))
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

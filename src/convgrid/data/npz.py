"""Images and targets of one's own, in an .npz file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convgrid.data.dataset import Arrays, ImageData, check_classes, check_weights, fingerprint
from convgrid.data.splits import divide
from convgrid.errors import ConfigError, DataError
from convgrid.objective.fit import NOUNS

KEYS = {"train": ("x_train", "y_train"), "validation": ("x_val", "y_val"), "test": ("x_test", "y_test")}
PLAIN = ("images", "targets")
WEIGHTS = {"x_train": "w_train", "x_val": "w_val", "x_test": "w_test", "images": "weights"}


def arrays(
    *,
    path: str | None = None,
    shape: Sequence[int] = (1, 28, 28),
    num_classes: int | None = None,
    task: str = "classification",
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
        task: classification (targets are integers from 0), multilabel (0 and 1, (N, L)) or regression (numbers, (N,) or
            (N, T)).
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
    content = _load(path)
    pairs = {part: names for part, names in KEYS.items() if names[0] in content}
    if "train" not in pairs:
        pairs["train"] = PLAIN
    parts = {part: _pair(content, names, shape, task, path or "") for part, names in pairs.items()}
    class_names = _outputs(parts, num_classes, task, path or "")
    pools = {part: (*parts[part], _weights(content, pairs[part][0])) for part in sorted(parts)}
    return divide(
        pools["train"],
        class_names=class_names,
        digest=fingerprint(*(array for pool in pools.values() for array in pool if array is not None)),
        split=split,
        split_seed=split_seed,
        limit=limit,
        validation=pools.get("validation"),
        test=pools.get("test"),
    )


def _load(path: str | None) -> dict[str, np.ndarray]:
    if path is None:
        raise ConfigError("data.path must be given with data=arrays: an .npz file.")
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"data.path={path} is not a file.")
    try:
        with file.open("rb") as stream:
            content = np.load(stream, allow_pickle=False)
            names = list(content)
            used = (*KEYS.values(), PLAIN, WEIGHTS.values())
            found = {name: content[name] for group in used for name in group if name in names}
        if isinstance(content, np.ndarray) or not all(isinstance(array, np.ndarray) for array in found.values()):
            raise ValueError("it holds something else")
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"data.path={path} is not a sound .npz of plain arrays ({error}).") from error
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
            return _pixels(arrange(), name)
    raise DataError(
        f"data.shape={list(shape)} does not fit: {name} is {list(array.shape)}. It may be images x height x width, "
        "images x channels x height x width, or images x height x width x channels."
    )


def _pixels(images: np.ndarray, name: str) -> np.ndarray:
    if images.dtype.kind not in "buif":
        raise DataError(f"data.path: {name} holds {images.dtype}, not numbers.")
    if images.dtype.kind != "f" and images.size and images.min() >= 0 and images.max() <= 255:
        return np.ascontiguousarray(images, np.uint8)
    if not np.isfinite(images).all():
        raise DataError(f"data.path: {name} holds NaN or infinity.")
    return np.ascontiguousarray(images, np.float32)


def _targets(array: np.ndarray, source: str, task: str) -> np.ndarray:
    if array.dtype.kind not in "buif":
        raise DataError(f"{source} holds {array.dtype}, not numbers.")
    if task == "regression":
        if array.ndim not in (1, 2) or not np.isfinite(array).all():
            raise DataError(f"{source} must be finite numbers, one row an image; it is {list(array.shape)}.")
        return array.reshape(len(array), -1).astype(np.float32)
    if task == "multilabel":
        return _labels(array, source)
    if array.dtype.kind == "f":
        raise DataError(f"{source} holds {array.dtype}, not classes. Use data.task=regression.")
    if array.size != len(array) or (array.size and array.min() < 0):
        least = f", the least {array.min()}" if array.size else ""
        several = " For several labels an image, use data.task=multilabel." if array.size != len(array) else ""
        raise DataError(f"{source} must be one class index from 0 an image; it is {list(array.shape)}{least}.{several}")
    return array.reshape(-1).astype(np.int64)


def _labels(array: np.ndarray, source: str) -> np.ndarray:
    wrong = array[(array != 0) & (array != 1)]
    if array.ndim != 2 or not array.shape[1] or wrong.size:
        found = f", with {wrong[0]}" if wrong.size else ""
        raise DataError(f"{source} must be 0 or 1 for each label, a row an image; it is {list(array.shape)}{found}.")
    return array.astype(np.uint8)


def _outputs(parts: dict[str, Arrays], num_classes: int | None, task: str, path: str) -> tuple[str, ...]:
    """Names of the classes or labels; () for regression. All are held against num_classes."""
    if len({images.dtype for images, _ in parts.values()}) > 1:
        raise DataError(f"data.path={path}: the parts' images must all be bytes (0 to 255) or all floats.")
    if task != "classification":
        widths = {targets.shape[1] for _, targets in parts.values()}
        if len(widths) > 1 or (num_classes is not None and widths != {num_classes}):
            what = "labels" if task == "multilabel" else "numbers to predict"
            raise DataError(f"data.num_classes={num_classes}, but the images have {sorted(widths)} {what}.")
        return tuple(map(str, range(*widths))) if task == "multilabel" else ()
    found = 1 + max(int(targets.max(initial=0)) for _, targets in parts.values())
    if num_classes is None:
        _check_gaps(np.concatenate([targets for _, targets in parts.values()]), found, path)
    elif found > num_classes:
        check_classes(found, num_classes, path)
    return tuple(str(index) for index in range(num_classes or found))


def _check_gaps(targets: np.ndarray, found: int, path: str) -> None:
    """Classes counted from 1, or coded as 0 and 255, would make output units that mean nothing."""
    missing = np.setdiff1d(np.arange(found), targets)
    if len(missing):
        raise DataError(
            f"data.path={path} has classes up to {found - 1}, but no image of class {missing[0]}. "
            f"Number the classes from 0 without gaps, or set data.num_classes={found}."
        )

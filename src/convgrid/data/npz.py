"""Images and targets of one's own, in an .npz file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convgrid.data.counts import MAX_FLOAT32
from convgrid.data.dataset import Arrays, ImageData, check_weights, fingerprint
from convgrid.data.npz_file import (
    PART_SUFFIXES,
    WEIGHT_ARRAYS,
    arrays_of_parts,
    load_arrays,
    notes_on_reading,
    outputs_of,
    targets_of,
)
from convgrid.data.origins import Origins
from convgrid.data.precision import as_numbers, check_distinct, exact
from convgrid.data.splits import Pool, divide
from convgrid.errors import ConfigError, DataError
from convgrid.objective.fit import NOUNS


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
        task: classification (targets are whole numbers from 0, or one-hot rows), multilabel (0 and 1, (N, L)) or
            regression (numbers, (N,) or (N, T)).
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
    content = load_arrays(path, group)
    pairs = arrays_of_parts(content)
    parts = {part: _pair(content, names, shape, task, path or "") for part, names in pairs.items()}
    parts = _alike(parts, task, f"data.path={path}")
    class_names = outputs_of({part: targets for part, (_, targets) in parts.items()}, num_classes, task, path or "")
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
        notes=notes_on_reading(content[pairs["train"][1]], pairs["train"][1], task),
    )


def _pair(content: dict[str, np.ndarray], names: tuple[str, str], shape: Sequence[int], task: str, path: str) -> Arrays:
    images = _images(content[names[0]], names[0], shape)
    targets = targets_of(content[names[1]], f"data.path={path}: {names[1]}", task)
    if not len(images):
        raise DataError(f"data.path={path}: {names[0]} holds no images. Leave it out, or fill it.")
    if len(images) != len(targets):
        raise DataError(f"data.path: {names[0]} holds {len(images)} images, but {names[1]} {len(targets)} targets.")
    return images, targets


def _weights(content: dict[str, np.ndarray], images: str) -> np.ndarray | None:
    name = WEIGHT_ARRAYS[images]
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
    if images.dtype.kind == "f" and not (np.abs(images) <= MAX_FLOAT32).all():
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


def _groups(content: dict[str, np.ndarray], images: str, group: str | None) -> list[str] | None:
    """A text for each image."""
    if group is None:
        return None
    names = [f"{group}_{PART_SUFFIXES[images]}"] if images in PART_SUFFIXES else []
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

"""What every reader returns: pixels and targets, divided into training, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from convgrid.data.counts import check_classes
from convgrid.data.origins import Origins
from convgrid.errors import DataError
from convgrid.objective.fit import Task

Arrays = tuple[np.ndarray, np.ndarray]  # images (B, C, H, W) and targets, before they are divided


@dataclass(frozen=True)
class Files:
    """Images too large for memory: read, resized and decoded by worker processes, batch by batch.

    Args:
        paths: One file for each image.
        shape: What each becomes: channels (1 or 3), height, width.
        workers: Number of worker processes, at least 1.
    """

    paths: tuple[str, ...]
    shape: tuple[int, int, int]
    workers: int = 1

    def __len__(self) -> int:
        return len(self.paths)


class Batch(NamedTuple):
    """Some images of a part, and what is known of each.

    Args:
        images: Pixels as stored, shape (B, C, H, W).
        targets: As in the part, shape (B,) or (B, T).
        weights: As in the part, shape (B,); None where all count alike.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor | None

    def split(self, size: int) -> Iterator[Batch]:
        """Divide the batch.

        Args:
            size: Images a part; the last one may be smaller.

        Yields:
            The parts, in order.

        Example:
            >>> [part.targets.tolist() for part in Batch(torch.zeros(3, 1, 2, 2), torch.arange(3), None).split(2)]
            [[0, 1], [2]]
        """
        weights = repeat(None) if self.weights is None else self.weights.split(size)
        yield from map(Batch, self.images.split(size), self.targets.split(size), weights)


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Args:
        images: Pixels as stored, shape (B, C, H, W), uint8 or float32; or the files of a streamed folder.
        targets: Class indices, shape (B,), int64; labels, 0 or 1, shape (B, L), uint8; or numbers to regress, shape
            (B, T), float32, or float64 where float32 would round away how they differ.
        weights: How much each image counts in the loss, finite and 0 or above, shape (B,), float32; None for all alike.
        origins: Where the images come from, which tells copies and groups; None where nothing is known.
    """

    images: Tensor | Files
    targets: Tensor
    weights: Tensor | None = None
    origins: Origins | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def head(self, count: int) -> Split:
        """Keep the first images only.

        Returns:
            A part of at most so many images.

        Example:
            >>> len(Split(torch.zeros(5, 1, 2, 2), torch.zeros(5)).head(3))
            3
        """
        images = self.images
        images = replace(images, paths=images.paths[:count]) if isinstance(images, Files) else images[:count]
        weights = None if self.weights is None else self.weights[:count]
        return Split(images, self.targets[:count], weights, self.origins and self.origins.take(slice(count)))

    def to(self, device: torch.device | str) -> Split:
        """Move the part to a device in one go, its pixels stored in channels_last order.

        Batches gathered from it are channels_last, too, at the cost of contiguous ones. Files stay where they are,
        and so do images that would take more than half of a GPU's free memory: their batches move one by one.

        Args:
            device: Where the training runs.

        Returns:
            The part on that device.

        Example:
            >>> Split(torch.zeros(2, 3, 4, 4), torch.zeros(2)).to("cpu").images.stride()
            (48, 1, 12, 3)
        """
        device = torch.device(device)
        if isinstance(self.images, Files) or not _fits(self.images, device):
            return self
        images = self.images.contiguous(memory_format=torch.channels_last)
        weights = None if self.weights is None else self.weights.to(device)
        return Split(images.to(device), self.targets.to(device), weights, self.origins)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set, ready to train on.

    Args:
        train: The part that is fitted, and the only one that statistics may be taken from.
        validation: The part that choices are made by.
        test: The part that is looked at last; None where there is none.
        class_names: A name for each class index or label; () for regression.
        digest: The first 16 hexadecimal digits of the SHA-256 of what was read; counts in a trial's identity.
        notes: What the reader tells the user, such as what it left aside; a sentence each.
        wanted: Fractions that `data.split` asks for where groups are kept whole, else ().
    """

    train: Split
    validation: Split
    test: Split | None
    class_names: tuple[str, ...]
    digest: str
    notes: tuple[str, ...] = ()
    wanted: tuple[float, ...] = ()

    @property
    def task(self) -> Task:
        """What the targets are."""
        if not self.class_names:
            return "regression"
        return "classification" if self.train.targets.dim() == 1 else "multilabel"

    @property
    def num_classes(self) -> int:
        """Classes, labels, or columns of numbers."""
        return len(self.class_names) or self.train.targets.shape[1]


def fingerprint(*contents: np.ndarray | Sequence[str]) -> str:
    """Digest contents: type, shape and bytes of arrays, and names.

    Args:
        contents: What was read, in a fixed order.

    Returns:
        The first 16 hexadecimal digits of the SHA-256.

    Example:
        >>> fingerprint(np.zeros(2), ("cat", "dog")) == fingerprint(np.zeros(3), ("cat", "dog"))
        False
    """
    digest = hashlib.sha256()
    for content in contents:
        if isinstance(content, np.ndarray):
            digest.update(f"{content.dtype.str}{content.shape}".encode())
            digest.update(np.ascontiguousarray(content).data)
        else:
            digest.update(repr(tuple(content)).encode())
    return digest.hexdigest()[:16]


def check_shape(found: Sequence[int], shape: Sequence[int], source: str) -> None:
    """Hold the images' shape against the one that the config states.

    Args:
        found: What the source holds: channels, height, width.
        shape: What `data.shape` says.
        source: Name of the source, for the message.

    Raises:
        DataError: If they differ.

    Example:
        >>> check_shape((1, 8, 8), (1, 8, 8), "digits")
    """
    if tuple(found) != tuple(shape):
        raise DataError(
            f"data.shape={list(shape)} does not fit: the images of {source} are {list(found)}. "
            f"Use data.shape=[{','.join(map(str, found))}]."
        )


def check_weights(weights: np.ndarray, count: int, source: str) -> np.ndarray:
    """Hold the weights of a part's images against what weights can be.

    Args:
        weights: As read, one number an image.
        count: Images that the part has.
        source: Name of the weights, for the message.

    Returns:
        The same numbers, shape (B,), float32.

    Raises:
        DataError: If they are too few or too many, not finite, below 0, or all 0.

    Example:
        >>> check_weights(np.array([[1], [2]]), 2, "w_train")
        array([1., 2.], dtype=float32)
    """
    if weights.dtype.kind not in "buif" or weights.ndim == 0 or weights.size != count or len(weights) != count:
        raise DataError(f"{source} must be one number for each of {count} images; it is {list(weights.shape)}.")
    with np.errstate(over="ignore"):  # to infinity, which is refused
        flat = weights.reshape(-1).astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(flat) | (flat < 0))
    if len(wrong):
        raise DataError(f"{source} must be finite and 0 or above, but that of image {wrong[0]} is {flat[wrong[0]]:g}.")
    if not flat.any():
        raise DataError(f"{source} are all 0: no image would count. Leave them out, or give some above 0.")
    return flat


def check_data(data: ImageData, shape: Sequence[int], num_classes: int | None, source: str) -> None:
    """Hold what a reader returned, perhaps the user's own, against what the training takes and the config states.

    Args:
        data: What the reader returned.
        shape: What `data.shape` says.
        num_classes: What `data.num_classes` says; None to take what is found.
        source: Name of the source, for the messages.

    Raises:
        DataError: If images or targets cannot be trained on, or differ from the config.

    Example:
        >>> part = Split(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))
        >>> check_data(ImageData(part, part, None, ("a", "b"), ""), (1, 8, 8), 2, "data=own")
    """
    if not isinstance(data, ImageData):
        raise DataError(f"{source} is {type(data).__name__}, not ImageData. Make that with convgrid.data.divide.")
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    for name, part in parts.items():
        if part is not None:
            source_of_part = f"the {name} part of {source}"
            _check_images(part, source_of_part)
            check_shape(part.images.shape[-3:], shape, source)
            _check_targets(part.targets, source_of_part, data)
    if data.task == "classification" and len(data.class_names) == 1:
        raise DataError(
            f"{source} has one class, {data.class_names[0]}: nothing can be told apart. Add images of another."
        )
    if data.class_names:
        check_classes(len(data.class_names), num_classes, source)
    elif num_classes not in (None, data.num_classes):
        raise DataError(
            f"data.num_classes={num_classes} does not fit: {source} has {data.num_classes} numbers to predict an "
            f"image. Use data.num_classes={data.num_classes}."
        )


def _check_images(part: Split, source: str) -> None:
    images = part.images
    if not len(part) or len(images) != len(part):
        raise DataError(f"{source} has {len(images)} images and {len(part)} targets. Give every image one.")
    if isinstance(images, Tensor):
        if images.dim() != 4 or images.dtype not in (torch.uint8, torch.float32):
            kind = f"{images.dtype} of shape {list(images.shape)}".removeprefix("torch.")
            raise DataError(f"{source} has images as {kind}. Give uint8 or float32 of shape (B, C, H, W).")
        if images.is_floating_point() and not images.isfinite().all():
            raise DataError(f"{source} has pixels that are NaN or infinite.")


def _check_targets(targets: Tensor, source: str, data: ImageData) -> None:
    names, least, most = len(data.class_names), *(value.item() for value in targets.aminmax())
    match data.task:
        case "classification":
            if targets.dtype != torch.int64 or least < 0 or most >= names:
                raise DataError(
                    f"{source} has classes from {least} to {most}, but {names} class names. "
                    f"Number the classes from 0 to {names - 1}."
                )
        case "multilabel":
            if targets.shape[1:] != (names,) or targets.dtype != torch.uint8 or most > 1:
                kind = f"{list(targets.shape)} from {least} to {most}"
                raise DataError(f"{source} has labels {kind}, but {names} class names. Give 0 or 1 for each of them.")
        case "regression":
            if targets.dim() != 2 or not targets.isfinite().all():
                raise DataError(
                    f"{source} has targets of shape {list(targets.shape)}. Give finite numbers of shape (B, T)."
                )


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= free // 2

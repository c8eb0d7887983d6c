"""What is known of a data set without its images: what a model of it takes, gives, and was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from convgrid.data.dataset import Files, ImageData, Split
from convgrid.data.decoding import decode, quiet
from convgrid.data.notes import notes_on
from convgrid.objective.fit import Task

EXAMPLE_BYTES, MOST_EXAMPLES = 2**18, 64  # of images kept beside a model's weights; at least 2 images
FILE_SCALE = (0, 255)  # of an image file's pixels
MAX_DARK = 127  # bytes none of which is above it have another white than 255, such as digits' 16


@dataclass(frozen=True)
class Profile:
    """A data set in numbers and names, as a trial's `data.json` keeps it.

    Args:
        name: The option, as in `data=digits`, and of the user's own data its place: "image_folder cats-dogs".
        digest: Of what was read.
        task: What the targets are.
        names: Of the classes, the labels, or the numbers to predict.
        dtype: Of the pixels: "uint8" or "float32".
        pixels: The least and the greatest of the training part.
        scale: What black and white of an image file, 0 and 255, are among these pixels.
        images: How many each part has: "train", "validation", "test".
        counts: Training images of each class or label; () for numbers.
        ranges: The least and the greatest training target of each column of numbers; () for classes and labels.
        groups: How many groups each part has, where `data.group` makes some.
        notes: What the user is told of the data.
    """

    name: str
    digest: str
    task: Task
    names: tuple[str, ...]
    shape: tuple[int, int, int]
    dtype: str
    pixels: tuple[float, float]
    scale: tuple[float, float]
    images: Mapping[str, int]
    counts: tuple[int, ...] = ()
    ranges: tuple[tuple[float, float], ...] = ()
    groups: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: ImageData, name: str, columns: Sequence[str] | None = None, *, from_files: bool = False) -> Self:
        """Look at a data set.

        Args:
            name: What it is called.
            columns: Names of the numbers to predict, where they have some.
            from_files: Whether its images were image files.

        Returns:
            What is known of it.

        Example:
            >>> part = Split(torch.tensor([[[[0, 9]]]], dtype=torch.uint8), torch.tensor([1]))
            >>> Profile.of(ImageData(part, part, None, ("cat", "dog"), "d1g3"), "own").counts
            (0, 1)
        """
        images = data.train.images
        parts = {"train": data.train, "validation": data.validation, "test": data.test}
        channels, height, width = images.shape[-3:]
        dtype = "uint8" if isinstance(images, Files) else str(images.dtype).removeprefix("torch.")
        least, most = FILE_SCALE if isinstance(images, Files) else (value.item() for value in images.aminmax())
        is_as_files = from_files or (dtype == "uint8" and most > MAX_DARK)
        return cls(
            name=name,
            digest=data.digest,
            task=data.task,
            names=data.class_names or tuple(columns or _numbered(data.num_classes)),
            shape=(channels, height, width),
            dtype=dtype,
            pixels=(least, most),
            scale=FILE_SCALE if is_as_files else (least, most),
            images={part: len(split) for part, split in parts.items() if split is not None},
            counts=_counts(data),
            ranges=() if data.class_names else _ranges(data.train.targets),
            groups={part: count for part, split in parts.items() if (count := _num_groups(split)) is not None},
            notes=notes_on(data),
        )

    @classmethod
    def load(cls, known: Mapping[str, object]) -> Self:
        """Make it of what JSON holds: lists become tuples again."""
        return cls(**{key: _frozen(value) for key, value in known.items()})  # pyright: ignore[reportArgumentType]

    def dump(self) -> dict[str, object]:
        """What JSON can hold."""
        return asdict(self)


def pick_examples(split: Split) -> tuple[Tensor, Tensor]:
    """Pick a few images, evenly over a part, in which classes may stand one after another.

    Args:
        split: Such as the validation part.

    Returns:
        Their places, shape (E,), and their pixels, shape (E, C, H, W), on the CPU.

    Example:
        >>> pick_examples(Split(torch.zeros(200, 1, 32, 32), torch.zeros(200)))[0][:3].tolist()
        [0, 3, 6]
    """
    pixels = 1 if isinstance(split.images, Files) else split.images.element_size()
    size = pixels * math.prod(split.images.shape[-3:])
    count = min(len(split), max(2, min(MOST_EXAMPLES, EXAMPLE_BYTES // size)))
    places = torch.arange(count) * len(split) // count
    if isinstance(split.images, Tensor):
        return places, split.images[places].contiguous()
    paths, shape = split.images.paths, split.images.shape
    with quiet():
        decoded = [torch.tensor(decode(Path(paths[place]).read_bytes(), shape)) for place in places]
    return places, torch.stack(decoded).permute(0, 3, 1, 2).contiguous()


def _counts(data: ImageData) -> tuple[int, ...]:
    targets = data.train.targets
    match data.task:
        case "classification":
            return tuple(targets.bincount(minlength=data.num_classes).tolist())
        case "multilabel":
            return tuple(targets.sum(0).tolist())
        case "regression":
            return ()


def _num_groups(split: Split | None) -> int | None:
    if split is None or split.origins is None or split.origins.groups is None:
        return None
    return len(set(split.origins.groups))


def _ranges(targets: Tensor) -> tuple[tuple[float, float], ...]:
    least, most = targets.aminmax(dim=0)
    return tuple(zip(least.tolist(), most.tolist(), strict=True))


def _numbered(count: int) -> list[str]:
    return ["target"] if count == 1 else [f"target {number}" for number in range(1, count + 1)]


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value

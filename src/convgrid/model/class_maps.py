"""What a trained model says of each place of larger images: a map, as numbers and as a picture.

Shapes: C channels, H height, W width, K predictions; R rows and Q columns of places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from convgrid.data.files import readable
from convgrid.errors import ModelError
from convgrid.model.agreement import ask
from convgrid.model.answers import answers_of
from convgrid.model.class_map_overlay import Classes, overlay
from convgrid.model.export_formats import InferenceModel
from convgrid.model.image_files import check_readable, read_whole
from convgrid.model.metadata import Metadata
from convgrid.network.sliding import map_size, step_of, window_differences
from convgrid.system.text import cell

if TYPE_CHECKING:
    import pandas as pd

CROPS = 16  # of a map, that are held against it
NO_LABEL = "none"  # of the labels


@dataclass(frozen=True)
class Map:
    """One image's.

    Args:
        name: Of its file, or its number in an array.
        photo: As it was given, shape (C, H, W).
        predictions: Shape (R, Q, K).
        agreement: What tells it from crops, and how often the answer is the same; "" where it is what crops give.
    """

    name: str
    meta: Metadata
    photo: Tensor
    predictions: Tensor
    agreement: str

    @cached_property
    def answers(self) -> list[Any]:
        """The class of each place, row by row, or its labels."""
        return answers_of(self.predictions.flatten(0, 1), self.meta)

    @property
    def boxes(self) -> Iterator[tuple[int, int, int, int, int, int]]:
        """Row, column, and the pixels of the window: left, top, right, bottom, the last two excluded."""
        (down, right), (_, height, width) = step_of(self.meta.plan), self.meta.profile.shape
        rows, columns, _ = self.predictions.shape
        for row in range(rows):
            for column in range(columns):
                left, top = right * column, down * row
                yield row, column, left, top, left + width, top + height

    @property
    def frame(self) -> pd.DataFrame:
        """A row a place: where it is, its class or labels, and all predictions."""
        import pandas as pd

        made = pd.DataFrame([*self.boxes], columns=["row", "column", "left", "top", "right", "bottom"])
        if self.meta.answer is not None:
            made[self.meta.answer] = [
                ", ".join(each) if isinstance(each, list) else each for each in self.answers
            ]  # fmt: skip
        values = pd.DataFrame(self.predictions.flatten(0, 1).numpy(), columns=self.meta.columns)
        return pd.concat([made, values], axis=1)

    @property
    def picture(self) -> Image.Image:
        """The photo with each place in the colour of its class or likeliest label.

        Raises:
            ModelError: If the model predicts numbers.
        """
        if self.meta.answer is None:
            raise ModelError("A map's picture has a colour a class, and this model predicts numbers. Use its table.")
        best, chosen = self.predictions.max(-1)
        if self.meta.answer == "labels":
            chosen = torch.where(best > self.meta.threshold, chosen, -1)
        (_, height, width), (low, high) = self.meta.profile.shape, self.meta.profile.pixels
        grey = ((self.photo.float() - low) * (255 / max(high - low, 1e-12))).mean(0).round().clamp(0, 255)
        strength = best if self.meta.kind == "probability" else torch.ones_like(best)
        names, step = self.meta.profile.names, step_of(self.meta.plan)
        classes = Classes(chosen.numpy(), strength.numpy(), names, (height, width), step)
        return overlay(grey.to(torch.uint8).numpy(), classes)

    @property
    def summary(self) -> str:
        """The most frequent classes or labels."""
        told = Counter(
            name for each in self.answers for name in (each or [NO_LABEL] if isinstance(each, list) else [each])
        )
        count = len(self.answers)
        return ", ".join(f"{name} {number / count:.0%}" for name, number in told.most_common(3)) + f" of {count} places"

    def save(self, folder: str | Path = ".") -> list[Path]:
        """Write NAME.map.csv, and of classes or labels NAME.map.png.

        Raises:
            ModelError: If a file cannot be written.
        """
        table, picture = (Path(folder) / f"{Path(self.name).stem}.map{suffix}" for suffix in (".csv", ".png"))
        try:
            frame = self.frame.rename(columns=cell)
            if self.meta.answer is not None:
                frame[self.meta.answer] = frame[self.meta.answer].map(cell)
            frame.to_csv(table, index=False)
            if self.meta.answer is None:
                return [table]
            self.picture.save(picture)
        except OSError as error:
            raise ModelError(f"{error.filename} cannot be written: {error.strerror}.") from None
        return [picture, table]


def maps_of_files(model: InferenceModel, files: Sequence[Path], unread: list[str]) -> Iterator[Map]:
    """Map image files, one at a time.

    Args:
        unread: Is added a line for each that cannot be read, or is too small.

    Raises:
        ModelError: If the network cannot slide, no file can hold such images, or two maps would have one name.
    """
    profile = model.meta.profile
    check_readable(profile)
    for name, count in Counter(file.stem for file in files).items():
        if count > 1:
            raise ModelError(f"{count} images are named {name}, and their maps would be one file. Map them one by one.")
    for file in files:
        pixels = read_whole(file, profile)
        line = pixels if isinstance(pixels, str) else _too_small(readable(str(file)), pixels, model.meta)
        if line:
            unread.append(line)
        elif isinstance(pixels, Tensor):
            yield _mapped(model, str(file), pixels)


def maps_of_arrays(model: InferenceModel, images: Tensor) -> list[Map]:
    """Map images (B, C, H, W) as the training had them, but larger.

    Raises:
        ModelError: If they are too small, or the network cannot slide.
    """
    line = _too_small("images", images, model.meta)
    if line:
        raise ModelError(line)
    return [_mapped(model, str(number), image) for number, image in enumerate(images.split(1))]


def _too_small(name: str, pixels: Tensor, meta: Metadata) -> str:
    (_, height, width), (_, _, own_height, own_width) = meta.profile.shape, pixels.shape
    if own_height >= height and own_width >= width:
        return ""
    return (
        f"{name}: {own_width}x{own_height} pixels, and a map needs at least the {width}x{height} of the network. "
        "Use a larger image, or predict it without a map."
    )


def _mapped(model: InferenceModel, name: str, pixels: Tensor) -> Map:
    with torch.inference_mode():
        predictions = model.map(pixels)[0].movedim(0, -1)
    return Map(name, model.meta, pixels[0], predictions, _agreement(model, pixels, predictions))


def _agreement(model: InferenceModel, pixels: Tensor, predictions: Tensor) -> str:
    """Cut some windows out, and ask of them what a crop's answer is."""
    meta = model.meta
    reasons = window_differences(meta.plan)
    if not reasons:
        return ""
    why = f"The network sees more than a window ({', '.join(reasons)}), so that places differ from crops"
    if meta.answer is None:
        return f"{why}."
    rows, columns = map_size(meta.plan, *pixels.shape[2:])
    (down, right), (_, height, width) = step_of(meta.plan), meta.profile.shape
    count = min(CROPS, rows * columns)
    chosen = [divmod(number * rows * columns // count, columns) for number in range(count)]
    crops = [
        pixels[0, :, down * row : down * row + height, right * column : right * column + width]
        for row, column in chosen
    ]  # fmt: skip
    cut = answers_of(ask(model, torch.stack(crops)), meta)
    slid = answers_of(torch.stack([predictions[place] for place in chosen]), meta)
    same = sum(a == b for a, b in zip(cut, slid, strict=True))
    return f"{why}: {same} of {count} that were compared have the same {meta.answer}."

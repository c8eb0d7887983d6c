"""What a trained model says of image files, printed."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convgrid.data.files import left_out
from convgrid.data.profile import FILE_SCALE, Profile
from convgrid.errors import ModelError
from convgrid.model.agreement import PREDICTION_BATCH, ask
from convgrid.model.answers import answers_of, best_of
from convgrid.model.class_maps import Map, maps_of_arrays, maps_of_files
from convgrid.model.export_formats import InferenceModel, in_process, read
from convgrid.model.image_files import check_readable, find_images, read_images
from convgrid.model.metadata import Metadata
from convgrid.model.trained_model import load
from convgrid.system.text import cell, escaped, escaped_json, one_line


@dataclass(frozen=True)
class Prediction:
    """What is said of one image.

    Args:
        file: That holds it; None of an array.
        answer: Its class, its labels, or None of numbers.
        values: A probability or score of each class or label, or the numbers.
    """

    file: Path | None
    answer: Any
    values: Sequence[float]


def predict(source: Path, named: Sequence[str], show: str) -> bool:
    """Print what a model predicts; what cannot be read is told on stderr, and the others are predicted.

    Args:
        source: A trial's folder, or an exported file.
        named: Image files and folders.
        show: "text", "json", "csv" or "map".

    Returns:
        Whether all could be read.

    Raises:
        ConvgridError: If there is no such model, or it takes images that files cannot hold.
    """
    unread: list[str] = []
    (files, hidden), model = find_images(named), model_of(source)
    for line in left_out(hidden, Path()):
        _tell(line)
    if show == "map":
        _save_maps(model, files, unread)
    else:
        SHOW[show](predictions_of_files(model, files, unread), model.meta)
    return not unread


def _save_maps(model: InferenceModel, files: Sequence[Path], unread: list[str]) -> None:
    """Write each map into the working folder, and print what it shows."""
    if model.meta.answer is None:
        raise ModelError(
            "--map draws classes or labels, and this model predicts numbers. "
            "In Python, convgrid.load(RUN).map(PHOTO).frame holds those of each place."
        )
    _tell_scale(model.meta.profile)
    for each in maps_of_files(model, files, unread):
        print("  ".join(map(one_line, [each.name, *map(str, each.save()), each.summary])))
        if each.agreement:
            _tell(f"{each.name}: {each.agreement}")
    for line in unread:
        _tell(line)


def model_of(source: Path) -> InferenceModel:
    """Make a model of a trial's folder or an exported file."""
    return in_process(load(source)) if source.is_dir() else read(source)


def predictions_of_files(model: InferenceModel, files: Sequence[Path], unread: list[str]) -> Iterator[Prediction]:
    """Predict image files, some at a time.

    Args:
        unread: Is added a line for each that cannot be read, which stderr is told.

    Raises:
        ModelError: If no file can hold such images.
    """
    profile = model.meta.profile
    check_readable(profile)
    _tell_scale(profile)
    return _predictions(model, files, unread)


def predictions_of_arrays(model: InferenceModel, images: np.ndarray) -> list[Prediction]:
    """Predict images as the training had them.

    Args:
        images: Shape (B, C, H, W), (B, H, W, C), or of one image; grey ones without C, too.

    Raises:
        ModelError: If their shape or type is another than in the training.
    """
    predictions = ask(model, as_batch(images, model.meta.profile))
    return [
        Prediction(None, *said) for said in zip(answers_of(predictions, model.meta), predictions.tolist(), strict=True)
    ]


def as_batch(images: np.ndarray, profile: Profile, size: Sequence[int] | None = None) -> Tensor:
    """Bring images of any layout to that of the training.

    Args:
        images: Shape (B, C, H, W), (B, H, W, C), or of one image; grey ones without C, too.
        profile: Of what the model was trained on.
        size: Height and width; None takes those of the training.

    Returns:
        Shape (B, C, H, W).

    Raises:
        ModelError: If their shape or type is another.
    """
    found = np.asarray(images)
    channels, *trained = profile.shape
    size = trained if size is None else size
    shapes = {(channels, *size): (0, 1, 2), (*size, channels): (2, 0, 1)}
    if channels == 1 and found.shape[-2:] == tuple(size):
        found = found[..., None, :, :] if found.shape[-3:] != (1, *size) else found
    axes = shapes.get(found.shape[-3:])
    if axes is None or found.ndim not in (3, 4) or str(found.dtype) != profile.dtype:
        raise ModelError(
            f"images is {found.dtype} of shape {[*np.shape(images)]}. The model takes {profile.dtype} of shape "
            f"[images, {', '.join(map(str, (*trained, channels)))}], as in its training."
        )
    batch = found.reshape(-1, *found.shape[-3:]).transpose(0, *(axis + 1 for axis in axes))
    return torch.from_numpy(np.ascontiguousarray(batch))


def maps_of_images(model: InferenceModel, images: np.ndarray) -> list[Map]:
    """Map images as the training had them, but larger; channels may be first or last, as in `as_batch`.

    Raises:
        ModelError: If they are too small, or their shape or type is another.
    """
    shape, channels = np.shape(images), model.meta.profile.shape[0]
    without = channels == 1 and 1 not in (shape[-1:] + shape[-3:-2])
    size = shape[-2:] if without or channels in shape[-3:-2] else shape[-3:-1]
    return maps_of_arrays(model, as_batch(images, model.meta.profile, size))


def _tell_scale(profile: Profile) -> None:
    least, most = profile.scale
    if profile.scale != FILE_SCALE:
        _tell(f"Black and white of a file, 0 and 255, are taken for {least:g} and {most:g}, as in the training.")


def _predictions(model: InferenceModel, files: Sequence[Path], unread: list[str]) -> Iterator[Prediction]:
    """Some images at a time; those that cannot be read are told, and noted."""
    for first in range(0, len(files), PREDICTION_BATCH):
        known, pixels, broken = read_images(files[first : first + PREDICTION_BATCH], model.meta.profile)
        for line in broken:
            _tell(line)
        unread += broken
        if known:
            predictions = ask(model, pixels)
            yield from map(Prediction, known, answers_of(predictions, model.meta), predictions.tolist())


def _show_text(predictions: Iterable[Prediction], meta: Metadata) -> None:
    for each in predictions:
        labels = [", ".join(map(one_line, each.answer)) or "none"] if meta.answer == "labels" else []
        ranked = [f"{one_line(name)} {_rounded(value, meta)}" for name, value in best_of(each.values, meta)]
        print("  ".join([one_line(str(each.file)), *labels, *ranked]))


def _rounded(value: float, meta: Metadata) -> str:
    return f"{value:.3f}" if meta.kind == "probability" else f"{value:.4g}"


def _show_json(predictions: Iterable[Prediction], meta: Metadata) -> None:
    rows = []
    for each in predictions:
        answer = {meta.answer: each.answer} if meta.answer else {}
        rows.append(
            {"file": str(each.file), **answer, meta.kind: dict(zip(meta.profile.names, each.values, strict=True))}
        )
    print(escaped_json(json.dumps(rows, indent=2, ensure_ascii=False)))


def _show_csv(predictions: Iterable[Prediction], meta: Metadata) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(table_row("file", *([meta.answer] if meta.answer else []), meta.columns))
    for each in predictions:
        answer = ", ".join(each.answer) if isinstance(each.answer, list) else each.answer
        table.writerow(table_row(str(each.file), *([answer] if meta.answer else []), each.values))


def table_row(file: str, *rest: Any) -> list[Any]:
    """A line for a spreadsheet: the file, the answer where there is one, the values."""
    *answer, values = rest
    return [cell(part) for part in (file, *answer, *values)]


SHOW: Mapping[str, Callable[[Iterable[Prediction], Metadata], None]] = {
    "text": _show_text,
    "json": _show_json,
    "csv": _show_csv,
}


def _tell(line: str) -> None:
    print(escaped(line), file=sys.stderr)

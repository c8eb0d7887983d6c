"""What a trained model says of image files, printed."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convgrid.data.files import left_out
from convgrid.data.profile import FILE_SCALE, Profile
from convgrid.model.asking import BATCH, answers_of, ask, best_of
from convgrid.model.formats import Model, in_process, read
from convgrid.model.images import check_readable, find_images, read_images
from convgrid.model.meta import Meta
from convgrid.model.trained import load


@dataclass(frozen=True)
class Prediction:
    """What is said of one image.

    Args:
        answer: Its class, its labels, or None of numbers.
        values: A probability or score of each class or label, or the numbers.
    """

    file: Path
    answer: Any
    values: Sequence[float]


def predict(source: Path, named: Sequence[str], show: str) -> bool:
    """Print what a model predicts; what cannot be read is told on stderr, and the others are predicted.

    Args:
        source: A trial's folder, or an exported file.
        named: Image files and folders.
        show: "text", "json" or "csv".

    Returns:
        Whether all could be read.

    Raises:
        ConvgridError: If there is no such model, or none of images that files can hold.
    """
    (files, hidden), model, unread = find_images(named), _model(source), []
    for line in left_out(hidden, Path()):
        _tell(line)
    profile = model.meta.profile
    check_readable(profile)
    if profile.scale != FILE_SCALE:
        _tell(_on_scale(profile))
    SHOW[show](_predictions(model, files, unread), model.meta)
    return not unread


def _model(source: Path) -> Model:
    return in_process(load(source)) if source.is_dir() else read(source)


def _on_scale(profile: Profile) -> str:
    least, most = profile.scale
    return f"Black and white of a file, 0 and 255, are taken for {least:g} and {most:g}, as in the training."


def _predictions(model: Model, files: Sequence[Path], unread: list[str]) -> Iterator[Prediction]:
    """Some images at a time; those that cannot be read are told, and noted."""
    for first in range(0, len(files), BATCH):
        known, pixels, broken = read_images(files[first : first + BATCH], model.meta.profile)
        for line in broken:
            _tell(line)
        unread += broken
        if known:
            predictions = ask(model, pixels)
            yield from map(Prediction, known, answers_of(predictions, model.meta), predictions.tolist())


def _show_text(predictions: Iterable[Prediction], meta: Meta) -> None:
    for each in predictions:
        labels = [", ".join(each.answer) or "none"] if meta.answer == "labels" else []
        ranked = [f"{name} {_rounded(value, meta)}" for name, value in best_of(each.values, meta)]
        print("  ".join([str(each.file), *labels, *ranked]))


def _rounded(value: float, meta: Meta) -> str:
    return f"{value:.3f}" if meta.kind == "probability" else f"{value:.4g}"


def _show_json(predictions: Iterable[Prediction], meta: Meta) -> None:
    rows = []
    for each in predictions:
        answer = {meta.answer: each.answer} if meta.answer else {}
        rows.append(
            {"file": str(each.file), **answer, meta.kind: dict(zip(meta.profile.names, each.values, strict=True))}
        )
    print(json.dumps(rows, indent=2, ensure_ascii=False))


def _show_csv(predictions: Iterable[Prediction], meta: Meta) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["file", *([meta.answer] if meta.answer else []), *meta.columns])
    for each in predictions:
        answer = ", ".join(each.answer) if isinstance(each.answer, list) else each.answer
        table.writerow([each.file, *([answer] if meta.answer else []), *each.values])


SHOW: Mapping[str, Callable[[Iterable[Prediction], Meta], None]] = {
    "text": _show_text,
    "json": _show_json,
    "csv": _show_csv,
}


def _tell(line: str) -> None:
    print(line, file=sys.stderr)

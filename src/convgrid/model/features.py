"""What a trained network's last layer but one makes of images: a table, and a map of it.

Shapes: N images, F numbers of each.
"""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convgrid.compare.report.png import save
from convgrid.config import Settings
from convgrid.data import Split
from convgrid.data.profile import Profile
from convgrid.errors import DiskError, ModelError
from convgrid.features.extract import ProgressWatch, images_at, stored
from convgrid.model.answers import answers_of
from convgrid.model.feature_map.drawing import draw
from convgrid.model.feature_map.page import map_page
from convgrid.model.feature_map.projection import MAPS, NEIGHBOURS, chosen, neighbours_agree
from convgrid.model.image_files import check_readable, find_images, read_images
from convgrid.model.metadata import Metadata
from convgrid.model.trained_model import Trained, load
from convgrid.objective.predictor import Predictor
from convgrid.runs.files import replacing, write
from convgrid.runs.trial import read_settings
from convgrid.system.device import find_device
from convgrid.system.text import escaped
from convgrid.terminal import duration
from convgrid.training.trunk import source_of

COLOUR_BINS = 5  # that numbers to predict are divided into, for their colours


@dataclass(frozen=True)
class Features:
    """Features of images, and what is known of each image.

    Args:
        numbers: Shape (N, F), float32.
        parts: The images themselves, part by part.
        part_names: Of the part that each stands in; "given" of files.
        groups: A class, labels, a range of numbers; of files what is predicted.
        files: Of images given, else ().
        layer: That the numbers are the output of.
    """

    numbers: np.ndarray
    parts: Sequence[Split]
    part_names: np.ndarray
    targets: np.ndarray
    groups: list[str]
    files: list[str]
    layer: str


def features_of(folder: Path, named: Sequence[str], out: Path, how: str | None) -> list[str]:
    """Write features.npz, and a map as a picture and a page.

    Args:
        folder: The run's.
        named: Image files and folders; none takes the data of the run.
        out: A folder for the files, which is made.
        how: A name in `MAPS`; None draws no map.

    Returns:
        A line for each file.

    Raises:
        ConvgridError: If there is no such model, its images cannot be read, or a file cannot be written.
    """
    trained, settings = load(folder), read_settings(folder)
    found = _computed(trained, settings, named)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lines = [_write_table(found, trained.meta, out / "features.npz")]
        return lines if how is None else [*lines, *_write_map(found, trained.meta, out, how)]
    except OSError as error:
        raise DiskError(f"{out} cannot be written: {error.strerror}.") from None


def _computed(trained: Trained, settings: Settings, named: Sequence[str]) -> Features:
    meta, predictor = trained.meta, trained.predictor
    assert isinstance(predictor, Predictor)
    count = len(meta.plan.layers) - 1
    if not count:
        raise ModelError(f"{meta.trial} is a network of one layer: before its output are the images themselves.")
    planned, device = dataclasses.replace(meta.plan, num_frozen=count), find_device(settings.trainer.accelerator)
    names, parts, files = _given(meta, named) if named else _of_run(settings)
    predictor.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (the stubs lack it)
    source = source_of(predictor, planned, settings, device)
    parts_stored = stored(parts, source, ProgressWatch(lambda text: print(text)))
    if parts_stored is None:
        raise ModelError("The features fit neither into memory nor onto the disk. Give fewer images.")
    rows = torch.cat([part.numbers.index_select(0, part.places) for part in parts_stored]).float()
    if named:
        with torch.inference_mode():
            images = torch.cat([*images_at(parts, np.arange(len(files)), torch.device(device))])
            told = answers_of(predictor(images).cpu(), meta)
        groups, targets = [_group(answer) for answer in told], np.empty(0)
    else:
        targets = np.concatenate([part.targets.cpu().numpy() for part in parts])
        groups = _groups(targets, meta.profile)
    each = np.repeat(names, [len(part) for part in parts])
    layer = next(layer.name for layer in reversed(planned.layers[:-1]) if layer.kind != "DROPOUT")
    return Features(rows.flatten(1).numpy(), parts, each, targets, groups, files, layer)


def _of_run(settings: Settings) -> tuple[list[str], list[Split], list[str]]:
    from convgrid.training.setup import read  # Lightning takes seconds to import

    data = read(settings)
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    present = {name: part for name, part in parts.items() if part is not None}
    return [*present], [*present.values()], []


def _given(meta: Metadata, named: Sequence[str]) -> tuple[list[str], list[Split], list[str]]:
    check_readable(meta.profile)
    files, pixels, broken = read_images(find_images(named)[0], meta.profile)
    for line in broken:
        print(escaped(line))
    if not files:
        raise ModelError("None of the images can be read.")
    return ["given"], [Split(pixels, torch.zeros(len(files)))], [str(file) for file in files]


def _groups(targets: np.ndarray, profile: Profile) -> list[str]:
    """What each image's dot is coloured by."""
    match profile.task:
        case "classification":
            return [profile.names[target] for target in targets]
        case "multilabel":
            return [_group([name for name, has in zip(profile.names, row, strict=True) if has]) for row in targets]
        case "regression":
            values = targets[:, 0]
            ends = np.unique(np.quantile(values, np.linspace(0, 1, COLOUR_BINS + 1)))
            places = np.clip(np.searchsorted(ends, values, side="right"), 1, max(1, len(ends) - 1))
            return [f"{ends[place - 1]:.4g} to {ends[min(place, len(ends) - 1)]:.4g}" for place in places]


def _group(answer: object) -> str:
    if isinstance(answer, list):
        return ", ".join(answer) or "none"
    return str(answer)


def _write_table(found: Features, meta: Metadata, file: Path) -> str:
    classes, files = (np.array(texts, dtype=np.str_) for texts in (meta.profile.names, found.files))
    with replacing(file) as partial, partial.open("wb") as opened:
        np.savez(
            opened,
            features=found.numbers,
            targets=found.targets,
            parts=found.part_names,
            classes=classes,
            files=files,
            layer=np.array(found.layer),
        )
    return f"{file}  {len(found.numbers):,} images, {found.numbers.shape[1]:,} numbers each, of {found.layer}"


def _write_map(found: Features, meta: Metadata, out: Path, how: str) -> list[str]:
    words, project = MAPS[how]
    if len(found.numbers) < 3:
        raise ModelError(f"--map {how} needs 3 images or more.")
    began, places = time.monotonic(), chosen(len(found.numbers))
    points = project(found.numbers[places])
    seconds = duration(time.monotonic() - began)
    groups = [escaped(found.groups[place]) for place in places]
    title = f"Features of {meta.trial}: {words}"
    drawing = draw(points, groups, [_tip(found, place) for place in places], title)
    score = _score(found, meta)
    facts = {
        "data": meta.profile.name if not found.files else "images given, in the colour of what is predicted",
        "images": f"{len(places):,} of {len(found.numbers):,}",
        "layer": f"{found.layer}, {found.numbers.shape[1]:,} numbers",
        "map": f"{words}, {seconds}",
        **({"nearest images": score} if score else {}),
    }
    images = _small(found.parts, places, meta.profile)
    write(out / f"{how}.html", map_page(title, facts, drawing, images))
    with replacing(out / f"{how}.png") as partial:
        save(drawing, partial)
    return [
        f"{out / f'{how}.png'}  {words} of {len(places):,} images: {seconds}",
        f"{out / f'{how}.html'}  the same, with the images{f'; {score}' if score else ''}",
    ]


def _tip(found: Features, place: int) -> str:
    group = escaped(found.groups[place])
    return f"{escaped(found.files[place])}\n{group}" if found.files else f"{group}\n{found.part_names[place]}"


def _score(found: Features, meta: Metadata) -> str:
    train, validation = found.part_names == "train", found.part_names == "validation"
    if meta.profile.task != "classification" or not (train.any() and validation.any()):
        return ""
    share = neighbours_agree(
        found.numbers[train], found.targets[train], found.numbers[validation], found.targets[validation]
    )
    return f"{share:.4g} of validation images are of the class of most of their {NEIGHBOURS} nearest training images"


def _small(parts: Sequence[Split], places: np.ndarray, profile: Profile) -> list[Image.Image]:
    low, high = profile.pixels
    found: list[Image.Image] = []
    for batch in images_at(parts, places, torch.device("cpu")):
        scaled = (batch.float() - low) * (255 / max(high - low, 1e-12))
        found += map(_picture, scaled.round().clamp(0, 255).to(torch.uint8))
    return found


def _picture(pixels: Tensor) -> Image.Image:
    """Grey, or the first three channels as RGB."""
    shown = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
    return Image.fromarray(shown.permute(1, 2, 0).contiguous().numpy())

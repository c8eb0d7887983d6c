"""Weights of another program become a weights file of convgrid's, once images show that they are in their places.

Shapes: B batch, C channels, H height, W width, K classes.
"""

import csv
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convgrid import __version__
from convgrid.config import Settings, fit_of, flatten, is_outside_identity
from convgrid.data.profile import FILE_SCALE, Profile
from convgrid.errors import ModelError
from convgrid.losses import mean_squared_error
from convgrid.model.agreement import ask
from convgrid.model.export import write
from convgrid.model.export_formats import in_process
from convgrid.model.image_files import find_images, read_images
from convgrid.model.metadata import Metadata
from convgrid.model.trained_model import NOISE_SCORES, Trained, noise, scores_of_noise
from convgrid.network.build import build
from convgrid.network.foreign import (
    converted,
    count_output_units,
    is_sorted,
    modules_of,
    num_channels,
    turn_channels,
    unwrapped,
)
from convgrid.network.plan import Plan
from convgrid.objective.fit import Fit
from convgrid.objective.objective import Objective
from convgrid.objective.predictor import Predictor

PlanFor = Callable[[int, int], tuple[Settings, Plan]]  # of so many channels and classes
SAFE = ".safetensors"
SURE = 5.0  # standard deviations above chance from which on an accuracy is no accident
PART = 4  # of the way from chance to perfect that weights in their places go at least


@dataclass(frozen=True)
class PublishedInput:
    """What images the weights want, and what is known of them.

    Args:
        mean: Of each channel, on the scale of 0 to `scale`, in the order of `channels`.
        scale: What white is before the mean is taken off.
        channels: "rgb" or "bgr".
        names: Of the classes; None numbers them.
        order: Parts of names in the network's order, where the file has sorted them.
        leave_out: What names start with that the network does not have.
        licence: Of the weights.
        source: Where they are from.
    """

    mean: Sequence[float]
    std: Sequence[float]
    scale: float
    channels: str
    names: Sequence[str] | None
    order: Sequence[str] = ()
    leave_out: Sequence[str] = ()
    licence: str = "not stated"
    source: str = ""


@dataclass(frozen=True)
class Checked:
    """What a check on images came to.

    Args:
        right: How many were predicted correctly.
        chance: The share that guessing would get.
    """

    right: int
    count: int
    chance: float

    @property
    def is_sure(self) -> bool:
        """Whether it is far above chance."""
        deviation = math.sqrt(self.chance * (1 - self.chance) / self.count)
        return self.right / self.count - self.chance >= max(SURE * deviation, (1 - self.chance) / PART)

    def __str__(self) -> str:
        return (
            f"{self.right} of {self.count} images predicted correctly, {self.right / self.count:.4f}; "
            f"by chance {self.chance:.2g}"
        )


def read_foreign(file: Path) -> dict[str, Tensor]:
    """Read tensors by name, and run nothing that the file holds.

    Returns:
        In the file's order.

    Raises:
        ModelError: If it holds something else.
    """
    try:
        if file.suffix == SAFE:
            from safetensors.torch import load_file

            return load_file(file)
        return unwrapped(torch.load(file, map_location="cpu", weights_only=True))
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from None
    except Exception as error:  # whatever torch raises of a broken or hostile file
        cause = str(error).strip().partition("\n")[0].rstrip(".")
        raise ModelError(f"{file} cannot be read: {cause}. Weights by name are taken, and nothing else.") from None


def convert(file: Path, planned: PlanFor, wanted: PublishedInput) -> Trained:
    """Put a file's weights into a planned network.

    Args:
        planned: Gives the settings and the plan for numbers of channels and of classes.

    Returns:
        The model.

    Raises:
        ModelError: If the weights do not fit, naming the first module that differs.
    """
    tensors = read_foreign(file)
    modules = modules_of(tensors, wanted.order, wanted.leave_out)
    names = wanted.names or tuple(map(str, range(count_output_units(modules))))
    settings, plan = planned(num_channels(modules), len(names))
    network = build(plan, init="torch")
    try:
        converted(plan, network, modules, by_kind=bool(wanted.order) or is_sorted(tensors))
        mean, std = _pixels(wanted, plan.input_shape[0])
        if wanted.channels == "bgr":
            turn_channels(plan, network)
            mean, std = mean[::-1], std[::-1]
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from None
    profile = _profile(file, plan, names)
    fit = fit_of(settings, "classification", len(names))
    objective = Objective(mean_squared_error, "classification", fit, torch.ones(2, len(names)), None)
    predictor = Predictor(network, objective, mean, std, plan.input_shape[1:])
    meta = _meta(file, plan, settings, wanted, profile, fit)
    return Trained(meta, predictor.eval().requires_grad_(False), noise(plan))


def _pixels(wanted: PublishedInput, channels: int) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel in pixels of 0 to 255."""
    factor = FILE_SCALE[1] / wanted.scale
    found = []
    for name, values in (("mean", wanted.mean), ("std", wanted.std)):
        if len(values) not in (1, channels):
            raise ModelError(f"--{name} has {len(values)} numbers, and an image {channels} channels.")
        found.append([value * factor for value in (values if len(values) == channels else [*values] * channels)])
    return found[0], found[1]


def _profile(file: Path, plan: Plan, names: Sequence[str]) -> Profile:
    channels, height, width = plan.input_shape
    return Profile(
        name=file.stem,
        digest="",
        task="classification",
        names=tuple(names),
        shape=(channels, height, width),
        dtype="uint8",
        pixels=FILE_SCALE,
        scale=FILE_SCALE,
        images={},
    )


def _meta(file: Path, plan: Plan, settings: Settings, wanted: PublishedInput, profile: Profile, fit: Fit) -> Metadata:
    kept = {key: value for key, value in flatten(settings.values) if not is_outside_identity(key)}
    turned = "rgb, turned from bgr" if wanted.channels == "bgr" else "rgb"
    return Metadata(
        trial=file.stem,
        version=__version__,
        profile=profile,
        plan=plan,
        fit=fit,
        target=None,
        config={key: value for key, value in kept.items() if "_target_" not in key} | dict(settings.choices),
        about={
            "pattern": plan.pattern,
            "source": wanted.source or file.name,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "licence": wanted.licence,
            "channels": turned,
            "interpolation": "as convgrid resizes image files: bilinear, cropped in the middle",
        },
    )


def check(trained: Trained, named: Sequence[str]) -> Checked:
    """Let a model predict images whose classes are known.

    Args:
        named: Folders that hold a folder a class, or tables (.csv) with columns file and class, where several classes
            that are as good have | between them.

    Returns:
        How many were right.

    Raises:
        ModelError: If an image cannot be read, or is of a class that the model does not have.
    """
    known = [pair for place in map(Path, named) for pair in _labelled(place, trained.meta.profile.names)]
    files, answers = [file for file, _ in known], [answer for _, answer in known]
    right = 0
    for first in range(0, len(files), 64):
        some = files[first : first + 64]
        _, pixels, broken = read_images(some, trained.meta.profile)
        if broken:
            raise ModelError(f"--check: {'; '.join(broken[:3])}.")
        predicted = ask(in_process(trained), pixels).argmax(1).tolist()
        right += sum(place in wanted for place, wanted in zip(predicted, answers[first : first + 64], strict=True))
    chance = sum(map(len, answers)) / len(answers) / len(trained.meta.profile.names)
    return Checked(right, len(files), chance)


def _labelled(place: Path, names: Sequence[str]) -> list[tuple[Path, frozenset[int]]]:
    if place.suffix == ".csv":
        return _of_table(place, names)
    if not place.is_dir():
        raise ModelError(f"--check {place} is not a folder with a folder a class, nor a .csv.")
    found = [
        (file, _places(folder.name, names, f"--check {folder}"))
        for folder in sorted(path for path in place.iterdir() if path.is_dir())
        for file in find_images([str(folder)])[0]
    ]
    if not found:
        raise ModelError(f"--check {place} has no folder with images. It must have one a class, named like the class.")
    return found


def _of_table(table: Path, names: Sequence[str]) -> list[tuple[Path, frozenset[int]]]:
    try:
        with table.open(newline="", encoding="utf-8") as opened:
            rows = [*csv.DictReader(opened)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"--check {table} cannot be read: {error}.") from None
    if not rows or not {"file", "class"} <= rows[0].keys():
        raise ModelError(f"--check {table} must have the columns file and class, and a line for each image.")
    return [(table.parent / row["file"], _places(row["class"], names, f"--check {table}")) for row in rows]


def _places(text: str, names: Sequence[str], where: str) -> frozenset[int]:
    """Which classes a text names, by name or number."""
    numbers = {name: place for place, name in enumerate(names)}
    found = [numbers.get(part.strip(), int(part) if part.strip().isdigit() else -1) for part in text.split("|")]
    if not all(0 <= place < len(names) for place in found):
        raise ModelError(f"{where}: {text} is not a class of --classes, such as {', '.join(names[:3])}.")
    return frozenset(found)


def adopt(file: Path, planned: PlanFor, wanted: PublishedInput, out: Path, named: Sequence[str]) -> Checked:
    """Convert a file of weights; it gets its name where the model predicts images far better than chance.

    Args:
        planned: Gives the settings and the plan for numbers of channels and of classes.
        out: The file, which does not exist yet.
        named: Folders or tables of images whose classes are known.

    Returns:
        What the check came to.

    Raises:
        ModelError: If the weights do not fit, or predict no better than chance.
    """
    trained = convert(file, planned, wanted)
    checked = check(trained, named)
    if not checked.is_sure:
        raise ModelError(
            f"{file}: {checked}: that is not far enough above it. The weights fit by shape only, or want other images. "
            "Check --mean, --std, --scale and --channels, and the order of names (--order)."
        )
    keep(trained, out, {"check": str(checked)})
    return checked


def keep(trained: Trained, out: Path, about: Mapping[str, Any]) -> None:
    """Write a weights file, with the scores of two images that everybody can make.

    Args:
        out: The file, which does not exist yet.
        about: What else it says of itself.

    Raises:
        ModelError: If it cannot be written, or does not predict what the model does.
    """
    told = {**trained.meta.about, **about, NOISE_SCORES: scores_of_noise(trained.meta, trained.predictor)}
    written = replace(trained, meta=replace(trained.meta, about=told))
    write(written, "safetensors", out, trained.images)

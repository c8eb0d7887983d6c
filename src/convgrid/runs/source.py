"""Where a network's first weights come from: a file of them or a run, found and held against the plan; no torch."""

import functools
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convgrid.config import Settings, replaced
from convgrid.config.identity import WEIGHTS_KEY
from convgrid.errors import ConfigError, ConvgridError
from convgrid.network.plan import Plan
from convgrid.network.published import IMAGENET, PUBLISHED, kept
from convgrid.network.weights import differing_layers, matching
from convgrid.runs.files import read_known
from convgrid.runs.find import LAST_RUN, find_model
from convgrid.runs.forms import DATA_FORM
from convgrid.runs.trial import BEST, DATA, read_plan

WEIGHTS_SUFFIX = ".safetensors"
FOREIGN = (".pt", ".pth", ".th", ".bin", ".pkl")
METADATA_KEY = "convgrid"  # of a weights file's metadata
MAX_HEADER_BYTES = 2**26  # bytes of a header: more is not one


@dataclass(frozen=True)
class WeightsSource:
    """Weights that a network starts with.

    Args:
        place: As the user would type it, for messages: "arch.weights=runs/1f0c5ab92d4e/best.ckpt".
        file: A checkpoint, or convgrid's own safetensors.
        plan: Of the network that has them.
        names: Of its classes, labels or numbers.
        scale: What black and white are among the pixels that it takes.
    """

    place: str
    file: Path
    plan: Plan
    names: tuple[str, ...]
    scale: tuple[float, float]


def found(settings: Settings) -> Settings:
    """Put the file in place of what the user calls the weights, so that "last" stays what it is now.

    Returns:
        The settings; the same where no weights are given.

    Raises:
        ConvgridError: If there is no such file or run.
    """
    name = settings.arch.weights
    if name is None or name == IMAGENET:
        return settings
    return Settings(
        replaced(settings.values, ["arch", "weights"], str(_file(str(name)))), settings.choices, settings.folders
    )


def pinned(words: Sequence[str]) -> list[str]:
    """Put the run in place of "last" in a command line, so that a sweep does not take its own trials for it.

    Args:
        words: What was typed.

    Returns:
        The same, also where there is no last run, which is told later.
    """
    return [_pinned(word) if word.startswith(f"{WEIGHTS_KEY}=") else word for word in words]


def _pinned(word: str) -> str:
    key, _, text = word.partition("=")
    values = text.split(",")
    if LAST_RUN not in values:
        return word
    try:
        last = str(_file(LAST_RUN))
    except ConvgridError:
        return word
    return f"{key}={','.join(last if value == LAST_RUN else value for value in values)}"


def read_source(settings: Settings) -> WeightsSource | None:
    """Read what is known of the weights, less themselves.

    Args:
        settings: As `found` gives them.

    Returns:
        The source; None where no weights are given.

    Raises:
        ConvgridError: If the file is not one of weights.
    """
    name = settings.arch.weights
    if name is None:
        return None
    file = kept(PUBLISHED[settings.choices["arch"]]) if name == IMAGENET else Path(name)
    return _read(f"arch.weights={name}", file, _stamp(file, name))


def check_source(settings: Settings, plan: Plan) -> None:
    """Hold weights against the network that shall have them, before data is read.

    Args:
        settings: As `found` gives them.

    Raises:
        ConvgridError: If they do not fit, naming the first layer that differs.
    """
    source = None if _is_to_be_fetched(settings) else read_source(settings)
    if source is not None:
        matching(plan, source.plan, source.place, free_head=settings.arch.head is not None)


def source_notes(settings: Settings, plan: Plan, loaded: Sequence[str] | None = None) -> list[str]:
    """Say what becomes of the weights.

    Args:
        settings: As `found` gives them.
        loaded: The layers that they were loaded into; None foresees them, without knowing the names of the classes.

    Returns:
        A line each.
    """
    if _is_to_be_fetched(settings):
        return [f"weights of {PUBLISHED[settings.choices['arch']].file}: fetched before the training"]
    source = read_source(settings)
    if source is None:
        return []
    if loaded is None:
        loaded = matching(plan, source.plan, source.place, free_head=settings.arch.head is not None)
    weighted = [layer.name for layer in plan.layers if layer.parameters]
    drawn = [name for name in weighted if name not in loaded]
    lines = [f"weights of {source.file}: {len(loaded)} of {len(weighted)} layers{_drawn(drawn)}"]
    if source.plan.input_shape != plan.input_shape:
        there, here = ("x".join(map(str, each.input_shape)) for each in (source.plan, plan))
        lines.append(f"these are of {there} images, which here are {here}{_averages(source.plan, plan)}")
    if plan.input_shape[1:] < source.plan.input_shape[1:]:
        sides = ",".join(map(str, source.plan.input_shape))
        lines.append(f"data.shape=[{sides}] shows them what they know, where photos are that large, and takes longer")
    others = differing_layers(plan, source.plan, loaded)
    if others:
        lines.append(f"{', '.join(others[:5])} computed otherwise there: with another stride, padding or number")
    return lines


def _averages(there: Plan, here: Plan) -> str:
    """What another size of images comes to: an average over more or fewer places."""
    sizes = [
        "x".join(map(str, layer.input_shape[1:]))
        for plan in (there, here)
        for layer in plan.layers[: plan.num_features][-1:]
        if layer.kind == "GAP"
    ]
    return f": the head sees the average of {sizes[1]} places instead of {sizes[0]}" if len(sizes) == 2 else ""


def _is_to_be_fetched(settings: Settings) -> bool:
    """Whether weights are published ones that nobody has asked for before."""
    return settings.arch.weights == IMAGENET and not kept(PUBLISHED[settings.choices["arch"]]).is_file()


def _drawn(names: list[str]) -> str:
    return f"; drawn anew: {', '.join(names)}" if names else ""


def _file(name: str) -> Path:
    file = Path(name)
    if file.suffix in (*FOREIGN, WEIGHTS_SUFFIX):
        if not file.is_file():
            raise ConfigError(f"arch.weights={name}: there is no such file.")
        if file.suffix != WEIGHTS_SUFFIX:
            raise ConfigError(
                f"arch.weights={name} has no layers of convgrid's. Convert it: python -m convgrid adopt {name} arch=..."
            )
        return file
    try:
        return find_model(name) / BEST
    except ConvgridError as error:  # it begins with the name
        raise type(error)(f"arch.weights={error}") from None


def _stamp(file: Path, name: str) -> tuple[int, int]:
    try:
        known = file.stat()
    except OSError as error:
        raise ConfigError(f"arch.weights={name} cannot be read: {error.strerror or error}.") from None
    return known.st_mtime_ns, known.st_size


@functools.lru_cache(maxsize=16)  # the many points of a sweep share a file
def _read(place: str, file: Path, stamp: tuple[int, int]) -> WeightsSource:
    if file.suffix == WEIGHTS_SUFFIX:
        return _of_file(place, file)
    known = read_known(file.parent / DATA, DATA_FORM)
    scale = known.get("scale", (0, 255))
    return WeightsSource(place, file, read_plan(file.parent), tuple(known["names"]), (scale[0], scale[1]))


def _of_file(place: str, file: Path) -> WeightsSource:
    try:
        known = read_metadata(file)
        profile = known["profile"]
        plan = Plan.load(known["plan"])
        return WeightsSource(place, file, plan, tuple(profile["names"]), (profile["scale"][0], profile["scale"][1]))
    except (OSError, ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise ConfigError(
            f"{place} cannot be used: it is not a weights file of convgrid ({type(error).__name__}). "
            f"Convert it: python -m convgrid adopt {file} arch=..."
        ) from None


def read_metadata(file: Path) -> Mapping[str, Any]:
    """Read what a safetensors file of convgrid says of itself: its header alone.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is another file; or KeyError, or struct.error.
    """
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        return json.loads(json.loads(opened.read(length))["__metadata__"][METADATA_KEY])

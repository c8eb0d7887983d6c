"""A model's card: what it is for, how good it is, what its data tells of its limits, how to load it."""

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from convgrid.config.identity import LATER
from convgrid.errors import RunError
from convgrid.model.card_code import example
from convgrid.model.metadata import Metadata
from convgrid.network.sliding import step_of
from convgrid.objective.glossary import METRICS
from convgrid.runs.files import blamed_on, read_or_tell, tell
from convgrid.runs.forms import ENVIRONMENT_FORM
from convgrid.runs.sweep import SWEEP, SWEEPS, read_sweep_or_tell, standing
from convgrid.runs.trial import BEST, ENVIRONMENT, read_record
from convgrid.system.text import one_line

PART_PREFIXES = {"validation": "best/val/", "test": "test/"}  # the metrics of each, in a trial's record
MAX_CLASSES_NAMED = 10  # names of classes in a sentence
UNEVEN = 2.0  # times as many images of one class as of another that are worth a word
TRAINED_WITH = (
    *("arch.weights", "arch.freeze", "arch.loaded_lr", "schedule.freeze_epochs"),
    *("loss", "target", "activation", "layer/conv", "layer/pool", "layer/norm", "layer/dropout", "optimizer"),
    *("optimizer.lr", "schedule", "data.batch_size", "augment", "regularization.l1", "regularization.l2"),
    *("imbalance.class_weights", "imbalance.sampling", "trainer.precision", "data.split", "data.split_seed"),
)
MARKS = re.compile(r"[\\`*|\[\]]|^#")
ABSENT = (None, "none", "auto", 0)  # values that are not worth a word


@dataclass(frozen=True)
class Known:
    """What a trial's folder says."""

    meta: Metadata
    record: Mapping[str, Any]
    folder: Path

    def metrics(self, part: str) -> dict[str, float]:
        """Those of "validation", at the best epoch, or of "test", by name."""
        start = PART_PREFIXES[part]
        found: Mapping[str, float] = self.record.get("metrics", {})
        return {name.removeprefix(start): value for name, value in found.items() if name.startswith(start)}


def card(folder: Path, meta: Metadata, format_: str, place: str) -> str:
    """Write a model's card.

    Args:
        format_: How the model is kept: a name in `export_formats.FORMATS`, or "mlflow".
        place: Its file, or its address.

    Returns:
        Markdown.

    Raises:
        RunError: If a file of the trial is damaged.
    """
    with blamed_on(folder):
        return _text(Known(meta, read_record(folder), folder), format_, place)


def _text(known: Known, format_: str, place: str) -> str:
    meta = _in_markdown(known.meta)
    known, given = replace(known, meta=meta), known.meta
    sections = {
        "How good it is": _quality(known),
        "What it takes and gives": _door(meta),
        "Intended use": _use(meta),
        "Limits": _limits(known),
        "Data": _data(meta),
        "How it was trained": _training(known),
        "How to load it": iter([f"```python\n{example(given, format_, place)}```"]),
    }
    name = known.record.get("name", meta.trial)
    text = [f"# {in_markdown(name)}, trained on {meta.profile.name}", _summary(meta)]
    for title, lines in sections.items():
        text += [f"## {title}", "\n".join(lines)]
    return "\n\n".join(text) + "\n"


def _in_markdown(meta: Metadata) -> Metadata:
    """With the names of others as Markdown shows them."""
    names = tuple(map(in_markdown, meta.profile.names))
    return replace(meta, profile=replace(meta.profile, name=in_markdown(meta.profile.name), names=names))


def in_markdown(name: str) -> str:
    r"""Write a name of others, such as a class, so that Markdown takes none of it for marks, and HTML none for tags.

    Example:
        >>> print(in_markdown("a|b <i>"))
        a\|b &lt;i>
    """
    return MARKS.sub(r"\\\g<0>", one_line(name).replace("&", "&amp;").replace("<", "&lt;"))


def _summary(meta: Metadata) -> str:
    profile, plan = meta.profile, meta.plan
    does = {
        "classification": f"Tells which of {len(profile.names)} classes an image is of",
        "multilabel": f"Tells which of {len(profile.names)} labels an image has",
        "regression": f"Predicts from an image: {_some(profile.names)}",
    }[profile.task]
    trained = f", of which {plan.trainable:,} were trained," if plan.num_frozen else ""
    sizes = f"{plan.parameters:,} parameters{trained} and {plan.multiply_adds:,} multiply-adds an image"
    return f"{does}. A ConvNet of {sizes}."


def _quality(known: Known) -> Iterator[str]:
    images, found = known.meta.profile.images, {part: known.metrics(part) for part in PART_PREFIXES}
    found = {part: metrics for part, metrics in found.items() if metrics}
    if not found:
        yield "Not known: its training has not ended."
        return
    names = list(dict.fromkeys(name for metrics in found.values() for name in metrics))
    yield f"| part | images | {' | '.join(names)} |"
    yield f"|---|{'---|' * (len(names) + 1)}"
    for part, metrics in found.items():
        values = (f"{metrics[name]:.4g}" if name in metrics else "" for name in names)
        yield f"| {part} | {images[part]:,} | {' | '.join(values)} |"
    yield ""
    meanings = METRICS[known.meta.profile.task]
    yield from (f"- {name}: {meanings[name].meaning}" for name in names if name in meanings)
    test = found.get("test", {})
    if known.meta.profile.task == "classification" and "accuracy" in test:
        low, high = wilson(test["accuracy"], images["test"])
        like = f"of all images like the {images['test']:,} of the test"
        yield f"- {like}, it predicts {low:.3f} to {high:.3f} correctly (95 %)"


def wilson(share: float, count: int) -> tuple[float, float]:
    """Bound the share that a sample's comes from, with 95 % confidence.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), z = 1.96.

    Args:
        share: Of the sample, 0 to 1.
        count: Size of the sample.

    Returns:
        The bounds.

    Example:
        >>> [round(bound, 3) for bound in wilson(0.9, 100)]
        [0.826, 0.945]

    Source: Wilson, Probable inference, JASA 1927.
    """
    z2 = 1.959964**2 / count
    half = math.sqrt(share * (1 - share) * z2 + z2 * z2 / 4)
    return (share + z2 / 2 - half) / (1 + z2), (share + z2 / 2 + half) / (1 + z2)


def _door(meta: Metadata) -> Iterator[str]:
    profile, (channels, height, width) = meta.profile, meta.profile.shape
    kind = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    least, most = profile.pixels
    sides = f"at least {height}, at least {width}" if meta.slides else f"{height}, {width}"
    yield (
        f"- images: {profile.dtype}, (any number, {channels}, {sides}), {kind}, as they are: what normalises "
        f"them is inside. The training's pixels were {least:g} to {most:g}."
    )
    means = {
        "probability": "probabilities, one a"
        + (" class, which sum to 1" if profile.task == "classification" else " label"),
        "score": "scores, one a class or label; the higher the likelier; they are not probabilities",
        "number": "numbers in the data's units",
    }[meta.kind]
    where = ", rows, columns" if meta.slides else ""
    yield f"- predictions: float32, (any number, {len(profile.names)}{where}), {means}: {_some(profile.names)}"
    if meta.slides:
        down, right = step_of(meta.plan)
        yield (
            f"- row r and column c is what it predicts of the {width}x{height} pixels whose upper left corner is "
            f"{right} c to the right and {down} r down"
        )
    if profile.task == "multilabel":
        yield f"- a label is predicted whose {meta.kind} is above {meta.threshold:g}"


def _use(meta: Metadata) -> Iterator[str]:
    profile = meta.profile
    verb = {"classification": "To sort", "multilabel": "To label", "regression": "To measure"}[profile.task]
    yield f"{verb} images like those of {profile.name}: of the same things, taken, cropped and lit alike."
    if profile.task == "classification":
        yield "Whatever an image shows, it answers with one of its classes; it has no answer for anything else."
    yield "Not for decisions about people or safety, unless it was tested on images as it would meet them there."


def _limits(known: Known) -> Iterator[str]:
    yield from (f"- {line}" for line in (*_of_data(known.meta), *_of_choice(known), *_of_predictions(known)))


def _of_data(meta: Metadata) -> Iterator[str]:
    profile = meta.profile
    _, height, width = profile.shape
    yield f"It sees {width}x{height} pixels: smaller details are lost."
    yield f"It has learned from {profile.images['train']:,} images{_balance(meta)}."
    if meta.config.get("augment") == "none":
        yield "Its training images were not augmented: turned, shifted or darker ones may be taken for others."
    for name, (least, most) in zip(profile.names, profile.ranges, strict=bool(profile.ranges)):
        yield f"{name}: {least:.4g} to {most:.4g} in the training. A prediction outside is a guess."


def _balance(meta: Metadata) -> str:
    counts = meta.profile.counts
    if not counts:
        return ""
    fewest, most = min(counts), max(counts)
    noun = "class" if meta.profile.task == "classification" else "label"
    if most <= UNEVEN * fewest:
        return f", {fewest:,} to {most:,} of each {noun}" if most > fewest else f", {most:,} of each {noun}"
    rare, frequent = (meta.profile.names[counts.index(count)] for count in (fewest, most))
    return f", {fewest:,} of the rarest {noun}, {rare}, and {most:,} of {frequent}: expect it to miss {rare} more often"


def _of_choice(known: Known) -> Iterator[str]:
    metric = known.meta.config.get("objective.metric", "auto")
    by = "the validation part" if metric == "auto" else metric
    chosen = f"the best of {known.record['epochs']} epochs" if known.record.get("epochs") else "the best epoch"
    sweep = _trials_of(known)
    chosen += f" and of {sweep:,} trials of a sweep" if sweep > 1 else ""
    yield f"It is {chosen}, by {by}: that makes its validation metrics look a little too good."
    if not known.metrics("test"):
        yield "It was never tested on images that no choice was made by."
    views = known.meta.config.get("trainer.test_views", 1)
    if views > 1:
        yield f"The test metrics are of the mean over {views} views of each image; the model looks at one."


def _trials_of(known: Known) -> int:
    """How many finished trials the sweep has that the trial was made by."""
    folder = known.folder.resolve().parents[1] / SWEEPS / str(known.record.get("sweep"))
    sweep = read_sweep_or_tell(folder) if (folder / SWEEP).exists() else None
    return 1 if sweep is None else standing(sweep, known.folder.parent).counts["finished"]


def _of_predictions(known: Known) -> Iterator[str]:
    part = "test" if known.metrics("test") else "validation"
    error = known.metrics(part).get("calibration_error")
    if error is not None:
        yield f"Its highest probability is off by {error:.1%} on average (calibration error, {part})."
    if known.meta.kind == "score":
        yield "Its scores rank classes or labels of one image; they do not say how sure it is."
    file = known.folder / f"confusion_{part}.csv"
    if file.exists() and (worst := _worst(file)):
        yield f"{worst} of the {part} part: its most frequent mistake."


def _worst(file: Path) -> str:
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            (_, *names), *rows = csv.reader(opened)
        mistakes = [
            (int(count), name, other, sum(map(int, counts)))
            for name, *counts in rows
            for other, count in zip(names, counts, strict=True)
            if other != name
        ]
    except (OSError, ValueError, csv.Error) as error:
        tell(RunError(f"{file} cannot be read: {error}."))
        return ""
    count, name, other, of = max(mistakes, default=(0, "", "", 0))
    return f"It takes {in_markdown(name)} for {in_markdown(other)} in {count:,} of {of:,} images" if count > 1 else ""


def _data(meta: Metadata) -> Iterator[str]:
    profile = meta.profile
    parts = ", ".join(f"{count:,} for {part}" for part, count in profile.images.items())
    yield f"- {profile.name}, digest {profile.digest}; {parts}"
    if profile.counts:
        each = (f"{name} {count:,}" for name, count in zip(profile.names, profile.counts, strict=True))
        yield f"- training images: {_some(tuple(each), 100)}"


def _training(known: Known) -> Iterator[str]:
    meta, record = known.meta, known.record
    weights = datetime.fromtimestamp((known.folder / BEST).stat().st_mtime, UTC)
    environment = read_or_tell(known.folder / ENVIRONMENT, ENVIRONMENT_FORM)
    commit = environment.get("git.commit")
    dirty = ", with changes" if environment.get("git.dirty") == "true" else ""
    yield f"- `{meta.plan.pattern}`"
    if record.get("best_epoch"):
        yield f"- its best epoch is {record['best_epoch']} of {record['epochs']}, trained in {record['seconds']:.0f} s"
    shown = {
        key: meta.config[key]
        for key in TRAINED_WITH
        if meta.config.get(key) not in ABSENT and (key, meta.config[key]) not in LATER.items()
    }
    yield f"- {', '.join(f'{key}={value}' for key, value in shown.items())}, seed={meta.config['seed']}"
    code = f"; commit {commit[:12]}{dirty}" if commit else ""
    yield f"- run {meta.trial}, {weights:%Y-%m-%d}; {_versions(environment)}{code}"
    if "command" in environment:
        yield f"- `{environment['command']}`"


def _versions(environment: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {environment[name]}" for name in ("convgrid", "torch", "python") if name in environment)


def _some(names: tuple[str, ...], most: int = MAX_CLASSES_NAMED) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"

"""What a sweep computes once: the features of frozen layers, before its trials begin."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from convgrid.config import Settings, component, flatten
from convgrid.errors import ConfigError
from convgrid.features.cache import RATE, Cache
from convgrid.network.planned import PlannedLayer
from convgrid.runs.trial import RUNS, read_data, read_records
from convgrid.sweep.interfaces import Trial
from convgrid.terminal import duration

SPEED = 5e9  # multiply-adds a second of one core, where nothing was computed yet
# Of no account here.
IGNORED_KEYS = ("data.batch_size", "data.workers", "data.memory_gib", "data.split_seed", "data.views")
LIMITS = ("trainer.limit", "trainer.overfit")


def features_once(trials: Sequence[Trial], runs: Path = RUNS) -> str:
    """Say what features will be computed, and how long that takes.

    Args:
        trials: That are to be trained.
        runs: Where earlier trials' folders are, one of which may tell how many images there are.

    Returns:
        A line; "" where no trial has frozen layers, or images change in every epoch.
    """
    kinds: dict[str, Trial] = {}
    for trial in trials:
        if trial.plan.num_frozen and (component(trial.settings, "augment") is None or trial.settings.data.views):
            kinds.setdefault(_kind(trial), trial)
    if not kinds:
        return ""
    times = "once" if len(kinds) == 1 else f"once for each of {len(kinds)} networks or data sets"
    first = next(iter(kinds.values()))
    images = _images(first.settings, runs) if len({_data(trial.settings) for trial in kinds.values()}) == 1 else {}
    if not images:
        return f"of all images, {times}"
    cost = sum(_looks(trial, images) * sum(layer.multiply_adds for layer in _frozen(trial)) for trial in kinds.values())
    count = max(_looks(trial, images) for trial in kinds.values())
    return f"of {count:,} images: about {duration(cost / _rate())}, {times}, unless they are in the cache"


def _looks(trial: Trial, images: Mapping[str, int]) -> int:
    """Images that frozen layers see: each once, but views of those that are trained on."""
    views = 1 if component(trial.settings, "augment") is None else trial.settings.data.views
    return sum(images.values()) + (views - 1) * images.get("train", 0)


def _kind(trial: Trial) -> str:
    """What features go by."""
    settings = trial.settings
    known = [settings.arch.weights, settings.trainer.precision, _data(settings), settings.values["augment"]]
    return json.dumps([*known, [str(layer) for layer in _frozen(trial) if layer.kind != "DROPOUT"]])


def _frozen(trial: Trial) -> Sequence[PlannedLayer]:
    return trial.plan.layers[: trial.plan.num_frozen]


def _data(settings: Settings) -> str:
    values = dict(flatten(settings.values)) | dict(settings.choices)
    return json.dumps(_stated({key: str(value) for key, value in values.items()}))


def _stated(params: dict[str, str]) -> dict[str, str]:
    kept = (key for key in params if key == "data" or key.startswith("data.") or key in LIMITS)
    return {key: params[key] for key in sorted(kept) if key not in IGNORED_KEYS and "_target_" not in key}


def _images(settings: Settings, runs: Path) -> Mapping[str, int]:
    """How many images an earlier trial on the same data had, by part; nothing where there was none."""
    wanted = json.loads(_data(settings))
    for path, record in read_records(runs):
        if _stated(record.get("params", {})) == wanted:
            images = read_data(path).get("images", {})
            if images:
                return images
    return {}


def _rate() -> float:
    """Multiply-adds a second, as features took them last."""
    try:
        entries = Cache().entries()
    except ConfigError:  # the training tells
        entries = []
    known = [float(entry.about[RATE]) for entry in entries if entry.about.get(RATE, "").isdecimal()]
    return max(known[0], 1.0) if known else SPEED

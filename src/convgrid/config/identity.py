"""The identity of the trial that a config describes: a hash of all that can change its result, and of nothing else."""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convgrid.config.mappings import flatten
from convgrid.config.settings import Settings
from convgrid.network.published import IMAGENET, PUBLISHED

PLACES = ("data.root", "data.path", "data.table")
# Keys that cannot change a trial's result. The data's digest stands in for its place.
NOT_IDENTITY = (
    "dry_run",
    "resume",
    "tracking",
    "sweep",
    "data.workers",
    "data.memory_gib",
    *PLACES,
)
# Keys of later versions, with what held before: only another value is another trial.
LATER = {
    "arch.init_residual": "one",
    "arch.head": None,
    "arch.weights": None,
    "arch.freeze": "none",
    "arch.loaded_lr": 1.0,
    "schedule.freeze_epochs": 0,
    "data.limit_evaluation": 0,
    "data.views": 0,
}
WEIGHTS_KEY = "arch.weights"  # what its file holds counts, not where it is


def identity(settings: Settings, *, device: str, digest: str) -> str:
    """Hash all that can change a trial's result: the canonical config, the kind of device, the data.

    Args:
        device: Kind of accelerator, such as "cpu" or "cuda".

    Returns:
        12 hexadecimal digits.
    """
    kept = {key: value for key, value in _stated(settings) if not is_outside_identity(key)}
    return digest_of(kept | {"trainer.accelerator": device, "data": digest})


def config_key(settings: Settings) -> str:
    """Hash the canonical config, with the data's place instead of its digest: known before anything is read.

    Returns:
        12 hexadecimal digits.
    """
    return digest_of(counted(settings))


def counted(settings: Settings) -> dict[str, Any]:
    """List all that may change a result, with the data's place instead of its digest.

    Returns:
        Values by dotted key.
    """
    return {key: value for key, value in _stated(settings) if key in PLACES or not is_outside_identity(key)}


def _stated(settings: Settings) -> Iterator[tuple[str, Any]]:
    for key, value in flatten(settings.values):
        if (key, value) not in LATER.items():
            yield key, weights_digest(settings) if key == WEIGHTS_KEY else value


def weights_digest(settings: Settings) -> str | None:
    """What weights a training starts with: a digest of their file, or the name of published ones.

    Returns:
        None where there are none; what the user typed where that is not a file yet.
    """
    name = settings.arch.weights
    if name == IMAGENET and settings.choices["arch"] in PUBLISHED:
        return PUBLISHED[settings.choices["arch"]].stem
    return digest_of_file(Path(name)) if name is not None and Path(name).is_file() else name


def digest_of_file(file: Path) -> str:
    """Hash a file of weights; once, as long as it stays as it is.

    Returns:
        16 hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
    """
    known = file.stat()
    return _digest_of_file(file.resolve(), known.st_mtime_ns, known.st_size)


@functools.lru_cache(maxsize=64)
def _digest_of_file(file: Path, *_: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]


def digest_of(values: Mapping[str, Any]) -> str:
    """Hash values by their keys; 0 and 0.0 agree.

    Args:
        values: What JSON can hold.

    Returns:
        12 hexadecimal digits.
    """
    kept = {key: _canonical(value) for key, value in values.items()}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


@functools.cache  # the points of a grid ask for the same keys, 10,000 times over
def is_outside_identity(key: str) -> bool:
    """Say whether a key cannot change a trial's result.

    Args:
        key: A dotted key, or a group.

    Returns:
        True for paths, tracking and how a run is started.

    Example:
        >>> is_outside_identity("tracking.uri"), is_outside_identity("optimizer.lr")
        (True, False)
    """
    return any(key == name or key.startswith(f"{name}.") for name in NOT_IDENTITY)


def _canonical(value: Any) -> Any:
    """0 and 0.0 agree."""
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value

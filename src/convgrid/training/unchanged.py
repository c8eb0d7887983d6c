"""What a run that goes on must find as it left it: its data, and the code of the user's own components."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from convgrid.config import Settings
from convgrid.data import ImageData
from convgrid.data.files import some
from convgrid.errors import DataError, TrainingError
from convgrid.network.plan import Plan
from convgrid.runs.trial import read_data, read_record
from convgrid.training.own_code import own_code
from convgrid.training.recording import profile, weights_of

PART_WORDS = {"train": "training", "validation": "validation", "test": "test"}


def refuse_other_data(path: Path, settings: Settings, data: ImageData) -> None:
    """Refuse to go on with data that is not what the run was trained on.

    Args:
        path: The run's folder.
        data: As it is read now.

    Raises:
        DataError: If it differs, naming what does.
    """
    before = read_data(path)
    if before.get("digest", data.digest) == data.digest:
        return
    told = "; ".join(_data_changes(before, profile(settings, data).dump())) or "other images, targets or files"
    raise DataError(
        f"resume={settings.resume}: the data is not what {path} was trained on: {told}. "
        "Put it back as it was, or start a new run."
    )


def refuse_other_weights(path: Path, settings: Settings) -> None:
    """Refuse to go on where the weights that the run started with are others now.

    Args:
        path: The run's folder.

    Raises:
        TrainingError: If they differ.
    """
    before, now = read_record(path).get("weights"), weights_of(settings).get("weights")
    if before != now:
        raise TrainingError(
            f"resume={settings.resume}: {settings.arch.weights} holds other weights than when {path} was started. "
            "Put them back, or start a new run."
        )


def refuse_other_code(path: Path, settings: Settings, planned: Plan) -> None:
    """Refuse to go on with other code of the user's own components.

    Args:
        path: The run's folder.
        planned: The run's network.

    Raises:
        TrainingError: If it differs, naming the modules.
    """
    changed = code_changes(path, own_code(settings, planned))
    if changed:
        raise TrainingError(
            f"resume={settings.resume}: the code of your own components has changed since {path} was started: "
            f"{some(changed)}. Put it back as it was, or start a new run."
        )


def code_changes(path: Path, code: Mapping[str, str]) -> list[str]:
    """Find the modules whose code is no longer that of a run.

    Args:
        path: The run's folder; of an earlier version's nothing is known.
        code: As `own_code` gives it.

    Returns:
        Their names.
    """
    before: Mapping[str, str] = read_record(path).get("code", code)
    return sorted(name for name in before.keys() | code.keys() if before.get(name) != code.get(name))


def _data_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Of two profiles: classes, numbers of images, and how images are."""
    yield from _names_changed(before.get("names", ()), now["names"])
    counts: Mapping[str, int] = before.get("images", {})
    for part in PART_WORDS:
        was, is_now = counts.get(part, 0), now["images"].get(part, 0)
        if was != is_now:
            yield f"{is_now} {PART_WORDS[part]} images (they were {was})"
    for key in ("task", "shape", "dtype"):
        if key in before and list(before[key]) != list(now[key]):
            yield f"{key} {_plain(now[key])} (it was {_plain(before[key])})"


def _names_changed(before: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    new = [name for name in now if name not in before]
    gone = [name for name in before if name not in now]
    if new:
        yield f"new are {some(new)}"
    if gone:
        yield f"gone are {some(gone)}"
    if not new and not gone and list(before) != list(now):
        yield "classes in another order"


def _plain(value: str | Sequence[int]) -> str:
    return value if isinstance(value, str) else str(list(value))

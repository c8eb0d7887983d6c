"""What was read of trials, from wherever, becomes one table with numbers for numbers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from convgrid.config import is_outside_identity
from convgrid.runs.best import REPETITIONS, is_finite

CURVE_METRICS = ("train/loss", "val/loss")  # and the objective
NO_FOLD = "None"
KNOWN = ("status", "reason", "name", "epochs", "best_epoch", "seconds")
NO_PARAMETERS = ("tag.", "best/", "val/", "test/", "train/", "plan.", "data.images", "data.digest")
OUTSIDE = (
    "experiments",
    "objective.metric",
    "objective.mode",
    "sweep/pruner",
    "sweep/sampler",
)  # say how a trial was started, not what it is


@dataclass(frozen=True)
class Read:
    """What was read of one trial.

    Args:
        known: The columns KNOWN, which every trial has.
        params: By dotted key, as text.
        metrics: By name, of the best epoch and of the test.
        data: What is known of its data: `digest`, and how many images each part has.
    """

    trial: str
    known: Mapping[str, Any]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    data: Mapping[str, Any] = field(default_factory=dict)


def frame_of(found: Iterable[Read]) -> pd.DataFrame:
    """Put trials in a table.

    Returns:
        One row a trial, by its id; a column of text becomes one of numbers where every value is one.
    """
    rows, texts = {}, {}
    for each in found:
        rows[each.trial] = {**each.known, **each.metrics, **{f"tag.{key}": text for key, text in each.tags.items()}}
        texts[each.trial] = {**each.params, **_of_data(each.data)}
    params = pd.DataFrame.from_dict(texts, orient="index", dtype=object)
    numbers = {key: _numbers(params[key]) for key in params}
    if "fold" in numbers:
        numbers["fold"] = numbers["fold"].where(numbers["fold"] != NO_FOLD)
    if not rows:
        return pd.DataFrame(columns=[*KNOWN]).rename_axis("trial")
    table = pd.concat([pd.DataFrame.from_dict(rows, orient="index"), pd.DataFrame(numbers, index=params.index)], axis=1)
    return table.rename_axis("trial")


def checked(read: Read, metric: str) -> Read:
    """Count as failed a trial that came to its end with something that is no number; Welch's test takes none.

    Args:
        metric: What is best, such as "val/accuracy".

    Returns:
        The trial; a failed one keeps no result.
    """
    name = f"best/{metric}"
    value = read.metrics.get(name)
    if read.known["status"] != "finished" or value is None or is_finite(value):
        return read
    said = "NaN" if math.isnan(value) else "infinite"
    metrics = {key: each for key, each in read.metrics.items() if key != name}
    return replace(read, known={**read.known, "status": "failed", "reason": f"{metric} became {said}"}, metrics=metrics)


def curves_table(values: Iterable[tuple[str, int, str, float]]) -> pd.DataFrame:
    """Put the values of epochs in a table.

    Args:
        values: Trial, epoch, metric, value.

    Returns:
        One row a value.
    """
    table = pd.DataFrame(values, columns=["trial", "epoch", "metric", "value"])
    return table.astype({"epoch": int, "value": float})


def drawable(curves: pd.DataFrame) -> pd.DataFrame:
    """Leave gaps where curves are infinite, which no axis shows.

    Returns:
        The same with NaN there.
    """
    return curves.assign(value=curves["value"].where(curves["value"].map(is_finite).astype(bool)))


def differing(frame: pd.DataFrame) -> list[str]:
    """Find the parameters that tell trials apart.

    Args:
        frame: As `frame_of` gives it.

    Returns:
        Keys, less repetitions, less paths and the like, and less what follows from the option of a group
        (`optimizer.momentum` where only `optimizer=sgd` has it, and all trials with that have one value).
    """
    told = [key for key in _params(frame) if not _is_outside(key) and frame[key].nunique(dropna=False) > 1]
    return [key for key in told if not any(_follows(key, group, frame) for group in told if _is_group(group, key))]


def repetition_keys(frame: pd.DataFrame, keys: Sequence[str]) -> tuple[str, ...]:
    """Find what repeats settings.

    Args:
        frame: As `frame_of` gives it.
        keys: That tell settings apart.

    Returns:
        Which of "seed" and "fold" differ.
    """
    return tuple(key for key in REPETITIONS if key in frame and key not in keys and frame[key].nunique() > 1)


def once(frame: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Keep one of the trials that are alike, seed and fold included: they say the same, and count once.

    Args:
        frame: As `frame_of` gives it.
        keys: That tell settings apart; trials that differ in others are not alike.

    Returns:
        A finished one rather than another, and of those the last; all, where nobody noted a seed.
    """
    by = list(dict.fromkeys([*keys, *differing(frame), *(key for key in REPETITIONS if key in frame)]))
    if "seed" not in by:
        return frame
    order = frame.assign(_done=frame["status"].isin(["finished"])).sort_values("_done", kind="stable")
    kept = order.index[~order.duplicated(by, keep="last") | order["seed"].isna()]
    return frame.loc[frame.index.isin(kept)]


def mixed(frame: pd.DataFrame, keys: Sequence[str]) -> tuple[str, ...]:
    """Find what differs between trials of one setting though it neither tells settings apart nor repeats them.

    Args:
        frame: As `frame_of` gives it.
        keys: That tell settings apart.

    Returns:
        Other parameters.
    """
    others = (key for key in differing(frame) if key not in keys)
    return tuple(key for key in others if not keys or not _follows(key, list(keys), frame))


def _params(frame: pd.DataFrame) -> list[str]:
    """Parameters stand behind the metrics and tags, which begin with a part's name."""
    first = (*KNOWN, *REPETITIONS)
    return [key for key in frame.columns if key not in first and not key.startswith(NO_PARAMETERS)]


def _is_outside(key: str) -> bool:
    return is_outside_identity(key) or key in OUTSIDE


def _is_group(group: str, key: str) -> bool:
    return key.startswith(f"{group.replace('/', '.')}.")


def _follows(key: str, group: str | list[str], frame: pd.DataFrame) -> bool:
    return bool((frame.groupby(group, dropna=False)[key].nunique(dropna=False) <= 1).all())


def _numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column


def _of_data(data: Mapping[str, Any]) -> dict[str, Any]:
    images: Mapping[str, int] = data.get("images", {})
    digest = {"data.digest": data["digest"]} if "digest" in data else {}
    return {**digest, **{f"data.images.{part}": count for part, count in images.items()}}


def of_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Keep what trials are compared by: metrics of the best epoch and of the test.

    Example:
        >>> of_metrics({"val/loss": 0.4, "best/val/loss": 0.3, "test/loss": 0.5})
        {'best/val/loss': 0.3, 'test/loss': 0.5}
    """
    return {key: value for key, value in metrics.items() if key.startswith(("best/", "test/"))}

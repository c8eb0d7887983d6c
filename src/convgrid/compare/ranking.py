"""The finished trials by setting: what each was repeated, and how far chance moves its mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from convgrid.compare import multiple_comparisons
from convgrid.compare.racing import Race, race
from convgrid.compare.results import ConfidenceInterval, Setting, Verdict
from convgrid.compare.trials import Trials
from convgrid.runs.best import order

SHARES = ("accuracy", "top5", "f1", "calibration_error", "auroc", "exact_match")  # from 0 to 1
ERRORS = ("mae", "rmse")  # from 0
COST_COLUMNS = {"parameters": "plan.parameters", "multiply_adds": "plan.multiply_adds", "seconds": "seconds"}


@dataclass(frozen=True)
class Sample:
    """One setting's finished trials.

    Args:
        values: Of the keys that vary, those that the setting has.
        results: The objective of each, shape (T,).
        blocks: What counts as a repetition: the results, or their means in each fold, NaN of a fold that is missing.
        costs: Means of "parameters", "multiply_adds" and "seconds", those that are known.
    """

    values: Mapping[str, Any]
    trials: tuple[str, ...]
    results: np.ndarray
    blocks: np.ndarray
    costs: Mapping[str, float]

    @cached_property
    def mean(self) -> float:
        """Of the repetitions."""
        return float(np.nanmean(self.blocks))

    @cached_property
    def count(self) -> int:
        """How many repetitions there are."""
        return int(np.isfinite(self.blocks).sum())


def samples(trials: Trials) -> list[Sample]:
    """Gather each setting's finished trials.

    Returns:
        The best setting first; of equals the one with fewer multiply-adds.
    """
    frame = trials.finished
    if frame.empty:
        return []
    cells = [[None if pd.isna(value) else plain(value) for value in frame[key]] for key in trials.keys]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, values in enumerate(zip(*cells, strict=True) if cells else [()] * len(frame)):
        groups.setdefault(values, []).append(place)
    columns = _Columns(frame, trials)
    found = [columns.sample(dict(zip(trials.keys, values, strict=True)), at) for values, at in groups.items()]
    return sorted(found, key=lambda each: order(each.mean, trials.mode, each.costs.get("multiply_adds", 0)))


def errors(found: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far chance moves each setting's mean.

    Returns:
        Variances of one repetition, degrees of freedom, and what a variance is multiplied by for that of the mean,
        each of shape (S,); NaN, 0 and NaN for a setting that was run once.
    """
    count = np.array([each.count for each in found])
    variance, share = np.full(len(found), np.nan), np.full(len(found), np.nan)
    repeated = np.flatnonzero(count > 1)
    if len(repeated):
        least = multiple_comparisons.floor(np.concatenate([each.results for each in found]))
        variance[repeated] = [max(np.nanvar(found[int(at)].blocks, ddof=1), least) for at in repeated]
        paired = found[0].blocks is not found[0].results
        share[repeated] = multiple_comparisons.overlap(count[repeated]) if paired else 1 / count[repeated]
    return variance, np.maximum(count - 1, 0), share


def raced(found: Sequence[Sample], trials: Trials) -> tuple[list[Sample], Race | None]:
    """Put settings in the order of their race: those in question first, of the others the last to be out.

    Returns:
        The settings, and how the race stands, whose places are theirs; in their own order and None without a race.
    """
    if trials.race is None:
        return [*found], None
    groups = _by_seed(found, trials)
    state = race(groups, trials.race, trials.mode)
    left = {place: at for at, place in enumerate(state.left)}
    last = len(left)
    order = sorted(range(len(found)), key=lambda at: (left.get(at, last), -state.out.get(at, 0), at))
    now = {before: after for after, before in enumerate(order)}
    moved = replace(
        state,
        left=tuple(now[place] for place in state.left if place in now),
        out={now[place]: seeds for place, seeds in state.out.items()},
        failed=tuple(now[place] for place in state.failed if place in now),
    )
    return [found[at] for at in order], moved


def _by_seed(found: Sequence[Sample], trials: Trials) -> list[list[float | None]]:
    """Results by seed, as a race takes them; settings of which no trial has finished come last."""
    frame, named = trials.frame, {trial: place for place, each in enumerate(found) for trial in each.trials}
    results = frame[trials.objective] if trials.objective in frame else pd.Series(np.nan, frame.index)
    results = results.where(frame["status"] != "failed", np.nan)
    groups: dict[Any, list[float | None]] = {place: [] for place in range(len(found))}
    cells = zip(*(frame[key].astype(str) for key in trials.keys), strict=True) if trials.keys else [()] * len(frame)
    settings = dict(zip(frame.index, cells, strict=True))
    known = {settings[trial]: place for trial, place in named.items()}
    ended = ~frame["status"].isin(["running", "killed"])
    in_order = frame.sort_values("seed", kind="stable") if "seed" in frame else frame  # nothing of any trial is known
    for trial in in_order.index:
        value = float(results[trial]) if ended[trial] else None
        groups.setdefault(known.get(settings[trial], settings[trial]), []).append(value)
    return [*groups.values()]


def rank(found: Sequence[Sample], trials: Trials, race: Race | None = None) -> tuple[Setting, ...]:
    """Put settings in order, and say which are distinguishable from the best.

    Args:
        race: That the settings have run, in their order.

    Returns:
        The settings, in the same order.
    """
    intervals, adjusted = _intervals(found, trials.metric), _compared(found, trials)
    if race is not None:  # the number of seeds went by the results
        intervals, adjusted = [None] * len(found), [None] * len(found)
    return tuple(
        Setting(
            values=each.values,
            trials=each.trials,
            n=len(each.trials),
            mean=each.mean,
            spread=float(each.results.std(ddof=1)) if len(each.trials) > 1 else None,
            interval=interval,
            p=p,
            parameters=_whole(each.costs.get("parameters")),
            multiply_adds=_whole(each.costs.get("multiply_adds")),
            seconds=each.costs.get("seconds"),
            place=place,
            status=_status(place, p) if race is None else _raced_status(place - 1, race),
        )
        for place, (each, interval, p) in enumerate(zip(found, intervals, adjusted, strict=True), start=1)
    )


class _Columns:
    """What settings are gathered from, as arrays: taking rows out of a frame is slow."""

    def __init__(self, frame: pd.DataFrame, trials: Trials) -> None:
        self._ids = [str(trial) for trial in frame.index]
        self._results = frame[trials.objective].to_numpy(float)
        self._costs = {
            name: pd.to_numeric(frame[key], errors="coerce").to_numpy(float)
            for name, key in COST_COLUMNS.items()
            if key in frame
        }
        self._folds = None
        if "fold" in trials.repetitions:
            self._folds = pd.factorize(frame["fold"], sort=True)[0]

    def sample(self, values: Mapping[str, Any], at: list[int]) -> Sample:
        """Take the rows of one setting out."""
        results = self._results[at]
        known = {name: costs[at][np.isfinite(costs[at])] for name, costs in self._costs.items()}
        return Sample(
            values={key: value for key, value in values.items() if value is not None},
            trials=tuple(self._ids[place] for place in at),
            results=results,
            blocks=results if self._folds is None else self._by_fold(results, self._folds[at]),
            costs={name: float(costs.mean()) for name, costs in known.items() if len(costs)},
        )

    def _by_fold(self, results: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """The mean in each fold, NaN where there is none."""
        assert self._folds is not None
        count = self._folds.max() + 1
        total, runs = np.bincount(folds, results, count), np.bincount(folds, minlength=count)
        return np.divide(total, runs, out=np.full(count, np.nan), where=runs > 0)


def plain(value: Any) -> Any:
    """A whole number as an int, whatever pandas made of it; anything else as it is.

    Example:
        >>> plain(np.float64(2.0)), plain(0.5), plain("adam")
        (2, 0.5, 'adam')
    """
    if isinstance(value, np.generic):
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _status(place: int, p: float | None) -> Verdict:
    if place == 1:
        return "best"
    if p is None:
        return "not compared"
    return "worse" if p <= multiple_comparisons.LEVEL else "not distinguishable"


def _raced_status(place: int, race: Race) -> Verdict:
    if place in race.out:
        return "out"
    if place in race.failed:
        return "not compared"
    return "best" if race.ending in ("best", "tie") and place == race.left[0] else "in question"


def _intervals(found: Sequence[Sample], metric: str) -> list[ConfidenceInterval | None]:
    variance, freedom, share = errors(found)
    known = np.isfinite(variance)
    half = np.full(len(found), np.nan)
    if known.any() and variance[known].any():
        half[known] = multiple_comparisons.half_widths(variance[known], freedom[known], share[known])
    return [around(each.mean, float(width), metric) for each, width in zip(found, half, strict=True)]


def around(middle: float, half: float, metric: str) -> ConfidenceInterval | None:
    """An interval, no wider than the metric's range.

    Args:
        half: Of the width; NaN gives None.
        metric: Such as "val/accuracy", a share.

    Example:
        >>> around(0.75, 0.5, "val/accuracy"), around(0.75, 0.5, "val/mae"), around(0.75, float("nan"), "val/mae")
        ((0.25, 1.0), (0.25, 1.25), None)
    """
    return None if np.isnan(half) else bounded(middle - half, middle + half, metric, middle)


def bounded(low: float, high: float, metric: str, middle: float) -> ConfidenceInterval:
    """Keep two ends within a metric's range, and around a value that somebody's own metric may have outside of it.

    Example:
        >>> bounded(0.97, 1.003, "val/accuracy", 0.99), bounded(-0.1, 1.5, "val/mae", 0.7)
        ((0.97, 1.0), (0.0, 1.5))
    """
    name = metric.rpartition("/")[2]
    low = max(low, min(0.0, middle)) if name in SHARES or name in ERRORS else low
    return (low, min(high, max(1.0, middle))) if name in SHARES else (low, high)


def _compared(found: Sequence[Sample], trials: Trials) -> list[float | None]:
    """None where the setting or the best was run once: nobody knows how far chance moves it."""
    adjusted: list[float | None] = [None] * len(found)
    repeated = [place for place, each in enumerate(found) if each.count > 1]
    if len(repeated) < 2 or repeated[0] != 0:
        return adjusted
    sign = 1 if trials.mode == "max" else -1
    values = [sign * found[place].blocks for place in repeated]
    if "fold" in trials.repetitions:
        p = multiple_comparisons.compare_paired(values)
    else:
        p = multiple_comparisons.compare_independent([value[np.isfinite(value)] for value in values])
    for place, value in zip(repeated[1:], p, strict=True):
        adjusted[place] = None if np.isnan(value) else float(value)
    return adjusted

"""How settings learned: the mean over their seeds, and a band of one standard deviation."""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from convgrid.compare.ranking import bounded
from convgrid.compare.report.axes import (
    PANEL_BOTTOM,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    AxisScale,
    covering,
    foot_axis,
    tick_room,
    value_axis,
)
from convgrid.compare.report.captions import ids_of
from convgrid.compare.report.drawing import NAMED, Area, Drawing, Line, Mark, Text, apart, paint_of
from convgrid.compare.results import Answer, Setting
from convgrid.compare.trials import Trials

MAX_CURVES = 100  # further settings, and pruned trials, that are drawn
POINTS = 100  # of a line
EARLY = 0.2  # of the epochs, whose values may lie outside of the axis: first steps are far from where it is decided
OUTLIERS = 0.02  # share of the values at either end that may lie outside of a loss' axis

MetricByEpoch = dict[int, float]


@dataclass(frozen=True)
class _Curve:
    epochs: Sequence[int]
    mean: Sequence[float]
    spread: Sequence[float] | None


def learning_curves(trials: Trials, answer: Answer) -> list[Drawing]:
    """Draw the objective, the validation loss and the training loss by epoch.

    Args:
        answer: What the comparison comes to.

    Returns:
        A panel for each of them that was written down.
    """
    drawn = _evenly(answer.settings)
    pruned = ids_of(trials, "pruned")[:MAX_CURVES]
    wanted = {*pruned, *(trial for setting in drawn for trial in setting.trials)}
    histories = _histories(trials, wanted)
    metrics = [metric for metric in dict.fromkeys((trials.metric, "val/loss", "train/loss")) if metric in histories]
    panels = [_panel(metric, histories[metric], drawn, pruned) for metric in metrics]
    return [panel for panel in panels if panel]


def _histories(trials: Trials, wanted: Container[str]) -> dict[str, dict[str, MetricByEpoch]]:
    """Of each metric and trial, the finite values by epoch."""
    found: dict[str, dict[str, MetricByEpoch]] = {}
    columns = (np.asarray(trials.curves[name]).tolist() for name in ("trial", "epoch", "metric", "value"))
    for trial, epoch, metric, value in zip(*columns, strict=True):
        if trial in wanted and math.isfinite(value):
            found.setdefault(metric, {}).setdefault(trial, {})[epoch] = value
    return found


def _panel(
    metric: str, histories: Mapping[str, MetricByEpoch], settings: Sequence[Setting], pruned: Sequence[str]
) -> Drawing | None:
    curves = {setting.place: _curve(histories, setting) for setting in settings}
    stopped = [histories[trial] for trial in pruned if trial in histories]
    last = max(epoch for history in histories.values() for epoch in history)
    first = min(epoch for history in histories.values() for epoch in history)
    if first == last or not any(curves.values()):
        return None
    y = _value_scale(metric, curves.values(), stopped)
    left = tick_room(y)
    x = AxisScale(float(first), float(last), left + 4, PANEL_WIDTH - 20)
    marks = value_axis(y, left, PANEL_WIDTH - 20, metric) + foot_axis(x, PANEL_BOTTOM, "epoch", whole=True)
    for history in stopped:
        marks += _stopped(sorted(history.items()), x, y)
    for setting in reversed(settings):
        curve = curves[setting.place]
        if curve is not None:
            marks += _drawn(setting, curve, x, y, metric)
    marks += _places([s for s in settings[:NAMED] if curves[s.place]], curves, x, y)
    return Drawing(PANEL_WIDTH, PANEL_HEIGHT, tuple(marks), f"{metric} by epoch, of {len(settings)} settings", metric)


def _evenly(settings: Sequence[Setting]) -> list[Setting]:
    """The best, and others at even distances in the ranking."""
    others = settings[NAMED:]
    every = -(-len(others) // MAX_CURVES) if others else 1
    return [*settings[:NAMED], *others[::every]]


def _curve(histories: Mapping[str, MetricByEpoch], setting: Setting) -> _Curve | None:
    """Up to the epoch at which the first of the repetitions ended; of a long training every so many epochs."""
    found = [histories[trial] for trial in setting.trials if trial in histories]
    epochs = sorted(set.intersection(*map(set, found))) if found else []
    if not epochs:
        return None
    every = -(-len(epochs) // POINTS)
    epochs = epochs[(len(epochs) - 1) % every :: every]
    values = np.array([[history[epoch] for history in found] for epoch in epochs])
    spread = values.std(axis=1, ddof=1).tolist() if len(found) > 1 else None
    return _Curve(epochs, values.mean(axis=1).tolist(), spread)


def _value_scale(metric: str, curves: Iterable[_Curve | None], stopped: Iterable[MetricByEpoch]) -> AxisScale:
    """Of most epochs; of a loss, where one run that diverges would flatten all others, not quite all values."""
    late = [curve for curve in curves if curve]
    start = max((EARLY * curve.epochs[-1] for curve in late), default=0.0)
    values = [value for curve in late for epoch, value in zip(curve.epochs, curve.mean, strict=True) if epoch > start]
    values += [history[max(history)] for history in stopped]
    if metric.endswith("/loss"):
        low, high = np.quantile(values, [0.0, 1.0 - OUTLIERS])
        values = [value for value in values if low <= value <= high]
    return covering(values, PANEL_BOTTOM, 28, log=metric.endswith("/loss"))


def _drawn(setting: Setting, curve: _Curve, x: AxisScale, y: AxisScale, metric: str) -> list[Mark]:
    paint = paint_of(setting.place)
    points = [(x(epoch), y(mean)) for epoch, mean in zip(curve.epochs, curve.mean, strict=True) if y.holds(mean)]
    if not points:
        return []
    line = Line(points, paint, 1.8 if setting.place <= NAMED else 0.6, setting=setting.place)
    if curve.spread is None or setting.place > NAMED:
        return [line]
    ends = list(zip(curve.epochs, curve.mean, curve.spread, strict=True))
    ends = [(epoch, mean, spread) for epoch, mean, spread in ends if y.holds(mean)]
    bands = [(epoch, *bounded(mean - spread, mean + spread, metric, mean)) for epoch, mean, spread in ends]
    upper = [(x(epoch), y(high)) for epoch, _, high in bands]
    lower = [(x(epoch), y(low)) for epoch, low, _ in reversed(bands)]
    return [Area(upper + lower, paint, setting=setting.place), line]


def _stopped(history: Sequence[tuple[int, float]], x: AxisScale, y: AxisScale) -> list[Mark]:
    """A cross where a pruned trial stopped."""
    points = [(x(epoch), y(value)) for epoch, value in history if y.holds(value)]
    marks: list[Mark] = [Line(points, "other", 0.6, dash=True)] if len(points) > 1 else []
    if y.holds(history[-1][1]):
        right, down = points[-1]
        for slope in (3, -3):
            marks.append(Line([(right - 3, down - slope), (right + 3, down + slope)], "alarm", 1.2))
    return marks


def _places(settings: Sequence[Setting], curves: dict[int, _Curve | None], x: AxisScale, y: AxisScale) -> list[Mark]:
    ends = [(curve.epochs[-1], curve.mean[-1]) for setting in settings if (curve := curves[setting.place])]
    heights = apart((y(mean) for _, mean in ends), 11, 28, PANEL_BOTTOM)
    return [
        Text(x(epoch) + 6, height + 4, str(setting.place), "ink", halo=True, setting=setting.place)
        for setting, (epoch, _), height in zip(settings, ends, heights, strict=True)
    ]

"""From values to pixels, and the round values to write beside them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from convgrid.compare.report.drawing import Line, Mark, Text, cut_to_width, letters
from convgrid.compare.report.numbers import decimals_between, thousands

FENCE = 2.0  # times the way from the median to the best
ROUNDING = 1e-9  # values no further apart, in parts of them, are one
RATIO = 30  # values that differ by more have a logarithmic axis
PANEL_WIDTH, PANEL_HEIGHT = 360.0, 252.0  # of a chart: what a phone has room for
FOOT_HEIGHT = 40.0  # of the axis below a chart
PANEL_BOTTOM = PANEL_HEIGHT - FOOT_HEIGHT  # where that axis begins
ROW_HEIGHT = 20.0  # of rows with a name and a dot each


@dataclass(frozen=True)
class AxisScale:
    """An axis of numbers.

    Args:
        low: The value at `start`.
        high: The value at `end`.
        start: In pixels.
        end: In pixels.
        log: Whether equal ratios, not differences, are equal lengths.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value is; one outside the axis is at its end.

        Args:
            value: To be placed.

        Returns:
            Pixels.

        Example:
            >>> AxisScale(0, 10, 100, 200)(5), AxisScale(1, 100, 0, 10, log=True)(10), AxisScale(0, 1, 0, 9)(7)
            (150.0, 5.0, 9.0)
        """
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis.

        Args:
            value: To be placed.

        Returns:
            Whether it does.

        Example:
            >>> AxisScale(0, 1, 0, 9).holds(0.5), AxisScale(0, 1, 0, 9).holds(7)
            (True, False)
        """
        return self.low <= value <= self.high

    def ticks(self, most: int = 5) -> list[float]:
        """Round values on the axis.

        Args:
            most: About how many.

        Returns:
            Them, rising.

        Example:
            >>> AxisScale(0.853, 0.894, 0, 1).ticks(), AxisScale(800, 250_000, 0, 1, log=True).ticks()
            ([0.86, 0.87, 0.88, 0.89], [1000.0, 3000.0, 10000.0, 30000.0, 100000.0])
        """
        return _log_ticks(self.low, self.high, most) if self.log else _even_ticks(self.low, self.high, most)


def covering(values: Iterable[float], start: float, end: float, *, log: bool = False, room: float = 0.05) -> AxisScale:
    """Make an axis that all values fit on.

    Args:
        values: At least one; those that are not finite do not count.
        start: In pixels.
        end: In pixels.
        log: Whether it may be logarithmic: it is where all values are above 0 and differ 30 times or more.
        room: Free at either end, as a share of the axis.

    Returns:
        The axis.

    Example:
        >>> covering([3, 5], 0, 1, room=0.5), covering([1, 100], 0, 1, log=True, room=0).log
        (AxisScale(low=2.0, high=6.0, start=0, end=1, log=False), True)
        >>> covering([2.0, 2.0 + 1e-15], 0, 1).low
        1.9
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if high - low <= ROUNDING * max(abs(low), abs(high)):
        around = abs(low) * 0.05 or 1.0
        return AxisScale(low - around, high + around, start, end)
    if log and low > 0 and high / low >= RATIO:
        factor = (high / low) ** room
        return AxisScale(low / factor, high * factor, start, end, log=True)
    return AxisScale(low - room * (high - low), high + room * (high - low), start, end)


def worth_showing(values: Sequence[float], mode: str) -> list[float]:
    """Leave out what is so much worse than most that it would press all others against the end of an axis.

    Args:
        values: Of the objective.
        mode: Whether the greatest ("max") or the least ("min") is best.

    Returns:
        Those that are no further below the median than twice the way from it to the best.

    Example:
        >>> worth_showing([0.93, 0.92, 0.91, 0.90, 0.1], "max")
        [0.93, 0.92, 0.91, 0.9]
    """
    sign = 1.0 if mode == "max" else -1.0
    middle, best = median(values), max(values, key=lambda value: sign * value)
    return [value for value in values if sign * value >= sign * middle - FENCE * abs(best - middle) - 1e-12]


def value_axis(scale: AxisScale, left: float, right: float, name: str, note: str = "") -> list[Mark]:
    """Draw an upward axis: lines across, their values at the left, its name on top.

    Args:
        scale: Of the values.
        left: Where the lines start.
        right: Where they end.
        name: Of what is shown.
        note: Further words, such as that the axis is logarithmic.

    Returns:
        The marks.
    """
    ticks = scale.ticks()
    write = written(ticks, log=scale.log)
    marks: list[Mark] = [Line([(left, scale(tick)), (right, scale(tick))], "grid") for tick in ticks]
    marks += [Text(left - 6, scale(tick) + 4, write(tick), anchor="end") for tick in ticks]
    title = f"{name}{note}{', log scale' if scale.log else ''}"
    return [*marks, Text(0, 12, cut_to_width(title, right), "ink", bold=True)]


def foot_axis(scale: AxisScale, bottom: float, name: str, *, most: int = 5, whole: bool = False) -> list[Mark]:
    """Draw an axis below: short strokes, their values, its name.

    Args:
        scale: Of the values.
        bottom: Where the axis is.
        name: Of what is shown.
        most: About how many values.
        whole: Whether there are whole numbers only, such as epochs.

    Returns:
        The marks.
    """
    marks: list[Mark] = [Line([(scale.start, bottom), (scale.end, bottom)], "muted")]
    ticks = [tick for tick in scale.ticks(most) if not whole or tick == round(tick)]
    write = written(ticks, log=scale.log)
    for tick in ticks:
        marks.append(Line([(scale(tick), bottom), (scale(tick), bottom + 4)], "muted"))
        marks.append(Text(scale(tick), bottom + 16, write(tick), anchor="middle"))
    title = f"{name}{', log scale' if scale.log else ''}"
    return [*marks, Text((scale.start + scale.end) / 2, bottom + 32, title, anchor="middle")]


def tick_room(scale: AxisScale) -> float:
    """How wide the values of an upward axis are.

    Args:
        scale: Of the values.

    Returns:
        Pixels.
    """
    ticks = scale.ticks()
    return 10 + max(map(letters, map(written(ticks, log=scale.log), ticks)), default=0)


def written(ticks: Sequence[float], *, log: bool) -> Callable[[float], str]:
    """Find how the values of an axis are written: all with as many decimals, great ones with k, M or G.

    Args:
        ticks: The values.
        log: Whether the axis is logarithmic.

    Returns:
        What writes one of them.

    Example:
        >>> ticks = [0.88, 0.9]
        >>> [written(ticks, log=False)(tick) for tick in ticks]
        ['0.88', '0.90']
    """
    if log or max(map(abs, ticks), default=0) >= 10_000:
        return thousands
    digits = decimals_between(ticks)
    return lambda value: f"{value:.{digits}f}"


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    """With the coarsest step that gives three, or the finest that keeps to `most`."""
    magnitude = 10.0 ** math.floor(math.log10(high - low))
    found: list[float] = []
    for step in (5 * magnitude, 2 * magnitude, magnitude, magnitude / 2, magnitude / 5, magnitude / 10):
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        finer = [round(number * step, digits) for number in range(first, last + 1)]
        if len(found) >= 2 and len(finer) > most:
            break
        found = finer
        if len(found) >= 3:
            break
    return found


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found: list[float] = []
    for factors in ((1,), (1, 3), (1, 2, 5)):
        finer = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        finer = [tick for tick in finer if low <= tick <= high]
        if found and len(finer) > most:
            break
        found = finer
    return found[:: math.ceil(len(found) / (most + 1))] if found else []

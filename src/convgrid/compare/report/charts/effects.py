"""What each value of a key comes to, on one scale for all keys: what matters most moves most."""

from collections.abc import Sequence

from convgrid.compare.report.axes import (
    FOOT_HEIGHT,
    PANEL_BOTTOM,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    ROW_HEIGHT,
    AxisScale,
    covering,
    foot_axis,
    tick_room,
    value_axis,
)
from convgrid.compare.report.captions import Wording, is_finite_number
from convgrid.compare.report.drawing import Dot, Drawing, Line, Mark, Text, cut_to_width, letters
from convgrid.compare.results import Answer, Level
from convgrid.compare.sentences import text

MAX_COLUMNS = 8  # numbers beside each other that have room for their labels


def main_effects(answer: Answer, words: Wording) -> list[Drawing]:
    """Draw a panel for each key: the mean at each of its values, with its interval.

    Args:
        answer: What the comparison comes to.
        words: How its numbers are written.

    Returns:
        The panels, in the order of the keys.
    """
    levels = [level for each in answer.effects.values() for level in each]
    ends = [level.mean for level in levels] + [end for level in levels for end in level.interval or ()]
    scale = covering(ends, 0, 1)
    return [_panel(key, _ordered(key, found, answer, words), scale, words) for key, found in answer.effects.items()]


def _ordered(key: str, levels: Sequence[Level], answer: Answer, words: Wording) -> Sequence[Level]:
    """Numbers, and ranges of them, keep their order; of names the best comes first."""
    if all(is_finite_number(setting.values[key]) for setting in answer.settings if key in setting.values):
        return levels
    return sorted(levels, key=lambda level: level.mean, reverse=words.mode == "max")


def _panel(key: str, levels: Sequence[Level], shared: AxisScale, words: Wording) -> Drawing:
    said = ", ".join(f"{text(level.value)} {words.mean(level.mean)}" for level in levels[:24])
    told = f"{words.metric} by {key}: {said}"
    if not all(is_finite_number(level.value) for level in levels):
        return _rows(key, levels, shared, words, told)
    y = AxisScale(shared.low, shared.high, PANEL_BOTTOM, 28)
    left = tick_room(y)
    marks = value_axis(y, left, PANEL_WIDTH, words.metric, f" by {key}")
    many = len(levels) > MAX_COLUMNS
    x = covering([float(level.value) for level in levels], left + 10, PANEL_WIDTH - 10, log=True)
    slot = (PANEL_WIDTH - left) / len(levels)
    places = [x(float(each.value)) if many else left + slot * (index + 0.5) for index, each in enumerate(levels)]
    if many:
        marks += foot_axis(x, PANEL_BOTTOM, key)
    else:
        marks += _names(key, levels, places, slot)
        marks.append(Line([(at, y(each.mean)) for at, each in zip(places, levels, strict=True)], "other"))
    for at, each in zip(places, levels, strict=True):
        marks += _upright(each, at, y, words, labelled=not many)
    return Drawing(PANEL_WIDTH, PANEL_HEIGHT, tuple(marks), told, key)


def _names(key: str, levels: Sequence[Level], places: Sequence[float], slot: float) -> list[Mark]:
    bottom = PANEL_BOTTOM
    marks: list[Mark] = [
        Text(at, bottom + 16, cut_to_width(text(each.value), slot), anchor="middle")
        for at, each in zip(places, levels, strict=True)
    ]
    return [*marks, Text(sum(places) / len(places), bottom + 32, key, anchor="middle")]


def _upright(level: Level, at: float, y: AxisScale, words: Wording, *, labelled: bool) -> list[Mark]:
    marks: list[Mark] = []
    if level.interval:
        marks.append(Line([(at, y(level.interval[0])), (at, y(level.interval[1]))], "accent", 1.5))
    marks.append(Dot(at, y(level.mean), "accent", 4.0 if labelled else 2.5, tip=_tip(level, words)))
    if labelled:
        top = y(max(level.interval)) if level.interval else y(level.mean)
        marks.append(Text(at, top - 7, words.mean(level.mean), "ink", "middle", halo=True))
    return marks


def _rows(key: str, levels: Sequence[Level], shared: AxisScale, words: Wording, told: str) -> Drawing:
    """Names are read across: a row each."""
    left = 10 + min(150.0, max(letters(text(level.value)) for level in levels))
    right = PANEL_WIDTH - 14 - letters(words.mean(shared.high))
    x = AxisScale(shared.low, shared.high, left, right)
    bottom = 26 + ROW_HEIGHT * len(levels)
    marks: list[Mark] = [Text(0, 12, cut_to_width(f"{words.metric} by {key}", PANEL_WIDTH), "ink", bold=True)]
    for index, level in enumerate(levels):
        y = 26 + ROW_HEIGHT * (index + 0.5)
        marks.append(Text(left - 8, y + 4, cut_to_width(text(level.value), left - 8), "ink", "end"))
        marks.append(Line([(left, y), (right, y)], "grid"))
        if level.interval:
            marks.append(Line([(x(level.interval[0]), y), (x(level.interval[1]), y)], "accent", 1.5))
        marks.append(Dot(x(level.mean), y, "accent", 4.0, tip=_tip(level, words)))
        marks.append(Text(PANEL_WIDTH, y + 4, words.mean(level.mean), "ink", "end"))
    marks += foot_axis(x, bottom, words.metric, most=4)
    return Drawing(PANEL_WIDTH, bottom + FOOT_HEIGHT, tuple(marks), told, key)


def _tip(level: Level, words: Wording) -> str:
    between = f", {words.mean(level.interval[0])} to {words.mean(level.interval[1])}" if level.interval else ""
    return f"{text(level.value)}: {words.mean(level.mean)}{between}; {level.settings} settings, {level.n} trials"

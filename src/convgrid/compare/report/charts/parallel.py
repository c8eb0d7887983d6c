"""Every setting as a line through its values: where the good ones go."""

from collections.abc import Callable, Sequence
from typing import Any

from convgrid.compare.report.axes import AxisScale, covering, written
from convgrid.compare.report.captions import Wording, is_finite_number
from convgrid.compare.report.drawing import NAMED, Drawing, Line, Mark, Text, apart, cut_to_width, paint_of
from convgrid.compare.report.numbers import thousands
from convgrid.compare.results import Answer, Setting
from convgrid.compare.sentences import text

LEVELS = 12  # different values; more of them are an axis of numbers
WIDE = (1192.0, 340.0)
NARROW = (360.0, 96.0)  # and that much for each key
MOST_NAMES = 30
AXIS = 4.0  # width of an axis, which lines cross

PlaceOf = Callable[[Setting], float]


def parallel_coordinates(answer: Answer, words: Wording) -> list[Drawing]:
    """Draw an axis for each key and the objective, and a line for each setting.

    Args:
        answer: What the comparison comes to.
        words: How its numbers are written.

    Returns:
        One drawing with axes beside each other for a wide page, and one with axes below each other for a narrow one.
    """
    keys = list(dict.fromkeys(key for setting in answer.settings for key in setting.values))
    if len(keys) < 2:
        return []
    said = f"a line for each of {len(answer.settings):,} settings through {', '.join(keys)} and {words.metric}"
    narrow = NARROW[0], 60 + NARROW[1] * len(keys)
    return [
        Drawing(*WIDE, tuple(_across(answer.settings, keys, words)), said, "wide"),
        Drawing(*narrow, tuple(_down(answer.settings, keys, words, narrow[1])), said, "narrow"),
    ]


def _across(settings: Sequence[Setting], keys: Sequence[str], words: Wording) -> list[Mark]:
    width, height = WIDE
    top, bottom, left, right = 34.0, height - 8, 60.0, width - 40
    step = (right - left) / len(keys)
    marks: list[Mark] = []
    names: list[Mark] = []
    axes: list[tuple[float, PlaceOf]] = []
    for number, key in enumerate(keys):
        x = left + step * number
        place, labels, spans = _axis(settings, key, (bottom, top))
        axes.append((x, place))
        marks += [Line([(x, start), (x, end)], "grid", AXIS) for start, end in spans]
        marks.append(Text(x, 14, cut_to_width(key, step - 8), "ink", "middle" if number else "start", bold=True))
        names += [Text(x - 6, y + 4, cut_to_width(name, 54), "ink", "end", halo=True) for name, y in labels]
    objective = _objective(settings, (bottom, top), words.mode)
    marks.append(Line([(right, top), (right, bottom)], "muted"))
    marks.append(Text(width, 14, cut_to_width(words.metric, step), "ink", "end", bold=True))
    write = written(objective.ticks(), log=False)
    names += [Text(right - 6, objective(tick) + 4, write(tick), "ink", "end", halo=True) for tick in objective.ticks()]
    for setting in reversed(settings):
        points = [(x, at) for x, place in axes if (at := place(setting)) >= 0]
        marks.append(_line(setting, [*points, (right, objective(setting.mean))], len(settings)))
    named = settings[:NAMED]
    for setting, y in zip(named, apart((objective(each.mean) for each in named), 12, top, bottom), strict=True):
        marks.append(Text(right + 8, y + 4, str(setting.place), "ink", setting=setting.place))
    return [*marks, *names]


def _down(settings: Sequence[Setting], keys: Sequence[str], words: Wording, height: float) -> list[Mark]:
    left, right = 16.0, NARROW[0] - 16
    marks: list[Mark] = []
    names: list[Mark] = []
    axes: list[tuple[float, PlaceOf]] = []
    for number, key in enumerate(keys):
        y = 24 + NARROW[1] * number
        place, labels, spans = _axis(settings, key, (left, right))
        axes.append((y, place))
        marks += [Line([(start, y), (end, y)], "grid", AXIS) for start, end in spans]
        names.append(Text(0, y - 10, cut_to_width(key, right), "ink", bold=True, halo=True))
        room = (right - left) / max(1, len(labels))
        names += [Text(x, y + 14, cut_to_width(name, room), "ink", "middle", halo=True) for name, x in labels]
    bottom = height - 36
    objective = _objective(settings, (left, right), words.mode)
    marks.append(Line([(left, bottom), (right, bottom)], "muted"))
    write = written(objective.ticks(4), log=False)
    names += [Text(objective(tick), bottom + 14, write(tick), "ink", "middle") for tick in objective.ticks(4)]
    marks.append(Text(0, bottom + 30, words.metric, "ink", bold=True))
    for setting in reversed(settings):
        points = [(at, y) for y, place in axes if (at := place(setting)) >= 0]
        marks.append(_line(setting, [*points, (objective(setting.mean), bottom)], len(settings)))
    return [*marks, *names]


def _line(setting: Setting, points: list[tuple[float, float]], settings: int) -> Line:
    paint = paint_of(setting.place, settings=settings)
    width = 2.2 if setting.place <= NAMED else 0.8
    return Line(points, paint, width, setting=setting.place)


def _objective(settings: Sequence[Setting], ends: tuple[float, float], mode: str) -> AxisScale:
    """The best end is that of the other axes' high values, whichever way the objective goes."""
    start, end = ends if mode == "max" else ends[::-1]
    return covering((setting.mean for setting in settings), start, end)


def _axis(
    settings: Sequence[Setting], key: str, ends: tuple[float, float]
) -> tuple[PlaceOf, list[tuple[str, float]], list[tuple[float, float]]]:
    """Where a setting is on a key's axis, below 0 where it has no such key; what is written beside it; its strokes."""
    values = [setting.values[key] for setting in settings if key in setting.values]
    different = sorted(set(map(_hashable, values)), key=_order)
    if len(different) > LEVELS and all(map(is_finite_number, values)):
        scale = covering(map(float, values), *ends, log=True)
        labels = [(thousands(tick), scale(tick)) for tick in scale.ticks()]
        return lambda setting: scale(float(setting.values[key])) if key in setting.values else -1.0, labels, [ends]
    slot = (ends[1] - ends[0]) / max(1, len(different))
    middle = {value: ends[0] + slot * (number + 0.5) for number, value in enumerate(different)}
    spread = 0.6 * slot / max(1, len(settings))

    def place(setting: Setting) -> float:
        """Lines of one value lie side by side, the best at the axis' high end."""
        if key not in setting.values:
            return -1.0
        return middle[_hashable(setting.values[key])] + spread * (len(settings) / 2 - setting.place)

    every = -(-len(different) // MOST_NAMES)
    labels = [(text(value), middle[value]) for value in different[::every]]
    return place, labels, [(at - 0.4 * slot, at + 0.4 * slot) for at in middle.values()]


def _hashable(value: Any) -> Any:
    return text(value) if isinstance(value, list | dict) else value


def _order(value: Any) -> tuple[bool, Any]:
    return (False, value) if is_finite_number(value) else (True, text(value))

"""The ranking as dots with their intervals."""

from collections.abc import Sequence
from dataclasses import replace

from convgrid.compare.ranking import bounded
from convgrid.compare.report.axes import ROW_HEIGHT, AxisScale, covering, foot_axis, worth_showing
from convgrid.compare.report.captions import Wording
from convgrid.compare.report.drawing import Dot, Drawing, Line, Mark, Text, cut_to_width, letters, paint_of
from convgrid.compare.results import Answer, Setting
from convgrid.compare.sentences import named, verdict

MAX_SETTINGS_DRAWN = 20
TABLE_CELL = (140.0, 20.0)  # of the ranking's table


def ranked_intervals(answer: Answer, words: Wording) -> list[Drawing]:
    """Draw the best settings below each other.

    Args:
        answer: What the comparison comes to.
        words: How its numbers are written.

    Returns:
        One panel.
    """
    best = answer.settings[:MAX_SETTINGS_DRAWN]
    names = [f"{setting.place}  {named(setting.values)}" for setting in best]
    left = 12 + min(420.0, max(map(letters, names)))
    x = axis_of(best, words, left, left + 320)
    verdicts = [f"  {verdict(setting)}" if answer.race else "" for setting in best]
    width = x.end + 16 + letters(words.mean(x.high) + " ± " + words.mean(0)) + max(map(letters, verdicts))
    marks: list[Mark] = []
    for row, (setting, name) in enumerate(zip(best, names, strict=True)):
        y = ROW_HEIGHT * (row + 0.5)
        marks.append(Text(left - 12, y + 4, cut_to_width(name, left - 12), "ink", "end"))
        marks.append(Line([(left, y), (x.end, y)], "grid"))
        marks += _whisker(setting, x, y)
        marks.append(Text(x.end + 10, y + 4, words.measured(setting) + verdicts[row], "ink"))
    bottom = ROW_HEIGHT * len(best) + 4
    marks.insert(0, Line([(x(best[0].mean), 0), (x(best[0].mean), bottom)], "grid"))
    more = len(answer.settings) - len(best)
    title = words.metric + (f", the best {MAX_SETTINGS_DRAWN} of {len(answer.settings):,} settings" if more else "")
    marks += foot_axis(x, bottom, title)
    return [Drawing(width, bottom + 40, tuple(marks), f"{title}: {answer.sentence}")]


def axis_of(settings: Sequence[Setting], words: Wording, start: float, end: float) -> AxisScale:
    """Make the axis on which settings and their intervals are drawn; those far below the others end at its edge.

    Args:
        words: Knows the objective.

    Returns:
        The axis, which ends where the objective's range does.
    """
    means = worth_showing([setting.mean for setting in settings], words.mode)
    shown = [setting for setting in settings if min(means) <= setting.mean <= max(means)]
    ends = worth_showing([*means, *(value for setting in shown for value in setting.interval or ())], words.mode)
    found = covering(ends, start, end)
    low, high = bounded(found.low, found.high, words.metric, means[0])
    return replace(found, low=low, high=high)


def in_a_cell(setting: Setting, x: AxisScale, best: float) -> Drawing:
    """Draw one setting for its row of the table.

    Args:
        x: The axis that all rows have.
        best: The best setting's mean, which a line marks.

    Returns:
        The drawing.
    """
    width, height = TABLE_CELL
    at_best = Line([(x(best), 0), (x(best), height)], "grid")
    return Drawing(width, height, (at_best, *_whisker(setting, x, height / 2)), "")


def _whisker(setting: Setting, x: AxisScale, y: float) -> list[Mark]:
    paint = paint_of(setting.place)
    if not x.holds(setting.mean):
        beyond = x.start if setting.mean < x.low else x.end
        return [Text(beyond, y + 4, "◂" if beyond == x.start else "▸", paint, "middle")]
    dot = Dot(x(setting.mean), y, paint, 4, hollow=setting.status in ("worse", "out"))
    if not setting.interval:
        return [dot]
    low, high = (x(value) for value in setting.interval)
    return [Line([(low, y), (high, y)], paint, 1.5), dot]

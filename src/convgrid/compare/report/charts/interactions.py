"""Means of two keys' values together, as heatmaps on one scale for all pairs."""

from convgrid.compare.report.axes import PANEL_WIDTH
from convgrid.compare.report.captions import Wording
from convgrid.compare.report.drawing import STEPS, Box, Drawing, Mark, Text, cut_to_width, letters
from convgrid.compare.results import Answer, Interaction
from convgrid.compare.sentences import text

MAX_CELLS = 24  # values of a key that a heatmap has room for
CELL_HEIGHT = 30.0
LABELS = 110.0  # pixels for the values of the first key
LEGEND_HEIGHT = 46.0


def interaction_maps(answer: Answer, words: Wording) -> list[Drawing]:
    """Draw a heatmap for each pair of keys.

    Args:
        answer: What the comparison comes to.
        words: How its numbers are written.

    Returns:
        One for each pair whose values there is room for.
    """
    fitting = {
        pair: each for pair, each in answer.interactions.items() if len(each.rows) <= MAX_CELLS >= len(each.columns)
    }
    means = [mean for each in fitting.values() for row in each.means for mean in row if mean is not None]
    low, high = min(means, default=0.0), max(means, default=1.0)
    return [_heatmap(*pair, each, words, (low, high)) for pair, each in fitting.items()]


def _heatmap(first: str, second: str, table: Interaction, words: Wording, ends: tuple[float, float]) -> Drawing:
    width = PANEL_WIDTH
    left = 30 + min(LABELS, max(letters(text(value)) for value in table.rows))
    cell = min(72.0, (width - left) / len(table.columns))
    top, tall = 50.0, CELL_HEIGHT * len(table.rows)
    marks: list[Mark] = [
        Text(0, 12, cut_to_width(f"{first} (down), {second} (across)", width), "ink", bold=True),
        Text(left + cell * len(table.columns) / 2, 30, cut_to_width(second, width - left), anchor="middle"),
        Text(10, top + tall / 2, cut_to_width(first, tall + 40), "muted", "middle")
        if len(table.rows) == 1
        else Text(10, top + tall / 2, first, anchor="middle", upward=True),
    ]
    size = 11.0 if max(letters(text(value)) for value in table.columns) < cell else 9.0
    for column, value in enumerate(table.columns):
        name = cut_to_width(text(value), cell, size)
        marks.append(Text(left + cell * (column + 0.5), top - 6, name, anchor="middle", size=size))
    for row, value in enumerate(table.rows):
        middle = top + CELL_HEIGHT * (row + 0.5) + 4
        marks.append(Text(left - 6, middle, cut_to_width(text(value), left - 28), anchor="end"))
        for column, mean in enumerate(table.means[row]):
            tip = f"{first}={text(value)} {second}={text(table.columns[column])}: "
            tip += _tip(mean, table.counts[row][column], words)
            marks += _cell(mean, left + cell * column, top + CELL_HEIGHT * row, cell, tip, words, ends)
    bottom = top + tall
    marks += _legend(bottom + 18, words, ends)
    return Drawing(width, bottom + LEGEND_HEIGHT, tuple(marks), _said(first, second, table, words), f"{first}.{second}")


def _cell(
    mean: float | None, x: float, y: float, width: float, tip: str, words: Wording, ends: tuple[float, float]
) -> list[Mark]:
    if mean is None:
        return [Text(x + width / 2, y + CELL_HEIGHT / 2 + 4, "none", "muted", "middle", 9)]
    step = _step(mean, words, ends)
    marks: list[Mark] = [Box(x, y, width - 1, CELL_HEIGHT - 1, f"q{step}", tip)]
    number = words.mean(mean)
    size = 11.0 if letters(number) < width - 4 else 9.0
    if letters(number, size) < width:
        marks.append(Text(x + width / 2, y + CELL_HEIGHT / 2 + 4, number, f"on{step}", "middle", size))
    return marks


def _step(mean: float, words: Wording, ends: tuple[float, float]) -> int:
    """The better, the stronger."""
    low, high = ends
    share = (mean - low) / (high - low) if high > low else 0.5
    return min(STEPS - 1, int(STEPS * (share if words.mode == "max" else 1 - share)))


def _legend(y: float, words: Wording, ends: tuple[float, float]) -> list[Mark]:
    worst, best = ends if words.mode == "max" else ends[::-1]
    start = 6 + letters(words.mean(worst))
    boxes: list[Mark] = [Box(start + 14 * step, y, 14, 10, f"q{step}") for step in range(STEPS)]
    end = start + 14 * STEPS
    return [
        Text(start - 6, y + 9, words.mean(worst), anchor="end"),
        *boxes,
        Text(end + 6, y + 9, f"{words.mean(best)}  mean {words.metric}"),
    ]


def _tip(mean: float | None, count: int, words: Wording) -> str:
    return "no trial" if mean is None else f"{words.mean(mean)}, the mean of {count} trials"


def _said(first: str, second: str, table: Interaction, words: Wording) -> str:
    cells = [
        f"{text(row)} and {text(column)} {words.mean(mean)}"
        for row, means in zip(table.rows, table.means, strict=True)
        for column, mean in zip(table.columns, means, strict=True)
        if mean is not None
    ]
    return f"mean {words.metric} by {first} and {second}: " + ", ".join(cells[:60])

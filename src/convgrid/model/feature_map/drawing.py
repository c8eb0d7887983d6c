"""A map of features as marks: a dot an image, in the colour of its group."""

from collections import Counter
from collections.abc import Sequence
from itertools import product

import numpy as np

from convgrid.compare.report.drawing import NAMED, Dot, Drawing, Text, cut_to_width

PLOT, LEGEND_WIDTH, LINE_HEIGHT, RADIUS = 640.0, 200.0, 18.0, 2.6
DOT_STYLES = [(f"s{colour}", hollow) for hollow, colour in product((False, True), range(1, NAMED + 1))]
OTHERS_STYLE = ("other", False)


def draw(points: np.ndarray, groups: Sequence[str], tips: Sequence[str], words: str) -> Drawing:
    """Draw a map with its legend; of many groups the most frequent have a look of their own.

    Args:
        points: Shape (N, 2).
        groups: The name of each one's group.
        tips: What is shown of each.
        words: What the map is, to who cannot see it.

    Returns:
        Dots with their number, from 1 on, as `setting`.
    """
    counts = Counter(groups).most_common()
    shown = [name for name, _ in counts[: len(DOT_STYLES) if len(counts) <= len(DOT_STYLES) else len(DOT_STYLES) - 1]]
    looks = dict(zip(sorted(shown), DOT_STYLES, strict=False))
    dots = [
        Dot(x, y, *_look(looks.get(group, OTHERS_STYLE)), number, tip)
        for number, ((x, y), group, tip) in enumerate(zip(_placed(points), groups, tips, strict=True), start=1)
    ]
    rest = sum(count for name, count in counts if name not in looks)
    legend = _legend(looks, dict(counts), rest)
    height = max(mark.y for mark in (*dots, *legend)) + 2 * RADIUS
    return Drawing(PLOT + LEGEND_WIDTH, height, (*dots, *legend), words)


def _look(look: tuple[str, bool]) -> tuple[str, float, bool]:
    paint, hollow = look
    return paint, RADIUS, hollow


def _placed(points: np.ndarray) -> list[list[float]]:
    """Both directions on one scale, upwards as usual, in the upper left corner."""
    upright = points * (1, -1)
    from_corner = upright - upright.min(0)
    scale = (PLOT - 4 * RADIUS) / max(float(from_corner.max()), 1e-12)
    return (from_corner * scale + 2 * RADIUS).tolist()


def _legend(looks: dict[str, tuple[str, bool]], counts: dict[str, int], rest: int) -> list[Dot | Text]:
    marks: list[Dot | Text] = []
    rows = [(name, look, counts[name]) for name, look in looks.items()]
    for place, (name, look, count) in enumerate([*rows, *([("others", OTHERS_STYLE, rest)] if rest else [])], start=1):
        paint, radius, hollow = _look(look)
        marks += [
            Dot(PLOT + 16, place * LINE_HEIGHT - 4, paint, radius * 1.5, hollow),
            Text(PLOT + 28, place * LINE_HEIGHT, cut_to_width(name, LEGEND_WIDTH - 80), "ink"),
            Text(PLOT + LEGEND_WIDTH, place * LINE_HEIGHT, f"{count:,}", anchor="end"),
        ]
    return marks

"""A chart as marks at pixels: drawn once, shown in the page (`svg.py`) and in a PNG (`png.py`).

Marks name their colour by its role, so that the page can be dark or light: "ink", "muted", "grid", "paper", "other" (a
setting like the many), "better" (one of the best quarter), "s1" to "s6" (the best six settings, in every chart alike),
"q0" to "q8" (low to high), and "on0" to "on8" (ink upon those).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

Position = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

NAMED = 6  # settings with a colour of their own
STEPS = 9  # of the colours from low to high
LETTER = 0.56  # width of a letter, as a share of its height: the mean of common sans-serif fonts


@dataclass(frozen=True)
class Line:
    """A line through points.

    Args:
        paint: Role of its colour.
        dash: Whether it is dashed.
        setting: Place of the setting that it stands for; 0 for none.
        tip: What it stands for, shown where a pointer is on it.
    """

    points: Sequence[Position]
    paint: str = "ink"
    width: float = 1.0
    dash: bool = False
    setting: int = 0
    tip: str = ""


@dataclass(frozen=True)
class Area:
    """A filled shape, light enough to see through.

    Args:
        paint: Role of its colour.
        setting: Place of the setting that it stands for; 0 for none.
    """

    points: Sequence[Position]
    paint: str
    setting: int = 0


@dataclass(frozen=True)
class Dot:
    """A point.

    Args:
        paint: Role of its colour.
        hollow: Whether only its edge is drawn.
        setting: Place of the setting that it stands for; 0 for none.
        tip: What it stands for, shown where a pointer is on it.
    """

    x: float
    y: float
    paint: str = "ink"
    radius: float = 3.5
    hollow: bool = False
    setting: int = 0
    tip: str = ""


@dataclass(frozen=True)
class Box:
    """A filled rectangle.

    Args:
        paint: Role of its colour.
        tip: What it stands for, shown where a pointer is on it.
    """

    x: float
    y: float
    width: float
    height: float
    paint: str = "ink"
    tip: str = ""


@dataclass(frozen=True)
class Text:
    """Wording, in one line.

    Args:
        x: Where they start, are centred, or end.
        paint: Role of their colour.
        anchor: What x is of them.
        bold: Whether they are bold.
        upward: Whether they are turned to read from below.
        halo: Whether lines behind them are kept away.
        setting: Place of the setting that they name; 0 for none.
    """

    x: float
    y: float
    words: str
    paint: str = "muted"
    anchor: Anchor = "start"
    size: float = 11.0
    bold: bool = False
    upward: bool = False
    halo: bool = False
    setting: int = 0


Mark = Line | Area | Dot | Box | Text


@dataclass(frozen=True)
class Drawing:
    """Marks, and what they say to who cannot see them.

    Args:
        marks: The first at the back.
        words: What the drawing shows, with its values where they are few.
        name: Tells it from others of the same chart.
    """

    width: float
    height: float
    marks: tuple[Mark, ...]
    words: str
    name: str = ""


def tiled(drawings: Sequence[Drawing], *, columns: int = 3, gap: float = 24) -> Drawing:
    """Put drawings beside and below each other, as one.

    Args:
        columns: At most this many beside each other.
        gap: Between them, in pixels.

    Returns:
        One drawing.

    Example:
        >>> both = tiled([Drawing(10, 20, (Dot(1, 1),), "a"), Drawing(10, 20, (Dot(1, 1),), "b")], gap=5)
        >>> both.width, both.height, both.marks[1].x, both.words
        (25.0, 20.0, 16.0, 'a b')
    """
    marks: list[Mark] = []
    top, width = 0.0, 0.0
    for start in range(0, len(drawings), columns):
        row, left = drawings[start : start + columns], 0.0
        for each in row:
            marks += (_moved(mark, left, top) for mark in each.marks)
            left += each.width + gap
        width = max(width, left - gap)
        top += max(each.height for each in row) + gap
    return Drawing(width, top - gap, tuple(marks), " ".join(each.words for each in drawings))


def letters(words: str, size: float = 11.0) -> float:
    """Guess how wide words are.

    Returns:
        Pixels.

    Example:
        >>> round(letters("0.917"))
        31
    """
    return LETTER * size * len(words)


def cut_to_width(words: str, width: float, size: float = 11.0) -> str:
    """Cut words that are too long, with an ellipsis in the middle, where names differ least.

    Args:
        words: What is to be written.
        size: Of the letters, in pixels.

    Returns:
        Wording that fit.

    Example:
        >>> cut_to_width("INPUT -> CONV -> RELU -> FC", 70)
        'INPUT…-> FC'
    """
    most = max(3, int(width / (LETTER * size)))
    if len(words) <= most:
        return words
    head = most // 2
    return f"{words[:head].rstrip()}…{words[len(words) - (most - head - 1) :]}"


def apart(wanted: Iterable[float], least: float, low: float, high: float) -> list[float]:
    """Move labels so that none covers another, each as little as a pass down and a pass up can do.

    Args:
        wanted: Where they would be.
        least: Between two of them.

    Returns:
        Where they are, in the order of `wanted`.

    Example:
        >>> apart([50, 10, 12], 10, 0, 52)
        [50, 10, 20]
    """
    wanted = list(wanted)
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    places = [max(low, min(high, each)) for each in wanted]
    for before, after in pairwise(order):
        places[after] = max(places[after], places[before] + least)
    ceiling = high
    for index in reversed(order):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - least
    return places


def paint_of(place: int, *, settings: int = 0) -> str:
    """The colour of a setting, in every chart the same.

    Args:
        place: In the ranking, from 1.
        settings: How many there are; 0 where the best quarter is not told apart.

    Returns:
        Its role.

    Example:
        >>> paint_of(2), paint_of(20, settings=100), paint_of(90, settings=100)
        ('s2', 'better', 'other')
    """
    if place <= NAMED:
        return f"s{place}"
    return "better" if place <= settings / 4 else "other"


def _moved(mark: Mark, right: float, down: float) -> Mark:
    if isinstance(mark, Line | Area):
        return replace(mark, points=[(x + right, y + down) for x, y in mark.points])
    return replace(mark, x=mark.x + right, y=mark.y + down)

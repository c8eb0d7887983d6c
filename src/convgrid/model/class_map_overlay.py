"""A class map over its photo, with a legend.

Shapes: H height, W width of the photo; R rows and Q columns of places.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from convgrid.system.text import one_line

HeightWidth = tuple[int, int]  # height, width

# After Okabe and Ito: people with any colour vision tell them apart. The last one is that of all further classes.
COLOURS = ("#e69f00", "#0072b2", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#555555")
FAINT, STRONG = 0.25, 0.75  # opacity at probabilities of 0 and 1
MIN_PHOTO_SIDE, MAX_PHOTO_SIDE = 512, 1600  # pixels of the photo's longer side, to which it is enlarged or reduced
PALE = 0.25  # share of white in the photo, so that colours are seen on black
LEGEND_FONT, LEGEND_LINE, LEGEND_GAP, SWATCH = 16, 26, 16, 16  # pixels of the legend
OUTLINED = 12  # pixels of a place from which borders between classes are drawn


@dataclass(frozen=True)
class Classes:
    """What to draw.

    Args:
        chosen: The class of each place, -1 for none, shape (R, Q).
        strength: How sure each is, 0 to 1, shape (R, Q).
        names: Of the classes.
        window: Pixels that a place sees.
        step: Pixels from place to place.
    """

    chosen: np.ndarray
    strength: np.ndarray
    names: Sequence[str]
    window: HeightWidth
    step: HeightWidth

    @property
    def ranked(self) -> list[tuple[int, int]]:
        """The classes with their places, the most frequent first; -1 is none of them."""
        kinds, counts = np.unique(self.chosen, return_counts=True)
        return sorted(zip(kinds.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])


def overlay(grey: np.ndarray, classes: Classes) -> Image.Image:
    """Colour the middle of each place's window by its class; a frame shows how large a window is.

    Args:
        grey: The photo, shape (H, W), uint8.

    Returns:
        An RGB picture, the legend on its right.

    Example:
        >>> one = Classes(np.zeros((3, 3), int), np.ones((3, 3)), ["cat"], (8, 8), (4, 4))
        >>> overlay(np.zeros((16, 16), np.uint8), one).height
        512
    """
    height, width = grey.shape
    factor = _factor(max(height, width))
    size = (round(width * factor), round(height * factor))
    how = Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BOX
    pale = (255 * PALE + (1 - PALE) * grey).round().astype(np.uint8)
    photo = Image.fromarray(pale).resize(size, how).convert("RGB")
    colours = {kind: COLOURS[min(rank, len(COLOURS) - 1)] for rank, (kind, _) in enumerate(_named(classes))}
    left, top, right, bottom = _cells(classes, factor)
    cells = _cells_image(classes, colours).resize((right - left, bottom - top), Image.Resampling.NEAREST)
    photo.paste(cells, (left, top), cells)
    draw = ImageDraw.Draw(photo)
    _draw_borders(draw, classes, (left, top, right, bottom))
    _draw_window(draw, classes, factor)
    return _beside(photo, _legend(classes, colours, photo.height))


def _factor(longest: int) -> float:
    """Small photos pixel by pixel, so that nothing is made up."""
    return -(-MIN_PHOTO_SIDE // longest) if longest < MIN_PHOTO_SIDE else min(1.0, MAX_PHOTO_SIDE / longest)


def _named(classes: Classes) -> list[tuple[int, int]]:
    return [pair for pair in classes.ranked if pair[0] >= 0]


def _cells(classes: Classes, factor: float) -> tuple[int, int, int, int]:
    """What the middles of all windows fill: left, top, right, bottom."""
    starts = [(side - step) / 2 for side, step in zip(classes.window, classes.step, strict=True)]
    ends = [
        start + count * step for start, count, step in zip(starts, classes.chosen.shape, classes.step, strict=True)
    ]  # fmt: skip
    top, left, bottom, right = (round(edge * factor) for edge in (*starts, *ends))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _cells_image(classes: Classes, colours: dict[int, str]) -> Image.Image:
    """A pixel a place, with its opacity."""
    pixels = np.zeros((*classes.chosen.shape, 4), np.uint8)
    for kind, colour in colours.items():
        pixels[classes.chosen == kind, :3] = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    opacity = FAINT + (STRONG - FAINT) * classes.strength.clip(0, 1)
    pixels[..., 3] = np.where(classes.chosen >= 0, 255 * opacity, 0).round()
    return Image.fromarray(pixels)


def _draw_borders(draw: ImageDraw.ImageDraw, classes: Classes, cells: tuple[int, int, int, int]) -> None:
    """White lines where the class changes."""
    left, top, right, bottom = cells
    rows, columns = classes.chosen.shape
    if min((right - left) / columns, (bottom - top) / rows) < OUTLINED:
        return
    xs = np.linspace(left, right, columns + 1).round().tolist()
    ys = np.linspace(top, bottom, rows + 1).round().tolist()
    for row, column in zip(*np.nonzero(np.diff(classes.chosen, axis=1)), strict=True):
        draw.line([(xs[column + 1], ys[row]), (xs[column + 1], ys[row + 1])], "white", 2)
    for row, column in zip(*np.nonzero(np.diff(classes.chosen, axis=0)), strict=True):
        draw.line([(xs[column], ys[row + 1]), (xs[column + 1], ys[row + 1])], "white", 2)


def _draw_window(draw: ImageDraw.ImageDraw, classes: Classes, factor: float) -> None:
    """The first window, white upon black, to be seen on any photo."""
    height, width = (round(side * factor) - 1 for side in classes.window)
    draw.rectangle((0, 0, width, height), outline="black", width=4)
    draw.rectangle((1, 1, width - 1, height - 1), outline="white", width=2)


def _legend(classes: Classes, colours: dict[int, str], least: int) -> Image.Image:
    rows = _entries(classes, colours)
    notes = [
        "strong: sure, faint: not",
        "frame: a window, {1} x {0} pixels".format(*classes.window),
        "from place to place {1} x {0} pixels".format(*classes.step),
    ]
    font = ImageFont.load_default(LEGEND_FONT)
    width = max(SWATCH + LEGEND_GAP // 2 + max(font.getlength(text) for _, text in rows), *map(font.getlength, notes))
    height = (len(rows) + len(notes)) * LEGEND_LINE + 3 * LEGEND_GAP
    legend = Image.new("RGB", (round(width) + 2 * LEGEND_GAP, max(height, least)), "white")
    draw = ImageDraw.Draw(legend)
    for number, (colour, text) in enumerate(rows):
        middle = LEGEND_GAP + number * LEGEND_LINE + LEGEND_LINE // 2
        box = (LEGEND_GAP, middle - SWATCH // 2, LEGEND_GAP + SWATCH, middle + SWATCH // 2)
        draw.rectangle(box, colour, outline="#888888")
        draw.text((LEGEND_GAP + SWATCH + LEGEND_GAP // 2, middle), text, "black", font, anchor="lm")
    for number, text in enumerate(notes):
        middle = 2 * LEGEND_GAP + (len(rows) + number) * LEGEND_LINE + LEGEND_LINE // 2
        draw.text((LEGEND_GAP, middle), text, "#555555", font, anchor="lm")
    return legend


def _entries(classes: Classes, colours: dict[int, str]) -> list[tuple[str, str]]:
    """Colours with names and shares; classes that share the last colour are told together."""
    last = COLOURS[-1]
    told, others = [], [count for kind, count in _named(classes) if colours[kind] == last]
    for kind, count in classes.ranked:
        if kind < 0 or colours[kind] != last or len(others) == 1:
            name = one_line(classes.names[kind]) if kind >= 0 else "none"
            told.append((colours.get(kind, "white"), f"{name}   {count / classes.chosen.size:.0%}"))
    if len(others) > 1:
        told.append((last, f"{len(others)} others   {sum(others) / classes.chosen.size:.0%}"))
    return told


def _beside(photo: Image.Image, legend: Image.Image) -> Image.Image:
    both = Image.new("RGB", (photo.width + legend.width, max(photo.height, legend.height)), "white")
    both.paste(photo, (0, 0))
    both.paste(legend, (photo.width, 0))
    return both

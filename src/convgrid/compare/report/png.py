"""A drawing as a PNG, for slides and papers: light, at twice the pixels."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection, LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke

from convgrid.compare.report.drawing import Area, Box, Dot, Drawing, Line, Mark, Text
from convgrid.compare.report.palette import LIGHT
from convgrid.system.text import one_line

DPI = 144
PIXEL = 0.72  # points of a pixel, of which 100 are an inch
FONT = 0.9  # matplotlib's own font is wider than what browsers have
MARGIN = 16.0
ANCHORS = {"start": "left", "middle": "center", "end": "right"}


def save(drawing: Drawing, file: Path) -> None:
    """Write a drawing."""
    width, height = drawing.width + 2 * MARGIN, drawing.height + 2 * MARGIN
    figure = Figure(figsize=(width / 100, height / 100), dpi=DPI, facecolor=LIGHT["paper"])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-MARGIN, width - MARGIN), ylim=(height - MARGIN, -MARGIN))
    axes.axis("off")
    for order, (_, alike) in enumerate(groupby(drawing.marks, key=type)):
        _draw(list(alike), axes, order)
    FigureCanvasAgg(figure).print_png(file, metadata={"Software": None, "Title": one_line(drawing.words[:500])})


def _draw(marks: Sequence[Mark], axes: Axes, order: int) -> None:
    """Marks of one kind, at once: matplotlib takes its time for each artist."""
    colours = [LIGHT[mark.paint] for mark in marks]
    match marks[0]:
        case Line():
            axes.add_collection(_lines(marks, colours, order), autolim=False)
        case Area():
            corners = [mark.points for mark in marks if isinstance(mark, Area)]
            axes.add_collection(PolyCollection(corners, facecolors=colours, alpha=0.15, zorder=order), autolim=False)
        case Box():
            corners = [_corners(mark) for mark in marks if isinstance(mark, Box)]
            axes.add_collection(PolyCollection(corners, facecolors=colours, linewidths=0, zorder=order), autolim=False)
        case Dot():
            axes.add_collection(_dots(marks, colours, order, axes), autolim=False)
        case Text():
            for mark in marks:
                if isinstance(mark, Text):
                    axes.text(mark.x, mark.y, one_line(mark.words), parse_math=False, zorder=order, **_letters(mark))


def _lines(marks: Sequence[Mark], colours: Sequence[str], order: int) -> LineCollection:
    lines = [mark for mark in marks if isinstance(mark, Line)]
    widths = [mark.width * PIXEL for mark in lines]
    styles: list[Any] = [(0, (4, 3)) if mark.dash else "-" for mark in lines]
    points = [mark.points for mark in lines]
    return LineCollection(points, colors=colours, linewidths=widths, linestyles=styles, zorder=order)


def _dots(marks: Sequence[Mark], colours: Sequence[str], order: int, axes: Axes) -> EllipseCollection:
    dots = [mark for mark in marks if isinstance(mark, Dot)]
    sizes = [2 * mark.radius for mark in dots]
    return EllipseCollection(
        sizes,
        sizes,
        [0.0] * len(dots),
        units="x",
        offsets=[(mark.x, mark.y) for mark in dots],
        offset_transform=axes.transData,
        facecolors=[LIGHT["paper"] if mark.hollow else colour for mark, colour in zip(dots, colours, strict=True)],
        edgecolors=colours,
        linewidths=1.2 * PIXEL,
        zorder=order,
    )


def _corners(box: Box) -> list[tuple[float, float]]:
    right, bottom = box.x + box.width, box.y + box.height
    return [(box.x, box.y), (right, box.y), (right, bottom), (box.x, bottom)]


def _letters(mark: Text) -> dict[str, Any]:
    return {
        "color": LIGHT[mark.paint],
        "fontsize": mark.size * PIXEL * FONT,
        "fontweight": "bold" if mark.bold else "normal",
        "horizontalalignment": ANCHORS[mark.anchor],
        "rotation": 90 if mark.upward else 0,
        "rotation_mode": "anchor",
        "verticalalignment": "baseline",
        "path_effects": [Stroke(linewidth=3 * PIXEL, foreground=LIGHT["paper"]), Normal()] if mark.halo else None,
    }

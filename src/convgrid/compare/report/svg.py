"""A drawing as SVG inside the page: classes name the colours, so that the page's style decides them."""

from collections.abc import Sequence
from html import escape

from markupsafe import Markup

from convgrid.compare.report.drawing import Area, Box, Dot, Drawing, Line, Mark, Position, Text


def svg(drawing: Drawing) -> Markup:
    """Write a drawing as an SVG element.

    Returns:
        The element; whatever was in the drawing's words is harmless in it.

    Example:
        >>> print(svg(Drawing(9, 9, (Text(1, 2, "a < b"),), "words")))
        <svg viewBox="0 0 9 9" role="img" aria-label="words"><text class="muted" x="1" y="2">a &lt; b</text></svg>
    """
    marks = "".join(map(_element, drawing.marks))
    box = f"0 0 {_number(drawing.width)} {_number(drawing.height)}"
    return Markup(f'<svg viewBox="{box}" role="img" aria-label="{escape(drawing.words)}">{marks}</svg>')  # noqa: S704


def _element(mark: Mark) -> str:
    match mark:
        case Line():
            dash = " dash" if mark.dash else ""
            return (
                f'<path class="line{dash} {mark.paint}" d="{_path(mark.points)}"'
                f' stroke-width="{_number(mark.width)}"{_about(mark.setting, mark.tip)}/>'
            )
        case Area():
            return f'<path class="area {mark.paint}" d="{_path(mark.points)}z"{_about(mark.setting)}/>'
        case Dot():
            kind = "dot hollow" if mark.hollow else "dot"
            return (
                f'<circle class="{kind} {mark.paint}" cx="{_number(mark.x)}" cy="{_number(mark.y)}"'
                f' r="{_number(mark.radius)}"{_about(mark.setting, mark.tip)}/>'
            )
        case Box():
            return (
                f'<rect class="{mark.paint}" x="{_number(mark.x)}" y="{_number(mark.y)}" width="{_number(mark.width)}"'
                f' height="{_number(mark.height)}"{_about(0, mark.tip)}/>'
            )
        case Text():
            return _words(mark)


def _words(mark: Text) -> str:
    anchor = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
    size = "" if mark.size == 11 else f' font-size="{_number(mark.size)}"'
    weight = ' font-weight="600"' if mark.bold else ""
    x, y = _number(mark.x), _number(mark.y)
    turn = f' transform="rotate(-90 {x} {y})"' if mark.upward else ""
    about = _about(mark.setting)
    kind = f"{mark.paint} halo" if mark.halo else mark.paint
    return f'<text class="{kind}" x="{x}" y="{y}"{anchor}{size}{weight}{turn}{about}>{escape(mark.words)}</text>'


def _about(setting: int, tip: str = "") -> str:
    return (f' data-s="{setting}"' if setting else "") + (f' data-tip="{escape(tip)}"' if tip else "")


def _path(points: Sequence[Position]) -> str:
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)


def _number(value: float) -> str:
    """Tenths of a pixel are enough."""
    return f"{value:.1f}".removesuffix(".0")

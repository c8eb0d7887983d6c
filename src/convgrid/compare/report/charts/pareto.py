"""What is unbeaten at its cost: no other setting is both better and cheaper."""

from collections.abc import Sequence

from convgrid.compare.report.axes import (
    PANEL_BOTTOM,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    AxisScale,
    covering,
    foot_axis,
    tick_room,
    value_axis,
    worth_showing,
)
from convgrid.compare.report.captions import Wording, summary
from convgrid.compare.report.drawing import Dot, Drawing, Line, Text, paint_of
from convgrid.compare.results import Answer, Setting

COST_TITLES = {"parameters": "parameters", "multiply_adds": "multiply-adds an image", "seconds": "seconds a trial"}
LABELLED = 12  # settings of a front that are told to who cannot see it
ROOM = 20.0, 11.0  # between two places


def pareto_fronts(answer: Answer, words: Wording) -> list[Drawing]:
    """Draw the objective against each cost.

    Args:
        answer: What the comparison comes to.
        words: How its numbers are written.

    Returns:
        A panel for each cost that is known.
    """
    return [panel for cost, front in answer.pareto.items() if (panel := _panel(answer, cost, front, words))]


def _panel(answer: Answer, cost: str, front: Sequence[int], words: Wording) -> Drawing | None:
    known = [(setting, float(price)) for setting in answer.settings if (price := getattr(setting, cost)) is not None]
    if len({price for _, price in known}) < 2:
        return None
    means = worth_showing([setting.mean for setting, _ in known], words.mode)
    y = covering([*means, *(setting.mean for setting, _ in known if setting.place in front)], PANEL_BOTTOM, 28)
    known, total = [(setting, price) for setting, price in known if y.holds(setting.mean)], len(known)
    outside = f"; {total - len(known):,} far worse not shown" if total > len(known) else ""
    left = tick_room(y)
    x = covering((price for _, price in known), left, PANEL_WIDTH - 8, log=True)
    unbeaten = sorted(((s, price) for s, price in known if s.place in front), key=lambda pair: pair[1])
    marks = value_axis(y, left, PANEL_WIDTH, words.metric, f" against {cost.replace('_', '-')}{outside}")
    marks += foot_axis(x, PANEL_BOTTOM, COST_TITLES[cost])
    marks.append(_stairs([(x(price), y(setting.mean)) for setting, price in unbeaten], x.end))
    for setting, price in reversed(known):
        paint = paint_of(setting.place) if setting.place in front else "other"
        inside = setting.place in front
        radius = 4.5 if inside else 3.0
        marks.append(Dot(x(price), y(setting.mean), paint, radius, hollow=not inside, setting=setting.place))
    marks += _labels(unbeaten, x, y)
    said = "; ".join(f"{summary(setting, words)}, {price:,.6g}" for setting, price in unbeaten[:LABELLED])
    return Drawing(
        PANEL_WIDTH, PANEL_HEIGHT, tuple(marks), f"unbeaten in {words.metric} and {COST_TITLES[cost]}: {said}", cost
    )


def _stairs(points: Sequence[tuple[float, float]], end: float) -> Line:
    """From one unbeaten setting to the next: what the cost so far can buy."""
    corners: list[tuple[float, float]] = []
    for point, after in zip(points, [*points[1:], None], strict=True):
        corners += [point, (after[0] if after else end, point[1])]
    return Line(corners, "accent", 1.2)


def _labels(front: Sequence[tuple[Setting, float]], x: AxisScale, y: AxisScale) -> list[Text]:
    """The places, the best first, where there is room for them."""
    labels: list[Text] = []
    for setting, price in sorted(front, key=lambda pair: pair[0].place):
        right, base = x(price) - 5, y(setting.mean) - 7
        if all(abs(right - each.x) > ROOM[0] or abs(base - each.y) > ROOM[1] for each in labels):
            labels.append(Text(right, base, str(setting.place), "ink", "end", halo=True, setting=setting.place))
    return labels

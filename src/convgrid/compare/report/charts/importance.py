"""How much of what the objective varies by goes back to each key."""

from convgrid.compare.report.axes import PANEL_WIDTH
from convgrid.compare.report.drawing import Box, Drawing, Mark, Text, cut_to_width, letters
from convgrid.compare.results import Answer

BAR_HEIGHT = 24.0


def importance_bars(answer: Answer) -> list[Drawing]:
    """Draw a bar for each key, the longest on top.

    Args:
        answer: What the comparison comes to.

    Returns:
        One panel; none where the shares say nothing.
    """
    shares = sorted(answer.importance.items(), key=lambda item: -item[1])
    if not shares:
        return []
    width = PANEL_WIDTH
    left = 10 + min(160.0, max(letters(key) for key, _ in shares))
    longest = max(share for _, share in shares) or 1.0
    marks: list[Mark] = []
    for row, (key, share) in enumerate(shares):
        y = BAR_HEIGHT * row
        length = max(1.0, (width - left - 44) * share / longest)
        marks.append(Text(left - 8, y + 16, cut_to_width(key, left - 8), "ink", "end"))
        marks.append(Box(left, y + 5, length, BAR_HEIGHT - 10, "accent"))
        marks.append(Text(left + length + 6, y + 16, f"{100 * share:.0f} %", "ink"))
    said = ", ".join(f"{key} {100 * share:.0f} %" for key, share in shares)
    return [Drawing(width, BAR_HEIGHT * len(shares), tuple(marks), f"importance: {said}")]

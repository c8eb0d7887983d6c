"""Colours by role, for light and dark paper; hues that people with any colour vision tell apart (after Okabe and Ito).

Text reaches a contrast of 4.5 to its ground, lines and dots one of 3.
"""

from collections.abc import Mapping, Sequence


def _palette(
    roles: Mapping[str, str], named: Sequence[str], low_to_high: Sequence[str], upon: Sequence[str]
) -> dict[str, str]:
    return {
        **roles,
        **{f"s{place}": colour for place, colour in enumerate(named, start=1)},
        **{f"q{step}": colour for step, colour in enumerate(low_to_high)},
        **{f"on{step}": colour for step, colour in enumerate(upon)},
    }


LIGHT = _palette(
    {
        "paper": "#ffffff",
        "panel": "#f4f6f8",
        "ink": "#16202a",
        "muted": "#566370",
        "grid": "#dde3e9",
        "accent": "#005a8f",
        "alarm": "#a33b00",
        "other": "#8b98a5",
        "better": "#4d7ea8",
    },
    ["#0072b2", "#c85000", "#00845f", "#a2479a", "#946900", "#2f8fc9"],
    ["#eef4f9", "#d7e6f2", "#b9d4e9", "#93bcdc", "#6da3cf", "#3a76a9", "#286aa1", "#155187", "#0a386a"],
    ["#16202a"] * 5 + ["#ffffff"] * 4,
)
DARK = _palette(
    {
        "paper": "#11161c",
        "panel": "#1a222b",
        "ink": "#e8edf2",
        "muted": "#a3b0bd",
        "grid": "#2c3742",
        "accent": "#7cc4f5",
        "alarm": "#ffa671",
        "other": "#6d7b89",
        "better": "#7aa7cf",
    },
    ["#58aef0", "#ff8f4a", "#35c79a", "#d891d0", "#dcb03c", "#9bd5f7"],
    ["#1b2733", "#1f3446", "#23435d", "#2a5577", "#2f6389", "#38709a", "#5fa3d4", "#80bae4", "#aed7f7"],
    ["#e8edf2"] * 6 + ["#11161c"] * 3,
)

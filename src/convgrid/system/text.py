"""Text of others, such as names of files and classes, on its way to a terminal or a spreadsheet."""

import re
from typing import Any

# Of C0 and C1, what moves the cursor or worse; what turns the direction of writing; bytes that are no UTF-8.
CONTROL = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet runs begins so


def escaped(text: str) -> str:
    r"""Write control characters out, so that none reaches a terminal; line ends and tabs stay.

    Returns:
        Text in which each stands as Python would write it.

    Example:
        >>> print(escaped("cat\x1b[2J"))
        cat\x1b[2J
    """
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def cell(value: Any) -> Any:
    """Put an apostrophe before a text that a spreadsheet would take for a formula.

    Returns:
        The value; numbers, and texts that are numbers, as they are.

    Example:
        >>> cell("=1+1"), cell("-0.5"), cell(-0.5)
        ("'=1+1", '-0.5', -0.5)
    """
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value

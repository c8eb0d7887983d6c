"""Text of others, such as names of files and classes, on its way to a terminal or a spreadsheet."""

import re
from typing import Any

# Of C0 and C1, what moves the cursor or worse; what turns the direction of writing; bytes that are no UTF-8.
CONTROL = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet runs begins so


def escaped(text: str) -> str:
    r"""Write control characters out, so that none reaches a terminal; line ends and tabs stay.

    Returns:
        Text in which each stands as Python would write it, and a byte of a file's name that is not UTF-8 as that byte.

    Example:
        >>> print(escaped("cat\x1b[2J caf\udce9"))
        cat\x1b[2J caf\xe9
    """
    return CONTROL.sub(lambda found: _written(found[0]), text)


def _written(character: str) -> str:
    code = ord(character)
    is_byte = 0xDC80 <= code <= 0xDCFF  # as Python keeps it in a text
    return f"\\x{code - 0xDC00:02x}" if is_byte else character.encode("unicode_escape").decode()


def one_line(text: str) -> str:
    r"""Write line ends and tabs out as well: for a name among others in a line.

    Example:
        >>> print(one_line("cat\nloss 0.0"))
        cat\nloss 0.0
    """
    return escaped(text).replace("\n", "\\n").replace("\t", "\\t")


def escaped_json(text: str) -> str:
    r"""Write control characters out in JSON, which says the same then.

    Example:
        >>> print(escaped_json('"\x9b2J"'))
        "\u009b2J"
    """
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def cell(value: Any) -> Any:
    """Put an apostrophe before a text that a spreadsheet would take for a formula, and write control characters out.

    Returns:
        The value; numbers, and texts that are numbers, as they are.

    Example:
        >>> cell("=1+1"), cell("-0.5"), cell(-0.5)
        ("'=1+1", '-0.5', -0.5)
    """
    if not isinstance(value, str):
        return value
    if not value.startswith(FORMULA):
        return escaped(value)
    try:
        float(value)
    except ValueError:
        return f"'{escaped(value)}"
    return value

"""A pattern's text in tokens."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from convgrid.network.pattern.caret import error_at

_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<arrow>->|→)|(?P<sign>[][()*?,=|;])"
    r"|(?P<number>-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)|(?P<bad>\S))"
)


class Token(NamedTuple):
    """A word of a pattern."""

    kind: str  # name, number, "->", a sign as itself, or "end"
    text: str
    column: int  # 0-based offset in the pattern's text


def tokens(text: str, start: int = 0) -> Iterator[Token]:
    """Cut a pattern into its tokens.

    Args:
        start: Where in the text to begin.

    Returns:
        The tokens; an "end" is last.

    Raises:
        PatternError: If a character means nothing.

    Example:
        >>> [token.text for token in tokens("CONV(8)")]
        ['CONV', '(', '8', ')', '']
    """
    end = len(text.rstrip())
    for match in _TOKEN.finditer(text, start, end):
        kind = match.lastgroup or ""
        word, column = match[kind], match.start(kind)
        if kind == "bad":
            raise error_at(text, column, f"{word!r} means nothing here. Layers are joined by ->, groups are [ ... ]*2.")
        yield Token(kind if kind in ("name", "number") else "->" if kind == "arrow" else word, word, column)
    yield Token("end", "", end)

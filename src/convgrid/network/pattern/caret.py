"""A mistake in a pattern is shown under its column."""

from convgrid.errors import PatternError

HEAD = "arch.head="  # what a line of its own behind the pattern starts with


def error_at(text: str, column: int, message: str) -> PatternError:
    """Make the error that shows a caret under a column of a pattern.

    Args:
        text: The whole pattern, which may have several lines; the last of them may be `arch.head`.
        column: 0-based offset in the text.
        message: The cause and the fix.

    Returns:
        The error, to be raised.

    Example:
        >>> print(error_at("INPUT -> CNV -> FC", 9, "unknown layer CNV. Did you mean CONV?"))
        arch.pattern: unknown layer CNV. Did you mean CONV?
          INPUT -> CNV -> FC
                   ^
    """
    start = text.rfind("\n", 0, column) + 1
    line, key = text[start:].split("\n", 1)[0], "arch.pattern"
    if line.startswith(HEAD):
        line, start, key = line.removeprefix(HEAD), start + len(HEAD), "arch.head"
    shown = "".join(char if char.isprintable() else " " for char in line)  # a tab would move the caret
    return PatternError(f"{key}: {message}\n  {shown}\n  {' ' * (column - start)}^")

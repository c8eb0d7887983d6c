"""Nested mappings by dotted keys: "arch.n" is the `n` in the `arch`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MISSING = object()  # what stands for no value; None is one


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Go through values, nested in plain dictionaries, by their dotted keys.

    Args:
        prefix: What the keys start with.

    Yields:
        Dotted key and value.

    Example:
        >>> list(flatten({"arch": {"n": 1, "m": 2}, "seed": 0}))
        [('arch.n', 1), ('arch.m', 2), ('seed', 0)]
    """
    for key, value in values.items():
        if isinstance(value, dict) and value:  # asking for a Mapping takes four times as long
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def look_up(values: Mapping[str, Any], name: str) -> Any:
    """Find a value by a dotted key, or a group by its name.

    Returns:
        The value, or `MISSING`.

    Example:
        >>> look_up({"layer": {"norm": {"eps": 0.1}}}, "layer/norm")
        {'eps': 0.1}
    """
    found: Any = values
    for part in re.split(r"[./]", name):
        if not isinstance(found, Mapping) or part not in found:
            return MISSING
        found = found[part]
    return found


def replaced(values: Mapping[str, Any], parts: Sequence[str], value: Any) -> dict[str, Any]:
    """The same values but for one; what does not change is shared, so that a grid's points cost little.

    Example:
        >>> replaced({"arch": {"n": 1, "m": 2}, "seed": 0}, ["arch", "n"], 3)
        {'arch': {'n': 3, 'm': 2}, 'seed': 0}
    """
    first, *rest = parts
    return {**values, first: replaced(values[first], rest, value) if rest else value}

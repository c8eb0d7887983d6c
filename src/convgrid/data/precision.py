"""Numbers to predict in float32, or in float64 where float32 would round away how they differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convgrid.errors import DataError
from convgrid.scales import COARSE, rounding

FINE = 1e-4  # rounding, as a share of the targets' deviation, below which a network could not learn the difference


def as_numbers(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Keep the numbers of all parts in float32, or all in float64 where one column needs it, such as a time in seconds.

    Args:
        parts: Shape (B, T) each.

    Returns:
        The same, all of one type.

    Example:
        >>> [part.dtype.name for part in as_numbers([np.array([[0.1], [0.2]]), np.array([[1.7e9], [1.7e9 + 1]])])]
        ['float64', 'float64']
    """
    needed = any(rounding(part, np.float32) > FINE for part in parts)
    return [part.astype(np.float64 if needed else np.float32, copy=False) for part in parts]


def check_distinct(numbers: np.ndarray, source: str) -> None:
    """Refuse numbers that lie closer together than float64 can tell.

    Args:
        numbers: As read, shape (B, T).
        source: Name of them, for the message.

    Raises:
        DataError: If rounding moves them by more than a hundredth of their deviation.

    Example:
        >>> check_distinct(np.array([[1.7e9], [1.7e9 + 1]]), "data.table=t.csv")
    """
    if rounding(numbers, np.float64) > COARSE:
        raise DataError(
            f"{source}: the targets, about {np.abs(numbers).max():g}, differ by less than numbers of 64 bits can hold. "
            "Subtract a constant from them."
        )


def exact(numbers: np.ndarray) -> np.ndarray:
    """Write numbers as digests have them: float32 where that is exact, so that the type changes no digest."""
    if numbers.dtype.kind != "f":
        return numbers
    single = numbers.astype(np.float32)
    return single if (single == numbers).all() else numbers

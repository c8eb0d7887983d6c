"""Numbers and values as the user reads them."""

from collections.abc import Sequence


def decimals_between(values: Sequence[float]) -> int:
    """How many decimals tell values apart that are evenly spaced.

    Returns:
        Decimals.

    Example:
        >>> decimals_between([0.85, 0.9, 0.95]), decimals_between([10, 20])
        (2, 0)
    """
    return max((len(plain_number(value).partition(".")[2]) for value in values), default=0)


def plain_number(value: float) -> str:
    """Write a number without an exponent where it is short.

    Returns:
        Up to six digits.

    Example:
        >>> plain_number(0.004), plain_number(3.0), plain_number(1e-7)
        ('0.004', '3', '1e-07')
    """
    return f"{value:.6g}"


def thousands(value: float) -> str:
    """Write a number with k, M or G.

    Returns:
        Up to three digits, and the unit.

    Example:
        >>> thousands(147_386), thousands(7_413_248), thousands(2000), thousands(0.05)
        ('147k', '7.41M', '2k', '0.05')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{float(f'{value / size:.3g}'):g}{unit}"
    return f"{value:.3g}"

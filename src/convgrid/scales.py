"""Labels need to be normalised: scales of numbers to predict, fitted on the training part only.

Shapes: B batch, T target columns. A scale maps targets to what a network is trained on, and predictions back. It
computes in the targets' type: float64 where float32 would round away how they differ, such as times in seconds.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from convgrid.errors import DataError

COARSE = 1e-2  # rounding, as a share of a column's deviation, above which what is learned is another thing


class Scale(Protocol):
    """What a scale offers; both ways keep the shape (B, T)."""

    def encode(self, targets: Tensor) -> Tensor:
        """From the data's units."""
        ...

    def decode(self, scaled: Tensor) -> Tensor:
        """To the data's units."""
        ...


class Standardize(nn.Module):
    """Mean 0 and standard deviation 1 for each column: (t - mean) / std.

    Args:
        targets: The training part's, shape (B, T).

    Example:
        >>> Standardize(torch.tensor([[1.0], [3.0]])).encode(torch.tensor([[4.0]]))
        tensor([[2.]])

    Source: LeCun et al., Efficient BackProp, 1998.
    """

    def __init__(self, targets: Tensor) -> None:
        super().__init__()
        self.mean = nn.Buffer(targets.mean(0))
        varies = targets.amax(0) > targets.amin(0)  # rounding gives equal numbers a deviation from their mean
        self.std = nn.Buffer(torch.where(varies, targets.std(0, correction=0), 1.0))

    def encode(self, targets: Tensor) -> Tensor:
        """From the data's units."""
        return (targets - self.mean) / self.std

    def decode(self, scaled: Tensor) -> Tensor:
        """To the data's units."""
        return scaled * self.std + self.mean


class MinMax(nn.Module):
    """From the least to the greatest, 0 to 1 for each column: (t - min) / (max - min).

    Args:
        targets: The training part's, shape (B, T).

    Example:
        >>> MinMax(torch.tensor([[1.0], [3.0]])).encode(torch.tensor([[2.0]]))
        tensor([[0.5000]])

    Source: scikit-learn's MinMaxScaler.
    """

    def __init__(self, targets: Tensor) -> None:
        super().__init__()
        self.least = nn.Buffer(targets.amin(0))
        self.range = nn.Buffer(_or_one(targets.amax(0) - targets.amin(0)))

    def encode(self, targets: Tensor) -> Tensor:
        """From the data's units."""
        return (targets - self.least) / self.range

    def decode(self, scaled: Tensor) -> Tensor:
        """To the data's units."""
        return scaled * self.range + self.least


class Log(nn.Module):
    """The logarithm, standardised: for amounts over several orders of magnitude, such as prices.

    Args:
        targets: The training part's, above 0, shape (B, T).

    Raises:
        DataError: If a target is not above 0.

    Example:
        >>> scale = Log(torch.tensor([[10.0], [1000.0]]))
        >>> scale.decode(scale.encode(torch.tensor([[100.0]]))).round()
        tensor([[100.]])

    Source: the log link of generalised linear models.
    """

    def __init__(self, targets: Tensor) -> None:
        super().__init__()
        if targets.min() <= 0:
            raise DataError(
                f"target=log needs targets above 0; the least of the training part is {targets.min():g}. "
                "Use target=standardize."
            )
        self.standardize = Standardize(targets.log())

    def encode(self, targets: Tensor) -> Tensor:
        """From the data's units."""
        return self.standardize.encode(targets.log())

    def decode(self, scaled: Tensor) -> Tensor:
        """To the data's units."""
        return self.standardize.decode(scaled).exp()


class Mean(nn.Module):
    """Mean 1 for each column, and the sign kept: t / mean.

    Args:
        targets: The training part's, 0 or above, shape (B, T).

    Example:
        >>> Mean(torch.tensor([[1.0], [3.0]])).encode(torch.tensor([[4.0]]))
        tensor([[2.]])

    Source: what `target=auto` does for losses of positive numbers.
    """

    def __init__(self, targets: Tensor) -> None:
        super().__init__()
        self.mean = nn.Buffer(_or_one(targets.mean(0)))

    def encode(self, targets: Tensor) -> Tensor:
        """From the data's units."""
        return targets / self.mean

    def decode(self, scaled: Tensor) -> Tensor:
        """To the data's units."""
        return scaled * self.mean


class Unchanged(nn.Module):
    """The data's own units: for labels that are normalised already, and to see what it costs if they are not.

    Args:
        targets: The training part's, shape (B, T).

    Example:
        >>> Unchanged(torch.zeros(1, 1)).encode(torch.tensor([[4.0]]))
        tensor([[4.]])

    Source: none; the identity.
    """

    def __init__(self, targets: Tensor) -> None:
        super().__init__()
        del targets

    def encode(self, targets: Tensor) -> Tensor:
        """From the data's units."""
        return targets

    def decode(self, scaled: Tensor) -> Tensor:
        """To the data's units."""
        return scaled


def check_scaled(scale: Scale, targets: Tensor, target: str, part: str) -> None:
    """Hold a part's targets against a scale, which was fitted on the training part.

    Args:
        scale: What they are trained and validated on.
        targets: The part's, shape (B, T).
        target: Name of the scale, as in `target=log`.
        part: Name of the part, for the message.

    Raises:
        DataError: If one has no place on the scale: the part's loss would be no number; or if those that differ are
            one number in the float32 that networks are trained in.

    Example:
        >>> check_scaled(Log(torch.tensor([[1.0], [2.0]])), torch.tensor([[0.5]]), "log", "validation")
    """
    encoded = scale.encode(targets)
    if not encoded.isfinite().all():
        raise DataError(
            f"target={target} makes no finite numbers of the {part} part's targets, which reach from "
            f"{targets.min():g} to {targets.max():g}. Use target=standardize."
        )

    if rounding(encoded.numpy(), np.float32) > COARSE:
        raise DataError(
            f"target={target} leaves the {part} part's targets, {targets.min():.10g} to {targets.max():.10g}, so close "
            "together that float32 rounds away how they differ. Use target=standardize."
        )


def rounding(numbers: np.ndarray, dtype: type[np.floating]) -> float:
    """Bound what rounding to a type does to any column, as a share of the column's standard deviation.

    Args:
        numbers: Shape (B, T); columns that do not vary count for nothing.

    Returns:
        The largest of all columns.

    Example:
        >>> rounding(np.array([[1.7e9], [1.7e9 + 2]]), np.float32) > 100
        True
    """
    if not len(numbers):
        return 0.0
    wide = numbers.astype(np.float64 if numbers.dtype.kind == "f" else np.int64, copy=False)
    deviation = (wide - wide[0]).astype(np.float64).std(0)  # whole numbers are subtracted exactly
    varies = deviation > 0
    largest = np.abs(wide.astype(np.float64)).max(0)
    return float((largest[varies] * (np.finfo(dtype).eps / 2) / deviation[varies]).max(initial=0.0))


def _or_one(spread: Tensor) -> Tensor:
    """A column that does not vary is divided by 1."""
    return torch.where(spread > 0, spread, 1.0)

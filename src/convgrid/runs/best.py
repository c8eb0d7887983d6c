"""What is best in a sweep: the setting with the best mean over its seeds and folds, wherever that is told."""

import math
from collections.abc import Mapping, Sequence

REPETITIONS = ("seed", "fold")  # keys whose values are repetitions of one setting
MAX_FINITE = 1.7e308  # what is greater is infinite: MLflow keeps infinity as the greatest float64

SettingKey = tuple[tuple[str, str], ...]


def is_finite(value: float) -> bool:
    """Whether a metric says anything: it is neither NaN nor infinite.

    Example:
        >>> is_finite(0.9), is_finite(float("nan")), is_finite(1.7976931348623157e308)
        (True, False, False)
    """
    return math.isfinite(value) and abs(value) < MAX_FINITE


def setting_of(varying: Mapping[str, str]) -> SettingKey:
    """What a trial has in common with those that repeat it with other seeds and folds.

    Args:
        varying: What differs between trials, by key.

    Example:
        >>> setting_of({"arch.n": "1", "seed": "3"})
        (('arch.n', '1'),)
    """
    return tuple((key, text) for key, text in varying.items() if key not in REPETITIONS)


def order(mean: float, mode: str, multiply_adds: float) -> tuple[float, float]:
    """Tell which setting is better: the lower, the better; of equals the one with fewer multiply-adds.

    Args:
        mode: "max" or "min".

    Example:
        >>> order(0.9, "max", 100) < order(0.8, "max", 10), order(0.9, "max", 100) < order(0.9, "max", 10)
        (True, False)
    """
    return (-1 if mode == "max" else 1) * round(mean, 12), multiply_adds


class Results:
    """The finished trials of a sweep by setting, as they come in.

    Args:
        mode: Whether the greatest or the least value is best: "max" or "min".
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._values: dict[SettingKey, dict[str, list[float]]] = {}
        self._costs: dict[SettingKey, float] = {}

    def add(self, varying: Mapping[str, str], value: float, multiply_adds: float) -> SettingKey:
        """Take in a finished trial.

        Args:
            varying: What differs between trials, by key.
            value: What it came to, a number.

        Returns:
            Its setting.
        """
        setting = setting_of(varying)
        self._values.setdefault(setting, {}).setdefault(varying.get("fold", ""), []).append(value)
        self._costs[setting] = multiply_adds
        return setting

    def mean(self, setting: SettingKey) -> float:
        """Over the setting's trials; where there are folds, of the means in each."""
        return _mean([_mean(values) for values in self._values[setting].values()])

    def count(self, setting: SettingKey) -> int:
        """How many trials the setting has."""
        return sum(map(len, self._values[setting].values()))

    def order(self, setting: SettingKey) -> tuple[float, float]:
        """As `order` tells it."""
        return order(self.mean(setting), self._mode, self._costs[setting])

    def best(self) -> SettingKey | None:
        """The best setting so far; None before a trial has finished."""
        return min(self._values, key=self.order, default=None)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)

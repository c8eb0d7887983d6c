"""How a comparison's objective and settings are written, everywhere in the report alike."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from convgrid.compare.results import Answer, Setting
from convgrid.compare.sentences import decimals, named, value
from convgrid.compare.trials import Trials


@dataclass(frozen=True)
class Wording:
    """The objective's name and its digits.

    Args:
        metric: Such as "val/accuracy".
        mode: Whether the greatest or the least value is best.
        digits: Decimals that its values are written with.
    """

    metric: str
    mode: Literal["max", "min"]
    digits: int

    @property
    def better(self) -> str:
        """Which values are better."""
        return "higher is better" if self.mode == "max" else "lower is better"

    def mean(self, value: float) -> str:
        """Write a value of the objective.

        Args:
            value: A mean, or an end of an interval.

        Returns:
            Its text.
        """
        return f"{value:.{self.digits}f}"

    def measured(self, setting: Setting) -> str:
        """Write a setting's mean and spread.

        Returns:
            Its text.
        """
        return typographic(value(setting, self.digits))


def wording_of(trials: Trials, answer: Answer) -> Wording:
    """Decide how the objective is written.

    Args:
        answer: What the comparison comes to.

    Returns:
        Its name and digits.
    """
    return Wording(trials.metric, trials.mode, decimals(answer.settings))


def summary(setting: Setting, words: Wording) -> str:
    """Tell a setting and what it came to, in a line.

    Args:
        words: How its numbers are written.

    Returns:
        Its place, values, mean and spread.
    """
    return f"{setting.place}. {named(setting.values)}: {words.metric} {words.measured(setting)}"


def typographic(words: str) -> str:
    """Write plus or minus as one sign, which a terminal may lack.

    Args:
        words: Such as "0.917 +- 0.002".

    Returns:
        The same for a page.

    Example:
        >>> typographic("0.917 +- 0.002")
        '0.917 ± 0.002'
    """
    return words.replace("+-", "±")


def ids_of(trials: Trials, status: str) -> list[str]:
    """Find the trials that ended so.

    Args:
        status: Such as "pruned".

    Returns:
        Their ids.
    """
    statuses = np.asarray(trials.frame["status"]).tolist()
    return [trial for trial, each in zip(trials.frame.index.tolist(), statuses, strict=True) if each == status]


def is_finite_number(value: Any) -> bool:
    """Whether a value has a place on an axis of numbers.

    Returns:
        Whether it is a finite number; true and false are none.

    Example:
        >>> is_finite_number(0.5), is_finite_number(True), is_finite_number("adam")
        (True, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

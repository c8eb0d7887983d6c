"""How many more seeds would probably settle a comparison that is not conclusive.

With n seeds each, a setting that is D worse is told to be so in 8 of 10 comparisons where
n = 2 + (2.34 + 0.5 ln k)^2 * 2 s^2 / D^2, with s the typical spread and k one more than the settings that are no
clearer. That is within 13 % of what simulation finds for true D and s, and mostly within a factor of two to three by D
and s as they were *seen*.
"""

import math
import re
from collections.abc import Sequence

import numpy as np

from convgrid.compare.ranking import Sample, errors
from convgrid.compare.results import Setting
from convgrid.compare.sentences import named, number_of, short
from convgrid.compare.trials import Trials

CLEAR = 2.34  # standard errors for a chance of 8 in 10; 0.5 more for each e-fold of the settings
LOW_FACTOR, HIGH_FACTOR = 0.4, 2.0  # times the forecast: where the truth mostly is
MAX_MORE_SEEDS = 50  # seeds more, from which on a race is told instead


def settles(found: Sequence[Sample], settings: Sequence[Setting], trials: Trials) -> str:
    """Say how many more seeds each would probably tell the best from all others.

    Args:
        found: Trials of each setting, the best first.
        settings: What they came to.

    Returns:
        A sentence; "" where all are told or trials are left, or where folds or single runs do not say.
    """
    if trials.left:
        return ""
    level = [place for place, each in enumerate(settings) if each.status == "not distinguishable"]
    if not level or trials.repetitions != ("seed",):
        return ""
    count, needed = found[0].count, needed_seeds(found, level)
    hardest = named(settings[level[0]].values, short(trials.keys))
    if needed - count > MAX_MORE_SEEDS:
        tolerance = f"{typical_spread(found):.1g}"
        return (
            f"{hardest} is so near that more than {MAX_MORE_SEEDS} more seeds each would be needed to settle it. If "
            f"differences up to {tolerance} do not matter, a race ends sooner: "
            f"{_command(trials, f'auto sweep.tolerance={tolerance}')}"
        )
    more, least, most = (max(1, math.ceil(of * needed) - count) for of in (1.0, LOW_FACTOR, HIGH_FACTOR))
    return (
        f"About {number_of(more, 'more seed')} each, perhaps {least} to {most}, would settle it: "
        f"{_command(trials, str(count + more))}"
    )


def needed_seeds(found: Sequence[Sample], level: Sequence[int]) -> float:
    """Forecast the seeds after which the best is probably told from all others.

    Args:
        found: Trials of each setting, the best first.
        level: Places of those that are not told from the best, the nearest first.

    Returns:
        Seeds of each setting; inf where one is as good as the best.
    """
    variance = typical_spread(found) ** 2
    return max(
        _needed(abs(found[0].mean - found[place].mean), variance, nearer) for nearer, place in enumerate(level, 1)
    )


def typical_spread(found: Sequence[Sample]) -> float:
    """The standard deviation of one repetition, of all settings together."""
    return float(np.sqrt(np.nanmean(errors(found)[0])))


def _needed(apart: float, variance: float, no_clearer: int) -> float:
    if apart == 0:
        return math.inf
    return 2 + (CLEAR + 0.5 * math.log(1 + no_clearer)) ** 2 * 2 * variance / apart**2


def _command(trials: Trials, seeds: str) -> str:
    """What was typed, with so many seeds."""
    if not trials.command:
        return f"sweep.seeds={seeds}"
    others = re.sub(r"\s+sweep\.(seeds|tolerance|max_seeds)=\S+", "", trials.command)
    return f"{others} sweep.seeds={seeds}"
